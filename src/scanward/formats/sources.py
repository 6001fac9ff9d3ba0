"""`find`: from what a user typed to the images to read, each once and in a fixed order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scanward.errors import InputError, ScanwardError, UnreadableError
from scanward.formats.guard import decoding, open_file, shown
from scanward.formats.sniff import HEAD, kind_of

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
NO_IMAGE = frozenset(
    ("SR", "KO", "PR", "SEG", "DOC", "REG", "AU", "HD", "ECG", "EPS", "PLAN", "RTSTRUCT", "RTPLAN", "RTRECORD",
     "RTDOSE", "RWV", "FID", "STAIN", "AR", "KER", "SMR", "ASMT")
)  # fmt: skip
"""Modalities of objects about images: a study's folder holds them beside the images, so a search passes over them."""


@dataclass(frozen=True)
class Source:
    """What one `read` reads."""

    paths: tuple[Path, ...]
    """One file, or the files of one CT series sorted by position."""
    kind: Literal["file", "series"]

    @property
    def path(self) -> Path:
        """The file, or the folder of the series."""
        return self.paths[0] if self.kind == "file" else self.paths[0].parent


def find(arguments: Sequence[str | Path]) -> tuple[list[Source], list[InputError]]:
    """The images that files, folders and globs name, and an error for each argument that names none.

    A file named explicitly is always a source. A folder is searched with its subfolders (hidden ones and hidden files
    passed over, links followed but no folder entered twice) for files that look like images; its CT slices of one
    SeriesInstanceUID become one series. A glob is tried where no file has that very name. Arguments keep their order,
    names within a folder are sorted, and nothing is found twice.
    """
    sources: dict[tuple[str, ...], Source] = {}
    errors: list[InputError] = []
    for argument in arguments:
        try:
            with decoding(argument):
                found = list(_sources(argument))
        except InputError as error:
            errors.append(error)
            continue
        for source in found:
            sources.setdefault(tuple(os.path.realpath(p) for p in source.paths), source)
    return list(sources.values()), errors


def _sources(argument: str | Path) -> Iterator[Source]:
    path = Path(argument)
    if path.is_dir():
        yield from _in_folder(path)
    elif os.path.lexists(path):
        yield Source((path,), "file")
    elif glob.has_magic(str(argument)):
        names = sorted(glob.glob(str(argument), recursive=True))
        if not names:
            raise UnreadableError(f"No file matches {shown(argument)}; check the pattern.")
        for name in names:
            match = Path(name)
            if match.is_dir():
                yield from _grouped(_images(match))
            else:
                yield Source((match,), "file")
    else:
        raise UnreadableError(f"{shown(argument)} does not exist; check the path.")


def _in_folder(folder: Path) -> list[Source]:
    os.scandir(folder).close()  # raises where the folder may not be read: os.walk would pass it over
    sources = _grouped(_images(folder))
    if not sources:
        raise UnreadableError(f"{shown(folder)} holds no images; name a folder with DICOM, PNG, TIFF, PGM, NPY, "
                              "MetaImage or NIfTI files.")
    return sources


def _images(folder: Path) -> Iterator[tuple[Path, str]]:
    """Image files below `folder` with their kinds, folder by folder, sorted."""
    entered: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(f for f in files if not f.startswith(".")):
            path = Path(root, name)
            kind = _kind(path)
            if kind:
                yield path, kind


def _kind(path: Path) -> str | None:
    try:
        with decoding(path), open_file(path) as file:
            return kind_of(path, file.read(HEAD))
    except ScanwardError:
        # A forbidden file that is named like an image is reported when it is read; pipes and stray files are passed by.
        image = path.name.lower().endswith((".dcm", ".png", ".tif", ".tiff", ".npy", ".pgm", ".mha", ".mhd", ".nii",
                                            ".nii.gz"))  # fmt: skip
        return "unknown" if image and path.is_file() else None


def _grouped(images: Iterator[tuple[Path, str]]) -> list[Source]:
    """Images as sources: CT slices of one series in one folder together, at the place of the first."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for path, kind in images:
        key: tuple[str, ...] | None = (str(path),)
        if kind == "dicom":
            key = _dicom_key(path)
        if key is not None:
            groups.setdefault(key, []).append(path)
    return [_source(paths) for paths in groups.values()]


def _source(paths: list[Path]) -> Source:
    if len(paths) == 1:
        return Source((paths[0],), "file")
    from scanward.formats.series import by_position

    return Source(tuple(by_position(paths)), "series")


def _dicom_key(path: Path) -> tuple[str, ...] | None:
    """What groups the file with others: its folder and series for CT, itself for all else, None for no image."""
    from scanward.formats.dicom import opened

    try:
        with decoding(path), opened(path) as (header, _):
            modality, series = header.text("Modality"), header.text("SeriesInstanceUID")
            if modality in NO_IMAGE or header.text("SOPClassUID") == DICOMDIR_CLASS or path.name == "DICOMDIR":
                return None
    except ScanwardError:
        return (str(path),)
    return (str(path.parent), series) if modality == "CT" and series else (str(path),)
