"""What is said of an image that is held to its seal, or to the record of an older protection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from scanward.box import Box, places
from scanward.brief import brief
from scanward.image import Image
from scanward.protectors.seal import Record, changed
from scanward.seals.check import Checked, Part
from scanward.seals.record import Seal
from scanward.seals.tree import regions
from scanward.verdict import Label, worst

LOCAL = 0.25
"""Share of the blocks up to which changed ones are places, and beyond which the whole was processed anew."""
SAME = 1e-3
"""Relative difference below which two spacings are one; and millimetres below which two places are, times ten."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Whether an image is what was sealed or, by an earlier version, protected."""

    label: Label
    """The worst of its parts."""
    reason: str
    """Of the first such part."""
    boxes: tuple[Box, ...] = ()
    """About each place that was altered, in voxels (z, y, x), the largest first."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """What a seal vouches for (`voxels`, `geometry`, `identity`, `history`), each with `label` and `reason`; the record
    of an older protection says nothing of more than the first two."""
    signer: str = ""
    """Who sealed, by the certificate; empty where an older record answers."""
    seal: Seal | None = None
    """What the image was held to, where that was a seal."""

    __repr__ = brief

    def heat(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """(z, y, x) of this shape: 1 where it was altered, 0 elsewhere."""
        made = np.zeros(shape, np.float32)
        for box in self.boxes:
            made[box.slices] = 1
        return made


def held_to_seal(checked: Checked, seal: Seal) -> Answer:
    """What holding an image to its seal gave."""
    return Answer(checked.label, checked.reason, checked.boxes, dict(checked.named), checked.signer, seal)


def held_to_record(image: Image, master: bytes, record: Record) -> tuple[Answer, float]:
    """By the record of an older protection, block by block; and the share of the blocks that are as it says.

    `authentic` is only what is voxel by voxel what was protected. What was encoded anew is never called so: whoever
    knows the method, but not the key, can make a forgery whose blocks keep their means and their pattern.
    """
    if image.shape != record.grid.shape:
        return Answer("inconclusive", "It has another size than what was protected."), 0.0
    other = changed(image, master, record)
    boxes: tuple[Box, ...] = ()
    if other.mean() >= LOCAL:
        voxels = Part("inconclusive", "It was processed as a whole, by another encoding, say, or is none of what was "
                                      "protected; its record vouches for nothing in it.")
    elif other.any():
        boxes = regions(other, record.grid.block, record.grid.shape)
        voxels = Part("tampered", f"It was altered in {'one place' if len(boxes) == 1 else f'{len(boxes)} places'}.")
    else:
        voxels = Part("authentic", "It is voxel by voxel what was protected.")
    geometry = _geometry(image, record)
    if geometry.label == "tampered" and voxels.label == "inconclusive":
        geometry = Part("inconclusive", geometry.reason)  # what was cut, resampled or encoded anew lies elsewhere, too
    label = cast(Label, worst([voxels.label, geometry.label]))
    reason = voxels.reason if voxels.label == label else geometry.reason
    return Answer(label, reason, boxes, {"voxels": voxels, "geometry": geometry}), float(1 - other.mean())


def facts(answer: Answer) -> dict[str, object]:
    """For JSON: places in voxels, in the order that `axes` says; a box is [x0, y0, z0, x1, y1, z1]."""
    parts = {name: {"label": part.label, "reason": part.reason} for name, part in answer.parts.items()}
    return {"label": answer.label, "reason": answer.reason, **parts, "axes": "x, y, z",
            "findings": places(answer.boxes, "other voxels than recorded")}


def _geometry(image: Image, record: Record) -> Part:
    """Whether it has the spacing that was recorded, and lies where it lay."""
    spacing, there = image.spacing, image.provenance.to_world
    if record.spacing is None and record.to_world is None:
        return Part("authentic", "Its record does not say where it lay, nor the size of its voxels.")
    if record.spacing is not None and spacing is None:
        return Part("inconclusive", "It does not say the size of its voxels any more, which was "
                                    f"{_millimetres(record.spacing)}.")
    if record.to_world is not None and there is None:
        return Part("inconclusive", "It does not say any more where it lies in the patient.")
    if spacing is not None and record.spacing is not None and not np.allclose(spacing, record.spacing, SAME, 0):
        return Part("tampered", f"Its voxels are {_millimetres(spacing)} now, and were "
                                f"{_millimetres(record.spacing)}.")
    if there is not None and record.to_world is not None and not np.allclose(there, record.to_world, atol=10 * SAME):
        return Part("tampered", "It lies elsewhere in the patient than what was protected, or the other way round.")
    return Part("authentic", "It lies where it lay.")


def _millimetres(spacing: tuple[float, ...]) -> str:
    return f"{' x '.join(f'{mm:g}' for mm in spacing)} mm"
