"""`scanward serve` and `scanward user`: settings in, one line that says where everything is, exit codes out."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from scanward.cli.codes import CLEAN
from scanward.cli.words import shown
from scanward.errors import ArgumentError, MissingExtraError


def run_serve(path: Path | None, reindex: bool = False) -> int:
    """The gateway, until it is told to stop; with `reindex` the index of the studies is made anew first."""
    try:
        from scanward.gateway.node import serve
        from scanward.settings import read_config
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    gateway = read_config(path)

    def ready(node: str, pages: str) -> None:
        print(f"Listening: {node}. Inbox: {shown(str(gateway.store.folder))}."
              + (f" Pages: {pages}" if pages else ""), flush=True)

    serve(gateway, ready, reindex=reindex)
    return CLEAN


def run_user(name: str, path: Path) -> int:
    """Asks for a password, twice where somebody can see the question, and keeps its hash."""
    try:
        from scanward.review.accounts import add_user
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Once more: "):
            raise ArgumentError("The two passwords differ; nothing was changed.")
    else:
        password = sys.stdin.readline().rstrip("\n")
    add_user(path, name, password)
    print(f"{shown(name)} may log in with that password: {shown(str(path))}")
    return CLEAN


def run_mercure() -> int:
    """One task of mercure's."""
    from scanward.gateway.mercure import run_in_environment

    return run_in_environment()


def _missing(error: ModuleNotFoundError) -> MissingExtraError:
    return MissingExtraError(f"The gateway needs {error.name}, which is not installed; install `scanward[serve]`.")
