"""What `verify -o` writes of an image that was held to its seal: the answer, a picture, a map of what was altered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward import formats
from scanward.disk import whole_file, whole_folder
from scanward.errors import InputError
from scanward.formats import Source
from scanward.formats.content import Content, read_content
from scanward.formats.guard import three
from scanward.formats.write_volume import write_mask
from scanward.image import Image
from scanward.report.heat import png
from scanward.report.protected import verified_picture
from scanward.seals.files import Held

VERIFIED, PICTURE, MAP = "verified.json", "verified.png", "altered"
BESIDE = (PICTURE, f"{MAP}.png", f"{MAP}.nii.gz")


def write_answer(source: Source, held: Held, facts: Mapping[str, Any], folder: Path) -> None:
    """All or nothing, and nothing is overwritten; the tiles that were altered are outlined, and white in the map."""
    image = _image(source, held)
    write_verified(image, _altered(held, image.shape), facts, folder, image.shape[0] > 1)


def write_verified(image: Image, altered: npt.NDArray[np.bool_], facts: Mapping[str, Any], folder: Path,
                   volume: bool) -> None:
    """What was said of an image, a picture of it, and the map of what was altered (z, y, x), a picture, too, unless it
    is a `volume`."""
    with whole_folder(folder, last=VERIFIED, taken=BESIDE) as draft:
        _put(draft / PICTURE, png(verified_picture(image, altered.astype(np.float32))))
        if volume:
            write_mask(draft / f"{MAP}.nii.gz", altered, image)
        else:
            _put(draft / f"{MAP}.png", png(255 * altered[0].astype(np.uint8)))
        _put(draft / VERIFIED, (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode())


def _altered(held: Held, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Voxels of the tiles that are others or, where a reduced copy told, of the places; none where the image has
    another shape than was sealed."""
    made = np.zeros(shape, bool)
    if shape != held.seal.shape[:3]:
        return made
    found = held.answer.tiles
    if not found.any():
        for box in held.answer.boxes:
            made[box.slices] = True
        return made
    for axis, side in enumerate(held.seal.tile):
        found = found.repeat(side, axis)
    return found[tuple(slice(length) for length in shape)]


def _image(source: Source, held: Held) -> Image:
    """As a scan shows it, where it can; else its stored values, grey."""
    try:
        image = formats.read(source)
        if image.shape == held.seal.shape[:3]:
            return image
    except InputError:
        pass  # more is sealed than is scanned
    content = read_content(source)
    if content.values.shape != held.seal.shape:
        content = content.without(content.copies)
    return Image(_grey(content), "MG", three(content.spacing, content.steps[0] or 1.0))


def _grey(content: Content) -> npt.NDArray[np.float32]:
    values = content.values.mean(-1) if content.values.ndim == 4 else content.values
    largest = float(np.finfo(np.float32).max)
    return np.nan_to_num(np.clip(values, -largest, largest), posinf=largest, neginf=-largest).astype(np.float32)


def _put(path: Path, data: bytes) -> None:
    with whole_file(path, replace=False) as file:
        file.write(data)
