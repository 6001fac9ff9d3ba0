"""`scanward train self-reference --adapt DIR`: a few forgeries of a new kind, and a detector that knows it afterwards.

ForensicTransfer (Cozzolino et al. 2018, section 4.4) does so with as few as ten images of the target domain.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from scanward import formats, weights
from scanward.anatomy.breast import breast_mask
from scanward.datasets.films import digital
from scanward.detectors.self_reference import OfFilm, SelfReference
from scanward.detectors.self_reference.film import like_film
from scanward.detectors.self_reference.local import measure, measurer
from scanward.detectors.self_reference.network import SelfReferenceNet
from scanward.errors import ArgumentError
from scanward.forgery.replay import read_record
from scanward.image import Image
from scanward.training.bank import CROP, Bank, Pair, Pool, pool_of, window_of, write_bank
from scanward.training.finish import SHOWN, abroad, calibrated, ship
from scanward.training.loop import Schedule, fit
from scanward.training.self_reference import PRESETS, arrays_of, batch, loss_of

LEAST = 5
EACH = 12
"""Pairs of crops an image."""
PAIRS = 4
"""Pairs a step."""
SCHEDULE = Schedule(300, 3e-4, warmup=20, every=100)
OLD = 0.5
"""Share of what is known already in each step, where its bank is at hand, so that it is not forgotten."""


def adapt(name: str, folder: Path, *, data: Path | None, out: Path, resume: bool, install: bool) -> Path:
    """Fine-tune the shipped weights on the forgeries in `folder`, calibrate, write; see `train`.

    The weights are those of film where most images' grain is even. Each forgery lies in a folder of its own with its
    record.json and mask.png, as `scanward inject` and `remove` write them. Raises `ArgumentError` for fewer than five.
    """
    records = _records(folder)
    kind: type[OfFilm | SelfReference] = OfFilm if _of_film(records) else SelfReference
    more, name = [] if kind is OfFilm else digital("val", data), kind.weights_name
    arrays, entry = weights.load(name)
    # Another kind, or other weights to begin with, is another training: nothing of an earlier one may be gone on with.
    made_of = "".join([entry.sha256, *(str(read_record(record)["image_sha256"]) for record in records)])
    work = out / "adapt" / hashlib.sha256(made_of.encode()).hexdigest()[:12]
    new, old = _pool(records, work / "bank", varies=kind is SelfReference), _old(out)
    if len(new) < PAIRS:
        raise ArgumentError(f"The forgeries in {folder} leave too little room for crops on and off them; give larger "
                            "films or smaller forgeries.")
    net = SelfReferenceNet()
    net.load_state_dict({key: torch.from_numpy(values) for key, values in arrays.items()})
    preset = dataclasses.replace(PRESETS["full"], batch=PAIRS)

    def draw(model: nn.Module, rng: np.random.Generator) -> Tensor:
        pool = old if old and rng.random() < OLD else new
        return loss_of(model, *batch(pool, preset, [], rng))

    fit(net, draw, SCHEDULE, work / f"{name}.ckpt", seed=7, resume=resume, title=f"{name}, adapted")
    made = arrays_of(net)
    settings = calibrated(kind, made, work, name, data, steps=SHOWN, more=more)
    settings = abroad(settings) if kind is SelfReference else settings
    about = [bank.about[i] for bank, i in new]
    kinds, images = sorted({row["attack"] for row in about}), len({row["film"] for row in about})
    command = f"{entry.command}; scanward train {name} --adapt DIR"
    return ship(name, made, settings, command, weights.FOLDER if install else out / "adapt",
                f"{entry.trained_on}; adapted to {images} forgeries: {', '.join(kinds)}", entry.licence)


def _old(out: Path) -> Pool:
    """The bank of the full preset, where it was made."""
    folder = out / f"bank-{PRESETS['full'].bank.pairs}"
    return pool_of(Bank(folder)) if (folder / "about.jsonl").is_file() else []


def _records(folder: Path) -> list[Path]:
    records = sorted(folder.glob("**/record.json"))
    if len(records) < LEAST:
        raise ArgumentError(f"{folder} holds {len(records)} forgeries with their record.json; give {LEAST} or more, as "
                            "`scanward inject` and `remove` write them.")
    return records


def _of_film(records: list[Path]) -> bool:
    """Whether most of the forged images pass for digitised films."""
    even = 0
    for record in records:
        image = _image(record, read_record(record))
        tissue = breast_mask(image.plane)
        reference = measure(image.plane, tissue)
        even += reference is not None and like_film(image.plane, tissue, reference)
    return 2 * even > len(records)


def _image(record: Path, kept: dict[str, Any]) -> Image:
    spacing = tuple(kept["spacing"]) if kept.get("spacing") else None
    return formats.read(record.parent / kept["image"], modality="MG", spacing=spacing)  # type: ignore[arg-type]


def _pool(records: list[Path], folder: Path, *, varies: bool) -> Pool:
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    count = write_bank(folder, (pair for record in records for pair in _pairs(record, rng, varies)))
    bank = Bank(folder) if count else None
    return [(bank, i) for i in range(count)] if bank is not None else []


def _pairs(record: Path, rng: np.random.Generator, varies: bool) -> Iterator[Pair]:
    """Crops about the forged region, each with one of the same image that lies off it."""
    kept = read_record(record)
    image = _image(record, kept)
    truth = cv2.imread(str(record.parent / "mask.png"), cv2.IMREAD_GRAYSCALE)
    if truth is None or truth.shape != image.plane.shape:
        raise ArgumentError(f"{record.parent / 'mask.png'} is not the truth of {kept['image']}; forge it again.")
    mask, tissue = truth > 0, breast_mask(image.plane)
    reference = measurer(varies=varies)(image.plane, tissue)
    calm = _calm(mask, tissue)
    if reference is None or not calm.any():
        return
    for _ in range(EACH):
        window, other = window_of(mask, rng), window_of(calm, rng)
        if window is None or other is None or mask[other].any():
            continue
        about = {"film": str(record.parent), "attack": str(kept["order"].get("method")), "family": "", "variant": "",
                 "present": []}
        yield Pair(image.plane[other].astype(np.uint16), image.plane[window].astype(np.uint16), mask[window],
                   (reference.within(other), reference.within(window)), float(image.plane.max()), about)


def _calm(mask: npt.NDArray[np.bool_], tissue: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Tissue (y, x) about which a crop holds nothing forged."""
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * CROP + 1, 2 * CROP + 1), np.uint8)) > 0
    return tissue & ~near
