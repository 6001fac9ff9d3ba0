"""The films and scans that a study may show, each read with its truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward import formats
from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.forgery.files import RECORD
from scanward.formats import Source
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.whose import Whose
from scanward.formats.write_volume import hash_of, read_mask
from scanward.image import Image, digest
from scanward.readerstudy.draw import Candidate
from scanward.readerstudy.protocol import Kind, Shows


@dataclass(frozen=True)
class Picture:
    """One image of a case."""

    source: Source
    whose: Whose
    original: str
    """The path of what it was made of; its own where it is real."""
    record: dict[str, Any] | None = None
    """Of a forgery, what its `record.json` holds."""

    @property
    def path(self) -> Path:
        """The file, or the folder of the series."""
        return self.source.path


@dataclass(frozen=True)
class Film:
    """One case that may be drawn."""

    pictures: tuple[Picture, ...]
    """One, or of a pair the CC and then the MLO view."""
    kind: Kind

    @property
    def path(self) -> Path:
        """Of what makes it its kind: the first forged image, or the first."""
        return next((one.path for one in self.pictures if one.record), self.pictures[0].path)

    @property
    def record(self) -> dict[str, Any]:
        """The first of its pictures' records; empty of a real one."""
        return next((one.record for one in self.pictures if one.record), {})

    @property
    def patient(self) -> str:
        return self.pictures[0].whose.patient

    @property
    def candidate(self) -> Candidate:
        """For the draw; the family are the originals."""
        name = "\n".join(str(one.source.paths[0]) for one in self.pictures)
        return Candidate(name, self.kind, self.patient, "\n".join(one.original for one in self.pictures))


@dataclass(frozen=True)
class Seen:
    """A picture that was read."""

    image: Image
    family: str
    """The digest of its original."""
    mask: npt.NDArray[np.bool_] | None
    """(z, y, x) of what was forged."""

    def mirrored(self) -> Seen:
        """Left to right."""
        pixels = np.ascontiguousarray(self.image.pixels[:, :, ::-1])
        return replace(self, image=replace(self.image, pixels=pixels),
                       mask=None if self.mask is None else self.mask[:, :, ::-1])


def read_picture(picture: Picture, shows: Shows) -> Seen:
    """Raises `UnreadableError` where a forgery is not the recorded one, `UnsupportedError` for what such a study does
    not show."""
    record = picture.record or {}
    spacing = tuple(record["spacing"]) if record.get("spacing") else None
    image = formats.read(picture.source, modality=record.get("modality"), spacing=spacing)
    _check(image, picture.path, shows)
    if picture.record is None:
        if image.provenance.synthetic:
            raise ArgumentError(f"{shown(picture.path)} says that it is synthetic; list its folder under fake.")
        return Seen(image, digest(image), None)
    with decoding(picture.path):
        same = hash_of(picture.path) == record["image_sha256"]
    if not same:
        raise UnreadableError(f"{shown(picture.path)} is not what {RECORD} beside it says; forge it again.")
    with decoding(picture.path):
        beside = picture.path.parent / Path(str(record["mask"])).name
    return Seen(image, str(record["host_sha256"]), _mask(beside, image))


def _check(image: Image, path: Path, shows: Shows) -> None:
    if shows != "scan":
        if image.modality != "MG" or image.shape[0] != 1:
            raise UnsupportedError(f"{shown(path)} is a CT; this study shows mammograms (see --modality).")
        return
    if image.modality != "CT" or image.shape[0] == 1:
        raise UnsupportedError(f"{shown(path)} is no CT volume; with --modality CT a study shows those alone.")
    if image.spacing is None:
        raise UnsupportedError(f"{shown(path)} does not say how large its voxels are, and marks are held against the "
                               "truth in mm; leave it out.")


def _mask(path: Path, image: Image) -> npt.NDArray[np.bool_]:
    if image.modality == "CT":
        found = read_mask(path)
    else:
        with decoding(path):
            with open_file(path) as file:
                data = file.read()
            read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        found = np.zeros(0, np.bool_) if read is None else np.asarray(read)[None] > 127
    if found.shape != image.shape or not found.any():
        raise UnreadableError(f"{shown(path)} is not the truth of the image beside it; forge it again.")
    return np.asarray(found, np.bool_)
