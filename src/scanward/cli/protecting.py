"""`scanward key`, `protect`, `verify` and `unprotect`: options in, files, sentences and exit codes out."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from scanward import protection
from scanward.cli import seal_commands
from scanward.cli.codes import CLEAN, ERROR, FOUND, UNSURE, worst
from scanward.cli.dicom_signing import Said, checkup_of, with_signatures, write_said
from scanward.cli.output import Names
from scanward.cli.sealing import Checking, lost_image, say_places, sealed
from scanward.cli.table import passed_over
from scanward.cli.words import busy, complain, shown
from scanward.errors import ArgumentError, InputError, UnreadableError
from scanward.formats import Source, find
from scanward.formats.key_object import read_key_object
from scanward.formats.sources import Passed
from scanward.image import Image
from scanward.protection import Answer, Around, Perturb
from scanward.protectors.seal import make_key
from scanward.report.jsonl import json_line
from scanward.seals.finding import SUFFIX, lost_seals, passed_images
from scanward.seals.objects import Objects
from scanward.verdict import Label

CODES = {"authentic": CLEAN, "tampered": FOUND, "inconclusive": UNSURE}


def run_key(path: Path) -> int:
    """Make a key and say what it is for."""
    make_key(path)
    print(f"{shown(str(path))}: keep it secret and safe; whoever has it can make your seals.")
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


@dataclass
class Named:
    """What arguments name."""

    paths: dict[str, Path] = field(default_factory=dict)
    """Files and folders by their real paths, each once; of a folder with several images, these."""
    series: dict[Path, Source] = field(default_factory=dict)
    """Where a folder holds several series, each by its first file."""
    said: list[str] = field(default_factory=list)
    """What a search of the folders could not read or passed over, in sentences."""
    lost: list[Path] = field(default_factory=list)
    """Seals in the folders whose image is gone, or is passed over."""
    beside: dict[str, Passed] = field(default_factory=dict)
    """What was passed over and is of the series or study of an image in the folders, by its real path."""
    named: list[Path] = field(default_factory=list)
    """Files and folders as they were named."""

    def add(self, path: Path) -> None:
        """One more file or folder."""
        self.named.append(path)
        if not os.path.isdir(path) and read_key_object(path) is not None:
            return  # a seal, which is found by the images it refers to
        images = self._searched(path) if os.path.isdir(path) else [path]
        for image in images:
            self.paths.setdefault(os.path.realpath(image), image)

    def _searched(self, folder: Path) -> list[Path]:
        passed: list[Passed] = []
        sources, errors = find([folder], passed=passed)
        passed = [one for one in passed if read_key_object(one.path) is None]
        self.said += [str(error) for error in errors] + ([passed_over(passed)] if passed else [])
        self.lost += lost_seals(folder, sources)
        self.beside |= {os.path.realpath(one.path): one for one in passed_images(passed, sources)}
        if len(sources) < 2:
            return [folder]
        count = Counter(source.path for source in sources if source.kind == "series")
        self.series |= {source.paths[0]: source for source in sources if count[source.path] > 1}
        return [source.path if count[source.path] < 2 else source.paths[0] for source in sources]


def named(arguments: Sequence[str]) -> Named:
    """What arguments name, patterns that the shell left alone among them.

    `UnreadableError` for a pattern without a match; what else does not exist is told when it is read.
    """
    found = Named()
    for argument in arguments:
        matches = [argument]
        if glob.has_magic(argument) and not os.path.lexists(argument):
            matches = sorted(glob.glob(argument, recursive=True))
            if not matches:
                raise UnreadableError(f"No file matches {shown(argument)}; check the pattern.")
        for match in matches:
            found.add(Path(match))
    return found


def _places(paths: list[Path], output: Path) -> list[Path]:
    """Where what belongs to each image goes: of several each into a folder of its own."""
    names = Names()
    return [output if len(paths) == 1 else output / names.take(path) for path in paths]


def run_protect(images: Sequence[str], output: Path, key: Path | None, method: str | None, epsilon: float | None,
                around: Sequence[str], quiet: bool) -> int:
    """Perturb images, seal the copies where there is a key, and say what was written; one that cannot be perturbed
    never stops the others. Without a method, as `seal`."""
    if method is None and (around or epsilon is not None):
        raise ArgumentError("--around and --epsilon say how to perturb; name a --method, too.")
    if method is None and key is not None:
        return seal_commands.seal(list(images), key, output=output, quiet=quiet)
    perturb = None if method is None else Perturb(method, parse_around(around), epsilon)
    protection.check_order(key, perturb)
    paths = list(named(images).paths.values())
    folders = _places(paths, output)
    for folder in folders:
        protection.check_output(folder)
    codes = set()
    for path, folder in zip(paths, folders, strict=True):
        try:
            with busy("protecting", quiet):
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
    with busy("undoing", quiet):
        written = protection.unprotect_file(path, output, key, record)
    if not quiet:
        print(f"{shown(str(written))}: voxel for voxel the original.")
    return CLEAN


def run_verify(images: Sequence[str], key: Path | None, seals: Checking, record: Path | None, output: Path | None,
               as_json: bool, quiet: bool) -> int:
    """Verify images; the exit code says what they are."""
    found = named(images)
    paths, objects = list(found.paths.values()), Objects(found.named)
    seals = dataclasses.replace(seals, objects=objects)
    if not paths:
        raise ArgumentError(f"{shown(images[0])} holds a seal and no image; name the images, too.")
    if record is not None and len(paths) > 1:
        raise ArgumentError(f"--record belongs to one image, and {len(paths)} were named; name that one alone.")
    folders = [None] * len(paths) if output is None else _places(paths, output)
    for folder in folders:
        if folder is not None:
            protection.check_answer(folder)
    for sentence in found.said:
        complain(sentence)
    there, held = "It is of an image's series or study there, and was not looked at.", set[bytes]()
    codes = {_say_unheld(str(one.path), f"{there} {one.reason}", as_json, quiet)
             for real, one in found.beside.items() if real not in found.paths}
    for path, folder in zip(paths, folders, strict=True):
        try:
            with busy("verifying", quiet):
                given = found.series.get(path, path)
                said = with_signatures(given, seals.trusted, seals.identity,
                                       partial(_verified, given, key, seals, record, folder))
                if folder is not None and not isinstance(said, _Protected):
                    write_said(said, folder)
        except InputError as error:
            complain(str(error))
            codes.add(ERROR)
            if as_json:
                print(json_line({"path": str(path), "label": "inconclusive", "reason": str(error),
                                 "error": str(error)}), end="", flush=True)
            continue
        codes.add(CODES[said.label])
        held |= {checkup.seal.root} if (checkup := checkup_of(said)) else set()
        if as_json:
            print(json_line(said.facts()), end="", flush=True)
        elif not quiet:
            said.say()
    lost = {seal: reason for seal in found.lost if (reason := lost_image(seal, seals, held))}
    told, gone = {os.path.realpath(seal) for seal in found.lost}, "It is sealed, and is not there any more."
    codes |= {_say_unheld(str(seal.with_name(seal.name.removesuffix(SUFFIX))), reason, as_json, quiet)
              for seal, reason in lost.items()}
    return worst(codes | {_say_unheld(seal.name, gone, as_json, quiet)
                          for path, seal in objects.lost(seals.trusted).items()
                          if seal.root not in held and str(path).removesuffix(".dcm") not in told})


def _say_unheld(name: str, reason: str, as_json: bool, quiet: bool) -> int:
    """Say of an image why it was held to no seal."""
    if as_json:
        print(json_line({"path": name, "label": "inconclusive", "reason": reason}), end="", flush=True)
    elif not quiet:
        print(f"inconclusive: {shown(name)}\n  {shown(reason)}", flush=True)
    return UNSURE


def _verified(given: Path | Source, key: Path | None, seals: Checking, record: Path | None, folder: Path | None,
              unsealed: bool) -> tuple[Said, bool] | None:
    """By the seal of an image or, where it has none, by the record of its protection; and whether it is of somebody
    trusted. None where it has neither, and may be without, `unsealed`."""
    found = None if record is not None else sealed(given, seals)
    path = given if isinstance(given, Path) else given.paths[0]
    # A stranger's seal that merely lies there hides nothing that the site's own record tells.
    if found is not None and (found.answer.trusted or key is None):
        return found, found.answer.trusted
    if key is None:
        if unsealed:
            return None
        raise ArgumentError(f"No seal lies beside {shown(str(path))}; name it with --seal, or give the --key with "
                            "which it was protected.")
    try:
        return _Protected(*protection.verify_file(path, key, record, None if unsealed else folder)), True
    except UnreadableError:
        if found is None and not unsealed:
            raise
        return None if found is None else (found, False)


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
        print(f"{self.answer.label}: {shown(self.image.name)}\n  {self.answer.reason}")
        say_places(self.answer.boxes, self.image.shape[0] > 1, "recorded")
