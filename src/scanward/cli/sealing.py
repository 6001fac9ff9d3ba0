"""`scanward seal`, `certificate`, `log`, and `verify` of what is sealed: options in, sentences and exit codes out."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from scanward.box import flat
from scanward.cli.codes import CLEAN, ERROR, FOUND, worst
from scanward.cli.words import complain, shown
from scanward.disk import whole_file
from scanward.errors import ArgumentError, InputError, UnreadableError
from scanward.formats import find
from scanward.formats.key_object import is_dicom
from scanward.formats.sources import series_or_file
from scanward.protectors.seal import read_key
from scanward.report.jsonl import json_line
from scanward.seals.check import Checked, Identity
from scanward.seals.dicom_keys import DicomSigner, read_dicom_signer
from scanward.seals.files import read_seal, seal_file, verify_seal
from scanward.seals.log import Head, Log, head_in
from scanward.seals.objects import Objects, seal_for, write_object
from scanward.seals.record import Seal
from scanward.seals.signing import Signer, pem_of, read_certificate, read_signer, signer_of
from scanward.verdict import Label

MOST = 20


def signer(key: Path | None, site: str, private: Path | None, certificate: Path | None) -> Signer:
    """Who seals: by a key of ours, or by one of the site's own authority with its certificate."""
    if private is not None or certificate is not None:
        if private is None or certificate is None or key is not None:
            raise ArgumentError("--signing-key and --certificate belong together, in the place of --key.")
        return read_signer(private, certificate)
    if key is None:
        raise ArgumentError("Nobody would have sealed; give --key FILE, or --signing-key and --certificate.")
    return signer_of(read_key(key), site)


def run_seal(paths: Sequence[str], output: Path | None, sealing: Signer, log: Path | None, quiet: bool,
             dicom: bool = False, object_signer: DicomSigner | None = None) -> int:
    """Seal every image that the paths name; one that cannot be sealed never stops the others. With `dicom` each DICOM
    image's seal is written as a DICOM object, too, which `object_signer` signs."""
    sources, errors = find(list(paths))
    for error in errors:
        complain(str(error))
    codes = {ERROR} if errors else set()
    kept = None if log is None else Log(log)
    for source in sources:
        try:
            written = seal_file(source, sealing, output, kept)
            if not quiet:
                print(shown(str(written)), flush=True)
            if dicom and is_dicom(source.paths[0]):
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
    if private is None or certificate is None:
        return None
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

    trusted: tuple[x509.Certificate, ...]
    where: Path | None = None
    """A seal, or a folder of seals; beside the images where it is None."""
    identity: Identity = "same"
    log: Log | None = None
    objects: Objects | None = None
    """Where seals in DICOM objects are looked for; beside the images where it is None."""


def trusted(key: Path | None, certificates: Sequence[Path]) -> tuple[x509.Certificate, ...]:
    """Whose seals count."""
    own = () if key is None else (signer_of(read_key(key)).certificate,)
    return (*own, *(read_certificate(path) for path in certificates))


def checking(key: Path | None, certificates: Sequence[Path], where: Path | None, identity: str,
             log: Path | None) -> Checking:
    """What the options ask; `ArgumentError` where nobody's seals would count."""
    if identity not in ("same", "any"):
        raise ArgumentError(f"--identity {identity!r} is neither same nor any.")
    known = trusted(key, certificates)
    if not known:
        raise ArgumentError("Nobody's seals would count; give --key FILE or --certificate PEM.")
    if log is not None and not log.is_dir():
        raise ArgumentError(f"--log {shown(str(log))} is no folder; name the one of `scanward seal --log`.")
    return Checking(known, where, cast(Identity, identity), None if log is None else Log(log))


def sealed(path: Path, asked: Checking) -> Checkup | None:
    """What holding an image to its seal gives; None where it has none."""
    source = series_or_file(path)
    seal = seal_for(source, asked.trusted, asked.where, asked.objects)
    if seal is None:
        return None
    return Checkup(str(source.path), seal, verify_seal(source, seal, asked.trusted, asked.identity, asked.log))


@dataclass(frozen=True)
class Checkup:
    """One image held to its seal."""

    path: str
    seal: Seal
    answer: Checked

    @property
    def label(self) -> Label:
        """Of the answer."""
        return self.answer.label

    def facts(self) -> dict[str, Any]:
        """For JSON; a box is [x0, y0, z0, x1, y1, z1] in voxels, upper ends exclusive."""
        parts = {name: {"label": part.label, "reason": part.reason} for name, part in self.answer.named}
        findings = [{"corner": list(box[:3])[::-1], "centre": [round(c, 1) for c in box.centre[::-1]],
                     "box": flat(box, planar=False), "reason": "other voxels than were sealed"}
                    for box in self.answer.boxes]
        return {"path": self.path, "label": self.label, "reason": self.answer.reason, **parts,
                "signer": self.answer.signer, "sealed": self.seal.made, "seal": self.seal.root.hex(),
                "axes": "x, y, z", "findings": findings}

    def say(self) -> None:
        """For people."""
        print(f"{self.label}: {shown(self.path)}\n  Sealed by {shown(self.answer.signer)} as "
              f"{shown(self.seal.name)}, {shown(self.seal.made)}.")
        for part in self.answer.parts[: 3 if self.answer.history.label == "authentic" else 4]:
            print(f"  {part.reason}")
        for box in self.answer.boxes[:MOST]:
            (z, y, x), (high, tall, wide) = box.centre, box.size
            where = f"x {x:.0f}, y {y:.0f}" + (f", z {z:.0f}" if self.seal.shape[0] > 1 else "")
            print(f"  {where}: {wide} x {tall} x {high} voxels, others than were sealed")
        if len(self.answer.boxes) > MOST:
            print(f"  and {len(self.answer.boxes) - MOST} more")
        sys.stdout.flush()


def run_log_head(folder: Path, sealing: Signer) -> int:
    """Sign the state of a log and print it: to be kept by others."""
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    print(json.dumps(Log(folder).head(sealing, made).to_json()))
    return CLEAN


def run_log_list(folder: Path) -> int:
    """Print every entry, one JSON object a line."""
    for entry in Log(folder).entries():
        print(json_line({"index": entry.index, "seal": entry.seal, "name": entry.name, "made": entry.made,
                         "study": entry.study}), end="")
    return CLEAN


def run_log_check(folder: Path, heads: Sequence[Path], known: Sequence[x509.Certificate]) -> int:
    """Say whether a log is whole, and begins as the heads that others kept say."""
    if not folder.is_dir():
        raise UnreadableError(f"{shown(str(folder))} is no folder of a log; name the one of `scanward seal --log`.")
    log = Log(folder)
    wrong = log.check([head for path in heads for head in _heads_in(path)], known)
    for sentence in wrong:
        complain(sentence)
    if not wrong:
        print(f"{_entries(len(log.entries()))}, as every head says.")
    return FOUND if wrong else CLEAN


def run_log_prove(folder: Path, seal: Path) -> int:
    """Print what proves that a seal is in a log, for whoever has a head of it and not the log."""
    log, root = Log(folder), read_seal(seal).root.hex()
    entries = log.entries()
    entry = next((entry for entry in entries if entry.seal == root), None)
    if entry is None:
        raise UnreadableError(f"{shown(str(folder))} does not know {shown(str(seal))}; it was never added there.")
    print(json.dumps({"index": entry.index, "size": len(entries), "leaf": entry.leaf.hex(),
                      "path": [part.hex() for part in log.inclusion(entry.index)]}))
    return CLEAN


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _heads_in(path: Path) -> list[Head]:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
        return [head_in(json.loads(line), path) for line in lines if line.strip()]
    except OSError as error:
        raise UnreadableError(f"{shown(str(path))} cannot be read ({error.strerror}); name a head's file.") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{shown(str(path))} holds no heads of a log; keep what `scanward log head` "
                              "printed.") from error
