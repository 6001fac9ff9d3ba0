"""One forgery on disk: the image in its host's format, its truth, a picture and a record."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scanward import formats
from scanward.attacks.base import Tamper
from scanward.attacks.mammo_cgan import MammoCgan
from scanward.disk import check_free, whole_file, whole_folder
from scanward.errors import InputError
from scanward.forgery.kinds import KINDS
from scanward.forgery.make import check_order, forge_image
from scanward.forgery.order import Order
from scanward.formats import Source
from scanward.formats.sources import series_or_file
from scanward.formats.write_volume import hash_of, target_of
from scanward.image import Image, Modality, digest
from scanward.report.forged import stages_picture
from scanward.report.heat import png

RECORD, PICTURE, STAGES = "record.json", "before-after.png", "stages.png"
BESIDE = (*(kind.mask for kind in KINDS.values()), PICTURE, STAGES)
"""Pictures and masks beside a record, which are no hosts."""


@dataclass(frozen=True)
class Forged:
    """A forgery that was written, or the error that stopped it."""

    folder: Path
    record: dict[str, Any] | None = None
    """What `record.json` holds."""
    error: InputError | None = None
    new: bool = True
    """False where an earlier, interrupted run had made it."""


def forge_file(source: Source | Path, folder: Path, order: Order, action: str, *, seed: int | None = None,
               stages: bool = False, modality: Modality | None = None,
               spacing: tuple[float, float] | None = None) -> Forged:
    """One forgery of a file, written into `folder`: the image, its mask, `before-after.png`, `record.json`, and with
    `stages` the picture of every stage. All or nothing, and nothing is overwritten. Raises `InputError`."""
    attack = check_order(order, action, stages=stages)
    check_output(folder)
    source = series_or_file(source)
    image = formats.read(source, modality=modality, spacing=spacing)
    target_of(image, source, folder, "forged")
    order = order if seed is None else replace(order, seed=seed)
    tamper = forge_image(attack, image, order, order.seed)
    return write_tamper(tamper, image, source, folder, order, action, modality, spacing,
                        attack if stages and isinstance(attack, MammoCgan) else None)


def write_tamper(tamper: Tamper, image: Image, source: Source, folder: Path, order: Order, action: str,
                 modality: Modality | None, spacing: tuple[float, float] | None,
                 staged: MammoCgan | None = None, pair: dict[str, Any] | None = None) -> Forged:
    """Write what was made of the image that was read from `source` with this modality and spacing; with the pictures of
    a `staged` attack, and in the record what ties it to another view. As `forge_file`."""
    with together(folder) as draft:
        record = write_image(tamper, image, source, draft, action)
        record |= {"order": asdict(order), "spacing": spacing, "modality": modality}
        record |= {} if pair is None else {"pair": pair}
        _write(draft / PICTURE, png(KINDS[image.modality].picture(image, tamper)))
        if staged is not None:
            _write(draft / STAGES, png(stages_picture(staged.stages(image, tamper.record.params))))
        _write(draft / RECORD, (json.dumps(record, indent=2) + "\n").encode())
    return Forged(folder, record)


def write_image(tamper: Tamper, host: Image, source: Source, folder: Path, action: str) -> dict[str, Any]:
    """Write the forged image under its host's name, and its mask; what `record.json` says of them."""
    kind = KINDS[host.modality]
    written, lesions = kind.write(tamper, host, source, folder, "injected" if action == "inject" else "removed")
    inside = np.argwhere(tamper.mask)[:, ::-1]
    low, high = inside.min(0), inside.max(0) + 1
    return {**asdict(tamper.record), "action": action, **lesions,
            "box": [int(v) for v in (*low[:kind.axes], *high[:kind.axes])], "host": os.path.realpath(host.name),
            "image": written.name, "mask": kind.mask, "image_sha256": hash_of(written),
            "pixels_sha256": digest(tamper.image)}


def check_output(folder: Path) -> None:
    """`ArgumentError` where no forgery can be written into `folder`, or one lies there."""
    check_free(folder, (RECORD, *BESIDE))


def together(folder: Path) -> AbstractContextManager[Path]:
    """A draft folder, whose files appear in `folder` together when the block ends without an exception: an image after
    its mark, and the record last. Where it is, all is."""
    return whole_folder(folder, last=RECORD, taken=(RECORD, *BESIDE))


def _write(path: Path, data: bytes) -> None:
    with whole_file(path, replace=False) as file:
        file.write(data)
