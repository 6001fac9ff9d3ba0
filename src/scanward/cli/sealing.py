"""`scanward seal`, `certificate`, `log`, and `verify` of what is sealed: options in, sentences and exit codes out."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from scanward.box import Box, places, slices_of
from scanward.cli.codes import CLEAN, ERROR, FOUND, worst
from scanward.cli.words import busy, complain, shown
from scanward.disk import whole_file
from scanward.errors import ArgumentError, InputError, UnreadableError
from scanward.formats import Source, find
from scanward.formats.key_object import is_dicom
from scanward.formats.sources import series_or_file
from scanward.protectors.seal import read_key
from scanward.report.jsonl import json_line
from scanward.seals.answers import write_answer
from scanward.seals.check import Checked, Identity
from scanward.seals.copies import copy_path
from scanward.seals.dicom_keys import DicomSigner, read_dicom_signer
from scanward.seals.files import Held, hold, read_seal, resume, seal_file
from scanward.seals.finding import uid_of
from scanward.seals.heads import read_heads
from scanward.seals.log import History, Log
from scanward.seals.objects import Objects, is_written, objects_of, write_object
from scanward.seals.record import Seal
from scanward.seals.signing import Signer, pem_of, read_signer, signer_of
from scanward.seals.trust import Anchor, Trust, trust_from
from scanward.verdict import Label

MOST = 20
"""Places that are printed."""


def signer(key: Path | None, site: str, private: Path | None, certificate: Path | None) -> Signer:
    """Who seals: by a key of ours, or by one of the site's own authority with its certificate."""
    if private is not None or certificate is not None:
        if private is None or certificate is None or key is not None:
            raise ArgumentError("--signing-key and --certificate belong together, in the place of --key.")
        return read_signer(private, certificate)
    if key is None:
        raise ArgumentError("Nobody would have sealed; give --key FILE, or --signing-key and --certificate.")
    return signer_of(read_key(key), site)


def run_seal(paths: Sequence[str], output: Path | None, sealing: Signer, log: Path | None, again: bool,
             quiet: bool, dicom: bool = False, object_signer: DicomSigner | None = None,
             master: bytes | None = None) -> int:
    """Seal every image that the paths name; one that cannot be sealed never stops the others, and what is sealed and
    unchanged is passed over. With `dicom` each DICOM image's seal is written as a DICOM object, too, which
    `object_signer` signs; with `master`, the site's secret, a reduced copy beside it."""
    sources, errors = find(list(paths))
    for error in errors:
        complain(str(error))
    codes = {ERROR} if errors else set()
    kept = None if log is None else Log(log)
    for source in sources:
        said: list[str] = []
        try:
            with busy("sealing", quiet):
                there = None if again else resume(source, sealing, output, kept)
                written = there or seal_file(source, sealing, output, kept, again=again, said=said, master=master)
            if there is not None and not quiet:
                said.append(f"{shown(str(source.path))} is sealed already, and is as it was sealed.")
            for sentence in said:
                complain(sentence)
            for path in () if there else (written, copy_path(written)):
                if not quiet and path.exists():
                    print(shown(str(path)), flush=True)
            if dicom and is_dicom(source.paths[0]) and not is_written(written):
                made = write_object(source, written, object_signer)
                if not quiet:
                    print(shown(str(made)), flush=True)
        except InputError as error:
            complain(str(error))
            codes.add(ERROR)
    return worst(codes)


def object_signer(sealing: Signer, key: Path | None, private: Path | None,
                  certificate: Path | None) -> DicomSigner | None:
    """Who signs the DICOM objects of seals: the key and certificate that were given, if DICOM knows their kind."""
    if private is None and certificate is None:
        return None
    if private is None or certificate is None:
        raise ArgumentError("--signing-key and --certificate belong together.")
    if key is None and not isinstance(sealing.key, EllipticCurvePrivateKey):
        return None  # Ed25519 signs the seal in the object, and DICOM does not know it
    return read_dicom_signer(private, certificate)


def run_certificate(key: Path, output: Path, site: str) -> int:
    """Write a site's certificate, by which others check its seals."""
    made = signer_of(read_key(key), site)
    with whole_file(output, replace=False) as file:
        file.write(pem_of(made.certificate))
    print(f"{shown(str(output))}: give it to whoever is to check your seals; it is no secret.")
    return CLEAN


@dataclass(frozen=True)
class Checking:
    """How seals are to be checked."""

    trusted: Trust
    where: Path | None = None
    """A seal, or a folder of seals; beside the images where it is None."""
    identity: Identity = "same"
    history: History | None = None
    """Of the log, read once."""
    objects: Objects | None = None
    """Where seals in DICOM objects are looked for; beside the images where it is None."""
    masters: tuple[bytes, ...] = ()
    """Secrets with which reduced copies are read."""


def trusted(key: Path | None, certificates: Sequence[Path], trust: Path | None) -> Trust:
    """Whose seals count."""
    own = () if key is None else (Anchor(signer_of(read_key(key)).certificate),)
    given = trust_from(certificates, trust)
    return Trust((*own, *given.anchors), given.heads)


def checking(known: Trust, where: Path | None, identity: str, log: Path | None, heads: Sequence[Path],
             key: Path | None = None) -> Checking:
    """What the options ask; `ArgumentError` where nobody's seals would count."""
    if identity not in ("same", "any"):
        raise ArgumentError(f"--identity {identity!r} is neither same nor any.")
    if not known.anchors:
        raise ArgumentError("Nobody's seals would count; give --key FILE, --certificate PEM or --trust FILE.")
    if heads and log is None:
        raise ArgumentError("--head says what a log was; give --log, too.")
    if log is not None and not os.path.isdir(log):
        raise ArgumentError(f"--log {shown(str(log))} is no folder; name the one of `scanward seal --log`.")
    known = _with(known, heads)
    return Checking(known, where, cast(Identity, identity), None if log is None else Log(log).history(known),
                    masters=() if key is None else (read_key(key),))


def _with(known: Trust, heads: Sequence[Path]) -> Trust:
    return dataclasses.replace(known, heads=(*known.heads, *(head for path in heads for head in read_heads(path))))


def sealed(path: Path | Source, asked: Checking) -> Checkup | None:
    """What holding an image to its seal gives; None where it has none."""
    source = series_or_file(path)
    found = hold(source, asked.trusted, asked.where, asked.identity, asked.history,
                 objects_of(source, asked.where, asked.objects), asked.masters)
    # A folder that holds several series does not say which of them is meant.
    return None if found is None else Checkup(source, found, uid_of(source)[1] if path is source else "")


def lost_image(path: Path, asked: Checking, held: Collection[bytes]) -> str | None:
    """What is to be said of a seal whose image was not found; nothing of one that an image was `held` to after all, or
    of a stranger's, which anybody can lay there."""
    try:
        seal = read_seal(path)
    except InputError as error:
        return str(error)
    known = seal.root not in held and asked.trusted.knows(seal.certificate)
    return "It is sealed, and is not there any more, or is passed over." if known else None


def say_places(boxes: Sequence[Box], deep: bool, done: str) -> None:
    """Where an image, of several slices where it is `deep`, is other than when something was `done` to it."""
    for box in boxes[:MOST]:
        (_, y, x), (high, tall, wide) = box.centre, box.size
        where = f"x {x:.0f}, y {y:.0f}" + (f", {slices_of(box)}" if deep else "")
        print(f"  {where}: {wide} x {tall} x {high} voxels, others than were {done}")
    if len(boxes) > MOST:
        print(f"  and {len(boxes) - MOST} more")
    sys.stdout.flush()


@dataclass(frozen=True)
class Checkup:
    """One image held to its seal."""

    source: Source
    held: Held
    series: str = ""
    """Its UID, where its path alone does not say which series it is."""

    @property
    def path(self) -> str:
        """Of the file, or the series' folder."""
        return str(self.source.path)

    @property
    def seal(self) -> Seal:
        """It was held to."""
        return self.held.seal

    @property
    def answer(self) -> Checked:
        """That it gave."""
        return self.held.answer

    @property
    def label(self) -> Label:
        """Of the answer."""
        return self.answer.label

    def write(self, folder: Path, facts: dict[str, Any]) -> None:
        """What is said of it, a picture and a map."""
        write_answer(self.source, self.held, facts, folder)

    def facts(self) -> dict[str, Any]:
        """For JSON; a box is [x0, y0, z0, x1, y1, z1] in voxels, upper ends exclusive."""
        parts = {name: {"label": part.label, "reason": part.reason} for name, part in self.answer.named}
        return {"path": self.path, "label": self.label, "reason": self.answer.reason, **parts,
                "signer": self.answer.signer, "sealed": self.seal.made, "version": self.seal.number,
                "seal": self.seal.root.hex(), "study": self.seal.study,
                "axes": "x, y, z", "findings": places(self.answer.boxes, "other voxels than were sealed")}

    def say(self) -> None:
        """For people."""
        which = f", version {self.seal.number}" if self.seal.number > 1 else ""
        series = f", series {shown(self.series)}" if self.series else ""
        print(f"{self.label}: {shown(self.path)}{series}\n  Sealed by {shown(self.answer.signer)} as "
              f"{shown(self.seal.name)}{which}, {shown(self.seal.made)}.")
        said = [part.reason for part in self.answer.parts if part is not self.answer.history or
                part.label != "authentic"]
        for reason in dict.fromkeys(said):
            print(f"  {shown(reason)}")
        say_places(self.answer.boxes, self.seal.shape[0] > 1, "sealed")


def run_log_head(folder: Path, sealing: Signer) -> int:
    """Sign the state of a log and print it: to be kept by others."""
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    print(json.dumps(_log(folder).head(sealing, made).to_json()))
    return CLEAN


def run_log_list(folder: Path) -> int:
    """Print every entry, one JSON object a line."""
    for entry in _log(folder).entries():
        print(json_line({"index": entry.index} | entry.said), end="")
    return CLEAN


def run_log_check(folder: Path, heads: Sequence[Path], known: Trust) -> int:
    """Say whether a log is whole, and begins as the heads that others kept say."""
    history = _log(folder).history(_with(known, heads))
    for sentence in history.wrong:
        complain(sentence)
    if not history.wrong:
        print(f"{_entries(len(history.entries))}, as every head says.")
    return FOUND if history.wrong else CLEAN


def run_log_prove(folder: Path, seal: Path) -> int:
    """Print what proves that a seal is in a log, for whoever has a head of it and not the log."""
    log, root = _log(folder), read_seal(seal).root.hex()
    entries = log.entries()
    entry = next((entry for entry in entries if entry.seal == root), None)
    if entry is None:
        raise UnreadableError(f"{shown(str(folder))} does not know {shown(str(seal))}; it was never added there.")
    print(json.dumps({"index": entry.index, "size": len(entries), "leaf": entry.leaf.hex(),
                      "path": [part.hex() for part in log.inclusion(entry.index)]}))
    return CLEAN


def _log(folder: Path) -> Log:
    found = Log(folder)
    if not found.is_there:
        raise UnreadableError(f"{shown(str(folder))} is no log of seals; name the folder of `scanward seal --log`.")
    return found


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"
