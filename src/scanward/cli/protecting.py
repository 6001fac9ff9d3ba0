"""`scanward key`, `protect`, `verify` and `unprotect`: options in, files, sentences and exit codes out."""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from scanward import protection
from scanward.cli.codes import CLEAN, ERROR, FOUND, UNSURE, worst
from scanward.cli.output import Names
from scanward.cli.sealing import Checking, sealed
from scanward.cli.table import passed_over
from scanward.cli.words import complain, shown
from scanward.errors import ArgumentError, InputError, UnreadableError
from scanward.formats import find
from scanward.formats.sources import Passed
from scanward.image import Image
from scanward.protection import Around, Perturb
from scanward.protectors.seal import Answer, Found, make_key
from scanward.report.jsonl import json_line
from scanward.seals.files import SUFFIX
from scanward.verdict import Label

CODES = {"authentic": CLEAN, "tampered": FOUND, "inconclusive": UNSURE}
MOST = 20
"""Findings that are printed; all are in `verified.json`."""


@contextmanager
def _busy(what: str, quiet: bool) -> Iterator[None]:
    """A moving sign on stderr while that is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def run_key(path: Path) -> int:
    """Make a key and say what it is for."""
    make_key(path)
    print(f"{shown(str(path))}: keep it secret and safe; without it nothing it protected can be verified or undone.")
    return CLEAN


def parse_around(texts: Sequence[str]) -> list[Around]:
    """`X,Y,Z:MM` each, in voxels and millimetres; `ArgumentError` for anything else."""
    places = []
    for text in texts:
        where, _, diameter = text.partition(":")
        try:
            x, y, z = (float(part) for part in where.split(","))
            places.append(Around(z, y, x, float(diameter)))
        except ValueError:
            raise ArgumentError(f"--around {text!r} is no place; write X,Y,Z:MM, in voxels, and the diameter of what "
                                "is there in mm.") from None
    return places


def named(arguments: Sequence[str]) -> list[Path]:
    """The files and folders that arguments name, patterns that the shell left alone among them, each once; of a folder
    with several images, these.

    `UnreadableError` for a pattern without a match; what else does not exist is told when it is read.
    """
    found: dict[str, Path] = {}
    for argument in arguments:
        matches = [argument]
        if glob.has_magic(argument) and not os.path.lexists(argument):
            matches = sorted(glob.glob(argument, recursive=True))
            if not matches:
                raise UnreadableError(f"No file matches {shown(argument)}; check the pattern.")
        for match in map(Path, matches):
            for path in _images_in(match):
                found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _images_in(path: Path) -> list[Path]:
    """A folder that holds several images, as these; otherwise the path as it is."""
    if not path.is_dir():
        return [path]
    sources, _ = find([path])
    if len(sources) < 2:
        return [path]
    # Of several series in one folder each goes by its first file, which is no whole series: that is said of it.
    series = Counter(source.path for source in sources if source.kind == "series")
    return [source.path if series[source.path] < 2 else source.paths[0] for source in sources]


def beside(arguments: Sequence[str]) -> tuple[list[str], list[Path]]:
    """What a search of the folders among the arguments could not read or passed over, in sentences; and seals there
    whose image is gone."""
    said, lost = [], []
    for path in (Path(argument) for argument in arguments if Path(argument).is_dir()):
        passed: list[Passed] = []
        _, errors = find([path], passed=passed)
        said += [str(error) for error in errors] + ([passed_over(passed)] if passed else [])
        over = {os.path.realpath(one.path) for one in passed}
        for seal in sorted(path.rglob(f"*{SUFFIX}")):
            image = seal.with_name(seal.name.removesuffix(SUFFIX))
            if not image.exists() or os.path.realpath(image) in over:
                lost.append(seal)
    return said, lost


def _places(paths: list[Path], output: Path) -> list[Path]:
    """Where what belongs to each image goes: of several each into a folder of its own."""
    names = Names()
    return [output if len(paths) == 1 else output / names.take(path) for path in paths]


def run_protect(images: Sequence[str], output: Path, key: Path | None, method: str | None, epsilon: float | None,
                around: Sequence[str], quiet: bool) -> int:
    """Protect images and say what was written; one that cannot be protected never stops the others."""
    if method is None and (around or epsilon is not None):
        raise ArgumentError("--around and --epsilon say how to perturb; name a --method, too.")
    perturb = None if method is None else Perturb(method, parse_around(around), epsilon)
    protection.check_order(key, perturb)
    paths = named(images)
    folders = _places(paths, output)
    for folder in folders:
        protection.check_output(folder)
    codes = set()
    for path, folder in zip(paths, folders, strict=True):
        try:
            with _busy("protecting", quiet):
                written = protection.protect_file(path, folder, key, perturb)
        except InputError as error:
            complain(str(error))
            codes.add(ERROR)
            continue
        if not quiet:
            for file in written:
                print(shown(str(file)), flush=True)
    return worst(codes)


def run_unprotect(path: Path, output: Path, key: Path, record: Path | None, quiet: bool) -> int:
    """Undo a protection and say where the original is."""
    with _busy("undoing", quiet):
        written = protection.unprotect_file(path, output, key, record)
    if not quiet:
        print(f"{shown(str(written))}: voxel for voxel the original.")
    return CLEAN


def run_verify(images: Sequence[str], key: Path | None, seals: Checking, record: Path | None, output: Path | None,
               as_json: bool, quiet: bool) -> int:
    """Verify images; the exit code says what they are."""
    paths = named(images)
    if record is not None and len(paths) > 1:
        raise ArgumentError(f"--record belongs to one image, and {len(paths)} were named; name that one alone.")
    folders = [None] * len(paths) if output is None else _places(paths, output)
    for folder in folders:
        if folder is not None:
            protection.check_answer(folder)
    around, lost = beside(images)
    for sentence in around:
        complain(sentence)
    codes = {UNSURE} if lost else set()
    for seal in lost:
        reason = "It is sealed, and is not there any more, or is passed over."
        name = str(seal.with_name(seal.name.removesuffix(SUFFIX)))
        if as_json:
            print(json_line({"path": name, "label": "inconclusive", "reason": reason}), end="", flush=True)
        elif not quiet:
            print(f"inconclusive: {shown(name)}\n  {reason}", flush=True)
    for path, folder in zip(paths, folders, strict=True):
        try:
            with _busy("verifying", quiet):
                said = _verified(path, key, seals, record, folder)
        except InputError as error:
            complain(str(error))
            codes.add(ERROR)
            if as_json:
                print(json_line({"path": str(path), "label": "inconclusive", "reason": str(error),
                                 "error": str(error)}), end="", flush=True)
            continue
        codes.add(CODES[said.label])
        if as_json:
            print(json_line(said.facts()), end="", flush=True)
        elif not quiet:
            said.say()
    return worst(codes)


def _verified(path: Path, key: Path | None, seals: Checking, record: Path | None, folder: Path | None) -> Said:
    """By the seal of an image or, where it has none, by the record of its protection."""
    found = None if record is not None else sealed(path, seals)
    # A stranger's seal that merely lies there hides nothing that the site's own record tells.
    if found is not None and (found.answer.trusted or key is None):
        return found
    if key is None:
        raise ArgumentError(f"No seal lies beside {shown(str(path))}; name it with --seal, or give the --key with "
                            "which it was protected.")
    try:
        return _Protected(*protection.verify_file(path, key, record, folder))
    except UnreadableError:
        if found is None:
            raise
        return found


class Said(Protocol):
    """What is said of one image."""

    @property
    def label(self) -> Label: ...
    def facts(self) -> dict[str, Any]: ...
    def say(self) -> None: ...


@dataclass(frozen=True)
class _Protected:
    image: Image
    answer: Answer

    @property
    def label(self) -> Label:
        return self.answer.label

    def facts(self) -> dict[str, Any]:
        return {"path": self.image.name, **protection.facts(self.answer)}

    def say(self) -> None:
        # The image itself, of a folder that was named: other files in it were not looked at.
        print(f"{self.answer.label}: {shown(self.image.name)}\n  {self.answer.sentence}")
        for found in self.answer.findings[:MOST]:
            print(f"  {_place(found, self.image)}")
        if len(self.answer.findings) > MOST:
            print(f"  and {len(self.answer.findings) - MOST} more")
        sys.stdout.flush()


def _place(found: Found, image: Image) -> str:
    axes = 3 if image.shape[0] > 1 else 2
    centre, corner = (", ".join(f"{axis} {value:.0f}" for axis, value in zip("xyz"[:axes], place[::-1], strict=False))
                      for place in (found.centre, found.box[:3]))
    where = f"centre {centre}; corner {corner}"
    sides = found.box.size
    if image.spacing is None:
        return f"{where}: {sides[2]} x {sides[1]} pixels, {found.why}"
    mm = [side * step for side, step in zip(sides, image.spacing, strict=True)][0 if image.shape[0] > 1 else 1:]
    return f"{where}: {' x '.join(f'{length:.0f}' for length in mm[::-1])} mm, {found.why}"
