"""What goes wrong with one image, told in its own entry: it must not cost the study its verdict."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path

from scanward.errors import ArgumentError, InputError, ScanwardError
from scanward.formats.guard import clean, shown

LONGEST = 400
"""Characters of a sentence in `study.json`."""
_PATH = re.compile(r"(?<![\w/:.])/(?:[^\s/'\"]+/)+")


def passing(error: Exception) -> bool:
    """Whether another try may fare better: a full disk or too little memory, not the image, is at fault."""
    cause = error.__cause__
    return (isinstance(error, OSError | MemoryError) or isinstance(cause, MemoryError)
            or (isinstance(error, ArgumentError) and isinstance(cause, OSError)))


def full(error: Exception) -> bool:
    """Whether the disk was full, of which no image and no study is to be blamed."""
    return any(isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT)
               for one in (error, error.__cause__))


def refused(error: OSError) -> str:
    """The system's words, without the address that `socket.create_server` adds to them: our sentence names it."""
    return (error.strerror or str(error)).partition(" (while")[0]


def sentence_of(error: Exception, folders: Mapping[Path, str]) -> str:
    """Why one image has not got what it should have, without paths; raises what every image would meet."""
    if isinstance(error, ScanwardError) and not isinstance(error, InputError):
        raise error
    words = str(error) if isinstance(error, ScanwardError) else \
        f"Internal error ({type(error).__name__}: {clean(error)}); please report it."
    return without_paths(words, folders)


def without_paths(sentence: str, folders: Mapping[Path, str]) -> str:
    """The sentence without this machine's folders in it: files go by their names. `folders`, the innermost first, are
    those whose names may have spaces, by which no pattern knows them, each with what it is called."""
    for folder, called in folders.items():
        for name in (str(folder), shown(folder)):
            sentence = sentence.replace(f"{name}/", "").replace(name, called)
    return clean(_PATH.sub("", sentence), LONGEST)
