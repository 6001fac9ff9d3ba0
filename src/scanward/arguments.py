"""Arguments of the public functions: where one is of another kind than it takes, a sentence says so."""

from __future__ import annotations

import math
import os
import re
import reprlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

from scanward.errors import ArgumentError, InputError

LONGEST = 60
"""Characters of a value that are shown."""
OPTION = re.compile(r"(?<![^\s(])--(?:(at2?) (X,Y(?:,Z)?)|(at) auto|spacing MM|([a-z][a-z0-9]*))(?![\w./-]*[\w/-])")
"""An option of `scanward inject` and `remove` in a sentence; whatever stands in a file's name is none."""
PathLike = str | os.PathLike[str]
"""A path as the public functions take it."""


def refused(name: str, takes: str, value: object) -> ArgumentError:
    """The error of an argument that is something else than it `takes`."""
    plain = isinstance(value, str | bool | int | float | tuple | list | None) and len(reprlib.repr(value)) <= LONGEST
    what = reprlib.repr(value) if plain else f"a value of type {type(value).__name__}"
    return ArgumentError(f"The argument {name} takes {takes}, not {what}.")


@contextmanager
def in_python() -> Iterator[None]:
    """Has an error of forging, whose sentence names options of the command line, name the arguments of Python."""
    try:
        yield
    except InputError as error:
        error.args = (OPTION.sub(_argument, str(error)),)
        raise


def _argument(option: re.Match[str]) -> str:
    place, axes, auto, name = option.groups()
    if place:
        return f"{place}=({axes.lower().replace(',', ', ')})"
    return f"{auto}=None" if auto else {None: "spacing", "size": "size_mm"}.get(name, name)


def path_of(value: Any, name: str, takes: str = "a path") -> Path:
    """A path; `ArgumentError` for one that no file can have, such as an empty one, and for anything else."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str) or not _is_name(
            os.fspath(value)):
        raise refused(name, takes, value)
    return Path(value)


def _is_name(text: str) -> bool:
    """Whether the system takes it for a path: not without characters, nor with NUL or half a surrogate pair."""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def number_of(value: Any, name: str, takes: str = "a number") -> float:
    """A finite number as a float; `ArgumentError` for anything else, a whole number beyond all floats, too."""
    number = _float_of(value)
    if not math.isfinite(number):
        raise refused(name, takes, value)
    return number


def _float_of(value: Any) -> float:
    """A number as a float; not a number where it is none that floats can be."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def check_word(option: str, value: str, known: Collection[str]) -> None:
    """`ArgumentError` where an option has none of the words that it may have."""
    if value not in known:
        raise ArgumentError(f"--{option} {value!r} is not one of {', '.join(known)}.")


def check_millimetres(value: Any, name: str, takes: str, count: int) -> None:
    """`ArgumentError` unless it is a sequence of so many positive numbers."""
    if not isinstance(value, Sequence) or len(value) != count or not all(0 < _float_of(mm) < math.inf for mm in value):
        raise refused(name, takes, value)
