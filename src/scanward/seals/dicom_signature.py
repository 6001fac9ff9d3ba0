"""What the digital signatures in DICOM files vouch for (PS3.15, annex C): made by us, by DCMTK, or by a scanner.

A signature names the elements that it covers, and vouches for no others: one without the pixels says nothing of an
image. It holds for one transfer syntax, or for all that are uncompressed.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from cryptography import x509

from scanward.errors import UnsupportedError
from scanward.formats import Source
from scanward.formats.frames import GROUPS
from scanward.formats.guard import shown
from scanward.formats.held import IDENTITY, PALETTE, PLACE, SEQUENCES
from scanward.formats.signature import CERTIFICATE, MADE, VALUE, Signature, dicom_bytes, signatures_of, with_signature
from scanward.seals.check import Identity, Part
from scanward.seals.dicom_keys import (
    ALGORITHMS,
    WEAK,
    DicomSigner,
    certificate_of,
    holds,
    unusable,
)
from scanward.seals.signing import der_of, name_of
from scanward.seals.trust import Trust, trust_in
from scanward.verdict import Label, worst

VOXELS = frozenset((
    "SOPClassUID", "SOPInstanceUID", "Modality", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
    "FloatPixelData", "DoubleFloatPixelData", "RescaleIntercept", "RescaleSlope", "RescaleType", "ModalityLUTSequence",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", *PALETTE,
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue"))))
"""What makes the pixels what they are."""
GEOMETRY = frozenset((*PLACE, *SEQUENCES, *GROUPS, "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
                      "EstimatedRadiographicMagnificationFactor", "ImagePositionPatient", "ImageOrientationPatient",
                      "SeriesInstanceUID"))
"""What says where they lie."""
NEEDED = frozenset(("SOPInstanceUID", "Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"))
"""What no image is without."""
INSTANCE = 0x00080018
"""SOP Instance UID."""
MOST = 12


@dataclass(frozen=True)
class Heard:
    """One signature, and whether what it covers is what was signed."""

    signature: Signature
    label: Label
    reason: str
    signer: str
    trusted: bool

    @property
    def made(self) -> str:
        """When, as it says."""
        return self.signature.text(MADE)


@dataclass(frozen=True)
class Vouched:
    """What the signatures in the files of an image say of it."""

    voxels: Part
    geometry: Part
    identity: Part
    signers: tuple[str, ...]
    """Whose signatures count or, where none do, whose are there."""
    trusted: bool
    """Whether any is by somebody whose certificate was given."""
    heard: tuple[Heard, ...] = field(default=(), repr=False)
    """All signatures of the first file."""

    @property
    def named(self) -> tuple[tuple[str, Part], ...]:
        """The parts, with their names."""
        return ("voxels", self.voxels), ("geometry", self.geometry), ("identity", self.identity)

    @property
    def label(self) -> Label:
        """The worst of them."""
        return cast(Label, worst([part.label for _, part in self.named]))

    @property
    def reason(self) -> str:
        """Of the worst, the first."""
        return next(part.reason for _, part in self.named if part.label == self.label)


def hear(source: Source, trusted: Trust | Sequence[x509.Certificate],
         identity: Identity = "same") -> Vouched | None:
    """What signatures vouch for in a file or series; None where there is none at all.

    Raises `UnreadableError` where a file with signatures is damaged, or says an element twice.
    """
    trust, answers = trust_in(trusted), dict[str, Vouched]()
    bare, instances = [], []
    for path in source.paths:
        heard = [_heard(one, trust) for one in signatures_of(path)]
        if not heard:
            bare.append(path.name)
            continue
        instances.append(heard[0].signature.file.text(INSTANCE))
        answer = _of_file(heard, identity)
        answers[path.name] = replace(answer, heard=()) if answers else answer  # which hold their files
    if not answers:
        return None
    unsure = Part("inconclusive", f"Not signed are {_listed(bare)}.")
    parts = [_worst_part([getattr(one, name) for one in answers.values()], list(answers))
             for name in ("voxels", "geometry", "identity")]
    if bare:
        parts = [part if part.label == "tampered" else unsure for part in parts]
    elif len(answers) > 1 and parts[0].label == "authentic":
        # Slices that are each what was signed are not yet the series that was signed.
        parts[0] = Part("inconclusive", "Several of its files are one and the same SOP instance.") \
            if len(set(instances)) < len(instances) else Part("authentic", f"All {len(answers)} slices are what was "
                                                              "signed; a signature does not tell whether others are "
                                                              "missing.")
    signers = tuple(dict.fromkeys(name for one in answers.values() for name in one.signers))
    return Vouched(parts[0], parts[1], parts[2], signers, any(one.trusted for one in answers.values()),
                   next(iter(answers.values())).heard)


def _worst_part(parts: list[Part], names: list[str]) -> Part:
    label = worst([part.label for part in parts])
    first = next(part for part in parts if part.label == label)
    which = [name for name, part in zip(names, parts, strict=True) if part.label == label]
    if label == "authentic" or len(parts) == 1:
        return first
    return Part(first.label, f"{first.reason[:-1]}: {_listed(which)}.")


def _of_file(heard: list[Heard], identity: Identity) -> Vouched:
    """By all signatures of one file: what was altered under one of them was altered, and together they cover what each
    of them does."""
    known = [one for one in heard if one.trusted]
    signers = tuple(dict.fromkeys(one.signer for one in known or heard if one.signer))
    altered = next((one for one in known if one.label == "tampered"), None)
    if altered is not None:
        part = Part("tampered", altered.reason)
        return Vouched(part, part, part, signers, True, tuple(heard))
    good = [one for one in known if one.label == "authentic" and not one.signature.place]
    if not good:
        main = [one for one in known or heard if not one.signature.place]
        nothing = "Its signatures cover items of sequences only, and vouch for no pixel."
        part = Part("inconclusive", main[0].reason if main else nothing)
        return Vouched(part, part, part, signers, bool(known), tuple(heard))
    left = frozenset.intersection(*(one.signature.uncovered for one in good))
    held = frozenset(name for one in good for name in one.signature.names)
    return Vouched(_voxels(good, held, left), _part(left & GEOMETRY, "It lies where it lay when it was signed."),
                   _identity(left, held, identity), signers, True, tuple(heard))


def _voxels(good: list[Heard], held: frozenset[str], left: frozenset[str]) -> Part:
    if not any(one.signature.pixels for one in good):
        return Part("inconclusive", "Its signature does not cover the pixels, and vouches for none of them.")
    return _part((left & VOXELS) | (NEEDED - held), "Its pixels are bit for bit what was signed.")


def _identity(left: frozenset[str], held: frozenset[str], asked: Identity) -> Part:
    if asked == "any":
        return Part("authentic", "Whose it is was not looked at, as was asked.")
    whose = "It is of whom it was." if held & frozenset(IDENTITY) else "It does not say whose it is."
    # Another character set reads other letters in the same bytes.
    return _part(left & frozenset((*IDENTITY, "SpecificCharacterSet")), whose)


def _part(left: frozenset[str], good: str) -> Part:
    return Part("inconclusive", f"Its signature does not cover its {_listed(sorted(left))}.") if left else \
        Part("authentic", good)


def _heard(one: Signature, trust: Trust) -> Heard:
    certificate = certificate_of(one.data(CERTIFICATE))
    signer = "" if certificate is None else name_of(certificate)
    if certificate is None or not trust.knows(certificate):
        why = "Its signature holds no certificate that can be read." if certificate is None else \
            f"It is signed by {signer!r}, whose certificate was not given; anybody can have signed it."
        return Heard(one, "inconclusive", why, signer, False)
    label, reason = _judged(one, certificate, signer, trust)
    return Heard(one, label, reason, signer, True)


def _judged(one: Signature, certificate: x509.Certificate, signer: str, trust: Trust) -> tuple[Label, str]:
    where = f" in {one.place}" if one.place else ""
    doubt = _doubt(one, certificate)
    if doubt:
        return "inconclusive", f"The signature of {signer!r}{where} vouches for nothing: {doubt}."
    held = holds(certificate, one.algorithm, one.data(VALUE), one.chunks())
    if held is False:
        return "tampered", f"What {signer!r} signed{where} was altered since."
    if held is None or one.algorithm in WEAK:
        return "inconclusive", (f"The signature of {signer!r}{where} vouches for nothing: other contents can be made "
                                f"that have the same {one.algorithm}.")
    made = _moment(one.text(MADE))
    if made is None or not trust.standing(certificate, made.isoformat()).counts:
        return "inconclusive", (f"The signature of {signer!r}{where} does not count: its certificate was not valid "
                                "when it was made, or its key is compromised.")
    return "authentic", f"What {signer!r} signed{where} is as it was."


def _doubt(one: Signature, certificate: x509.Certificate) -> str:
    """Why nobody can tell whether it holds; empty where it can be told."""
    key = unusable(certificate.public_key())
    if one.problem or key:
        return one.problem or f"its signer {key}"
    if one.algorithm not in ALGORITHMS:
        return f"its MAC algorithm {one.algorithm} is " + ("too weak" if one.algorithm in WEAK else "unknown")
    if not one.same_syntax:
        return f"it holds only for another transfer syntax, {one.syntax or 'which it does not name'}"
    return "it covers elements whose representation this file does not say; verify the original in explicit VR" \
        if one.unknown else ""


def _moment(text: str) -> datetime.datetime | None:
    """A date and time (DT); UTC where it says no zone. None for what is none, or says no day."""
    found = re.fullmatch(r"(\d{8})(\d{0,6})(?:\.\d{1,6})?([+-]\d{4})?", text)
    if found is None or len(found[2]) % 2:
        return None
    try:
        return datetime.datetime.strptime(f"{found[1]}{found[2]:0<6}{found[3] or '+0000'}", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None


def signed_copy(path: Path, signer: DicomSigner) -> bytes:
    """The bytes of a DICOM image with a signature of its creator over all of it; all else is as it was.

    Raises `UnsupportedError` where that would not vouch for the image.
    """
    made = signed_bytes(dicom_bytes(path), path, signer)
    heard = [_heard(one, trust_in([signer.certificate])) for one in signatures_of(path, made)]
    answer = _of_file([one for one in heard if not one.signature.place][-1:], "same")
    if answer.label != "authentic":
        raise UnsupportedError(f"{shown(path)} cannot be signed so that it is vouched for. {answer.reason}")
    return made


def signed_bytes(whole: bytes, path: Path, signer: DicomSigner, purpose: str = "") -> bytes:
    """As `formats.signature.with_signature`, by a signer and now."""
    now = datetime.datetime.now(datetime.UTC)
    return with_signature(whole, path, signer.algorithm, der_of(signer.certificate), f"2.25.{uuid.uuid4().int}",
                          f"{now:%Y%m%d%H%M%S.%f}+0000", signer.sign, purpose)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {rest} more" if rest > 0 else "")
