"""The films that a study may show: forgeries with their truth, and real ones with their patients."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward import formats
from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.forgery.files import RECORD
from scanward.forgery.replay import read_record
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.sniff import HEAD, kind_of
from scanward.formats.write import companion_of
from scanward.formats.write_volume import hash_of
from scanward.image import Image, digest
from scanward.readerstudy.draw import Candidate
from scanward.readerstudy.protocol import KINDS, Kind, Protocol

LARGEST = 1 << 24
"""Bytes of a table of patients."""


@dataclass(frozen=True)
class Film:
    """One film that may be drawn."""

    path: Path
    kind: Kind
    patient: str
    record: dict[str, Any] | None = None
    """Of a forgery, what its `record.json` holds."""

    @property
    def family(self) -> str:
        """The original's path."""
        return str(self.record["host"]) if self.record else os.path.realpath(self.path)

    @property
    def candidate(self) -> Candidate:
        return Candidate(str(self.path), self.kind, self.patient, self.family)


def gather(protocol: Protocol) -> list[Film]:
    """Every film that the protocol's folders hold, in a fixed order. Raises `InputError`, also for a film that two
    kinds claim and for one that is marked as altered but not listed as a fake."""
    patients = _patients(protocol.patients)
    found: dict[str, Film] = {}
    for kind in KINDS:
        for path in protocol.films.get(kind, ()):
            for film in _fakes(path, patients) if kind == "fake" else _real(path, kind, patients):
                key = os.path.realpath(film.path)
                if key in found and found[key].kind != kind:
                    raise ArgumentError(f"{shown(film.path)} is listed as {found[key].kind} and as {kind}; leave it in "
                                        "one of them.")
                found.setdefault(key, film)
    return list(found.values())


def read_film(film: Film) -> tuple[Image, str, npt.NDArray[np.bool_] | None]:
    """A film's image, the digest of its original, and of a forgery the (y, x) truth.

    Raises `UnreadableError` where a forgery is not the recorded one, `UnsupportedError` for a CT.
    """
    record = film.record or {}
    spacing = tuple(record["spacing"]) if record.get("spacing") else None
    image = formats.read(film.path, modality=record.get("modality"), spacing=spacing)
    if image.modality != "MG" or image.shape[0] != 1:
        raise UnsupportedError(f"{shown(film.path)} is a CT; a reader study shows mammograms.")
    if film.record is None:
        if image.provenance.synthetic:
            raise ArgumentError(f"{shown(film.path)} says that it is synthetic; list its folder under fake.")
        return image, digest(image), None
    with decoding(film.path):
        same = hash_of(film.path) == record["image_sha256"]
    if not same:
        raise UnreadableError(f"{shown(film.path)} is not what {RECORD} beside it says; forge it again.")
    return image, record["host_sha256"], _mask(film.path.parent / Path(str(record["mask"])).name, image)


def _mask(path: Path, image: Image) -> npt.NDArray[np.bool_]:
    with decoding(path):
        with open_file(path) as file:
            data = file.read()
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if found is None or found.shape != image.shape[1:] or not found.any():
        raise UnreadableError(f"{shown(path)} is not the truth of the film beside it; forge it again.")
    return np.asarray(found) > 127


def _fakes(path: Path, patients: Mapping[str, str]) -> Iterator[Film]:
    records = [path] if path.is_file() else sorted(path.rglob(RECORD))
    if not records:
        raise UnreadableError(f"{shown(path)} holds no {RECORD}; name a folder that `scanward inject` or `remove` "
                              "wrote.")
    for found in records:
        record = read_record(found)
        host = Path(record["host"])
        image = found.parent / Path(record["image"]).name
        yield Film(image, "fake", _patient(host, image, patients), record)


def _real(path: Path, kind: Kind, patients: Mapping[str, str]) -> Iterator[Film]:
    sources, errors = formats.find([path])
    if errors:
        raise errors[0]
    for source in sources:
        if source.kind == "series":
            raise UnsupportedError(f"{shown(source.path)} is a CT; a reader study shows mammograms.")
        if companion_of(source.path).exists():
            raise ArgumentError(f"{shown(source.path)} is marked as altered; list its folder under fake.")
        yield Film(source.path, kind, _patient(source.path, source.path, patients))


def _patient(original: Path, image: Path, patients: Mapping[str, str]) -> str:
    """From the table, by the original's name with or without its ending, or from the image's DICOM header; otherwise
    each original has a patient of its own."""
    known = patients.get(original.name) or patients.get(original.stem)
    return known or _patient_of_header(image) or os.path.realpath(original)


def _patient_of_header(path: Path) -> str:
    from scanward.formats.dicom import opened

    with decoding(path):
        with open_file(path) as file:
            if kind_of(path, file.read(HEAD)) != "dicom":
                return ""
        with opened(path, ("PatientID",)) as (header, _):
            found = header.text("PatientID")
    return f"patient {found}" if found else ""


def _patients(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    with decoding(path):
        with open_file(path) as file:
            data = file.read(LARGEST + 1)
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    column = next((name for name in ("film", "file") if rows and name in rows[0]), None)
    if column is None or "patient" not in rows[0] or len(data) > LARGEST:
        raise UnreadableError(f"{shown(path)} is no table of patients; it needs the columns film (or file) and "
                              "patient.")
    return {str(row[column]): f"patient {row['patient']}" for row in rows if row[column] and row["patient"]}
