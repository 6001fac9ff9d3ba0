"""`read`: any file or series that Scanward knows, as an `Image`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.arguments import PathLike, path_of
from scanward.errors import ArgumentError, UnreadableError, UnsupportedError
from scanward.formats.alone import check_alone, check_folders
from scanward.formats.arrays import image_of_array
from scanward.formats.guard import check_arguments, decoding, open_file, shown
from scanward.formats.sniff import HEAD, foreign, kind_of
from scanward.formats.sources import TAKES, Source, find
from scanward.image import Image, Modality

Given = Image | Source | PathLike | npt.NDArray[Any]
"""An image as the public functions take it: itself, a path, what `find` found, or an array."""


def image_in(source: Given, modality: Modality | None = None, spacing: tuple[float, float] | None = None) -> Image:
    """The image that a public function was given, read where it is none yet.

    Raises as `read`; `ArgumentError` where `modality` or `spacing` come with an `Image`, which has its own, too.
    """
    if not isinstance(source, Image):
        return read(source, modality=modality, spacing=spacing)
    if modality is not None or spacing is not None:
        raise ArgumentError("An Image has a modality and a spacing of its own; leave the arguments modality and "
                            "spacing out, or give them to scanward.load.")
    return source


def read(
    source: Source | PathLike | npt.NDArray[Any],
    *,
    modality: Modality | None = None,
    spacing: tuple[float, float] | None = None,
) -> Image:
    """The image of one file, or of a folder that holds one image or one CT series; or an array as an NPY file's.

    Pixels are float32 (z, y, x). MG: stored values, larger brighter, in [0, 2**bits - 1]. CT: HU; slices ascend along
    the normal of the image plane, rows and columns stay as stored in DICOM, and MetaImage and NIfTI volumes are turned
    to x towards the patient's left, y to the back, z to the head.

    `modality` says what a file is whose format does not (PNG, TIFF, PGM, NPY, NIfTI, MetaImage), and overrules a DICOM
    header. `spacing` is (y, x) in mm and likewise completes or overrules; rasters have none of their own, as their
    resolution tags speak of paper. A single image's z spacing is 1.0.

    Raises `UnreadableError` for what is damaged, forbidden or of no known format, `UnsupportedError` for what Scanward
    has no method for, `ArgumentError` for a bad `modality` or `spacing`.
    """
    check_arguments(modality, spacing)
    if isinstance(source, np.ndarray):
        return image_of_array(None, source.copy(), modality, spacing)
    if not isinstance(source, Source):
        source = one_source(path_of(source, "source", TAKES))
    with decoding(source.path):
        check_folders(source.paths)
        if source.kind == "series":
            from scanward.formats.series import read_series  # pydicom stays out of `find` by name

            return read_series(source.paths, modality, spacing)
        return _read_file(source.path, modality, spacing)


def one_source(path: Path) -> Source:
    """A file, or the one image or series in a folder. Raises as `find`; `UnreadableError` where there are several."""
    if not os.path.isdir(path):
        return Source((path,), "file")
    sources, errors = find([path])
    if errors:
        raise errors[0]
    if len(sources) > 1:
        raise UnreadableError(f"{shown(path)} holds {len(sources)} images; name one of them.")
    return sources[0]


def check_kind(path: Path) -> None:
    """Raises as `read` for a file that is missing, empty or of no known format; no more is looked at."""
    with decoding(path):
        _kind(path)


def _kind(path: Path) -> str:
    with open_file(path) as file:
        head = file.read(HEAD)
        if not head:
            raise UnreadableError(f"{shown(path)} is empty; copy it again from its source.")
        kind = kind_of(path, head)
        if kind is None:
            raise UnsupportedError(f"{shown(path)} is {foreign(head)}; Scanward reads DICOM, PNG, TIFF, PGM, NPY, "
                                   "MetaImage and NIfTI.")
        if kind != "dicom":
            check_alone(path, file)
    return kind


def _read_file(path: Path, modality: Modality | None, spacing: tuple[float, float] | None) -> Image:
    kind = _kind(path)
    if kind == "dicom":
        from scanward.formats.series import read_dicom

        return read_dicom(path, modality, spacing)
    from scanward.formats.marked import synthetic_in

    image = _read_plain(kind, path, modality, spacing)
    if not synthetic_in(path):
        return image
    return dataclasses.replace(image, provenance=dataclasses.replace(image.provenance, synthetic=True))


def _read_plain(kind: str, path: Path, modality: Modality | None, spacing: tuple[float, float] | None) -> Image:
    if kind in ("png", "tiff", "pgm", "npy"):
        from scanward.formats import raster

        return raster.READERS[kind](path, modality, spacing)
    from scanward.formats import volume

    return volume.READERS[kind](path, modality, spacing)
