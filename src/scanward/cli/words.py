"""How text reaches the terminal: one sentence an error, and nothing in a file's name may steer the screen."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from scanward.errors import ArgumentError

LEVELS = ("debug", "info", "warning", "error")


def shown(text: str) -> str:
    """`text` on one line, with control characters and undecodable bytes as escapes, for a terminal or a log."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def complain(sentence: str) -> None:
    """Print one error to stderr."""
    print(f"scanward: {shown(sentence)}", file=sys.stderr, flush=True)


def start_log(level: str) -> None:
    """Log to stderr from `level` on; `ArgumentError` for one that is none."""
    if level.lower() not in LEVELS:
        raise ArgumentError(f"--log-level {level!r} is not one of {', '.join(LEVELS)}.")
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=form, force=True)


def counted(number: int, thing: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


@contextmanager
def busy(what: str, quiet: bool) -> Iterator[None]:
    """A moving sign on stderr while that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
