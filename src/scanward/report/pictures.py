"""What the review pages show of an image: thumbnail, Deep Zoom pyramids of a film and its heat, volumes of a CT."""

from __future__ import annotations

import gzip
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.disk import whole_folder
from scanward.image import Image
from scanward.modality import traits
from scanward.report import heat as drawing
from scanward.report.slices import ZIP, affine_of, pack_image
from scanward.verdict import Finding, Label, Verdict

FORM = 2
"""Of what is written here; a study that is scanned again does without pictures of another one."""
THUMB = 256
"""Pixels of a thumbnail's longer side."""
TILE, OVERLAP = 512, 1
"""Pixels of a tile's side, and of its edge that the neighbours show too."""
MOST_HEAT = 2048
"""Pixels of the heat's longer side: heat is smooth, and a browser colours it anew at every move of a slider."""
QUALITY = 85


def draw(image: Image, verdict_heat: npt.NDArray[np.float32], findings: Sequence[Finding], label: Label,
         folder: Path) -> None:
    """Write the pictures of one image into `folder`, which appears whole or not at all and replaces an earlier one.

    `verdict_heat` is (z, y, x), the image's own shape, in [0, 1]. Of a mammogram: `thumb.jpg`, `film.dzi` with
    `film_files` and `heat.dzi` with `heat_files`; of a volume `thumb.jpg`, `volume.nii.gz` (int16 HU,
    packed by `slices.pack`) and `heat.nii.gz` (uint8, 0 to 255). Raises `ValueError` where the heat has not the image's
    shape, and `ArgumentError` where the folder cannot be written.
    """
    if verdict_heat.shape != image.shape:
        raise ValueError(f"the heat is {verdict_heat.shape} where the image is {image.shape}")
    shutil.rmtree(folder, ignore_errors=True)
    with whole_folder(folder, last="thumb.jpg") as draft:
        (draft / "thumb.jpg").write_bytes(drawing.jpeg(_thumb(image, verdict_heat, findings, label)))
        if traits(image.modality).volume and image.shape[0] > 1:
            _volumes(image, verdict_heat, draft)
        else:
            low, high = drawing.window(image)
            _pyramid(drawing.to_grey(image.pixels[0], low, high), draft, "film", "jpg")
            _pyramid(_coarse(verdict_heat[0]), draft, "heat", "png")


def _thumb(image: Image, heat: npt.NDArray[np.float32], findings: Sequence[Finding], label: Label) -> drawing.Rgb:
    """RGB; the heat and what was found are drawn on it where the image is called tampered."""
    z, y, x = image.shape
    if label == "tampered":
        verdict = Verdict(1.0, 0.5, label, heat, tuple(findings), (), "", image.modality)
        picture = drawing.layers(image, verdict, width=2 * THUMB, weight=2).merged()
    else:
        scale = 2 * THUMB / max(y, x)
        grey = drawing.windowed(image, z // 2, (max(1, round(x * scale)), max(1, round(y * scale))))
        picture = np.dstack([grey] * 3)
    scale = THUMB / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _coarse(heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """One slice of heat as 0 to 255, no side longer than `MOST_HEAT`."""
    scale = MOST_HEAT / max(heat.shape)
    if scale < 1:
        size = (max(1, round(heat.shape[1] * scale)), max(1, round(heat.shape[0] * scale)))
        heat = cv2.resize(heat, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return _bytes(heat)


def _bytes(heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)


def _pyramid(plane: npt.NDArray[np.uint8], folder: Path, name: str, suffix: str) -> None:
    """`name.dzi` and `name_files/LEVEL/COLUMN_ROW.suffix` of a grey (y, x) picture, in Deep Zoom's form."""
    height, width = plane.shape
    (folder / f"{name}.dzi").write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" '
        f'Format="{suffix}" Overlap="{OVERLAP}" TileSize="{TILE}"><Size Width="{width}" Height="{height}"/></Image>\n',
        encoding="utf-8")
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if suffix == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 4]
    for level in range(math.ceil(math.log2(max(width, height, 1))), -1, -1):
        _tiles(plane, folder / f"{name}_files" / str(level), suffix, options)
        size = ((plane.shape[1] + 1) // 2, (plane.shape[0] + 1) // 2)
        plane = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]


def _tiles(plane: npt.NDArray[np.uint8], folder: Path, suffix: str, options: list[int]) -> None:
    folder.mkdir(parents=True)
    for row in range(math.ceil(plane.shape[0] / TILE)):
        for column in range(math.ceil(plane.shape[1] / TILE)):
            y0, x0 = max(0, row * TILE - OVERLAP), max(0, column * TILE - OVERLAP)
            tile = plane[y0:(row + 1) * TILE + OVERLAP, x0:(column + 1) * TILE + OVERLAP]
            done, data = cv2.imencode(f".{suffix}", tile, options)
            if not done:
                raise ValueError(f"a tile of {tile.shape} cannot be encoded as {suffix}")
            (folder / f"{column}_{row}.{suffix}").write_bytes(data.tobytes())


def _volumes(image: Image, heat: npt.NDArray[np.float32], folder: Path) -> None:
    """Image and heat as NIfTI-1 that lie where the image does in the patient."""
    pack_image(image, folder / "volume.nii.gz")
    _nifti(_bytes(heat), affine_of(image), folder / "heat.nii.gz")


def _nifti(values: npt.NDArray[Any], affine: npt.NDArray[np.float64], path: Path) -> None:
    import nibabel

    made = nibabel.Nifti1Image(values.transpose(2, 1, 0), affine)
    made.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(made.to_bytes(), ZIP, mtime=0))
