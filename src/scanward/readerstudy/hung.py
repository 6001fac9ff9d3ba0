"""A case as readers see it, written: a film, two views side by side, or the slices of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import chest_wall
from scanward.errors import UnsupportedError
from scanward.formats.guard import shown
from scanward.formats.whose import PAIR
from scanward.readerstudy import render
from scanward.readerstudy.films import Film, Seen, read_picture
from scanward.readerstudy.protocol import Protocol
from scanward.report.slices import affine_of, pack_image
from scanward.tiles import extent

WALL = {"R": "right", "L": "left"}
"""The side of a picture on which the chest wall of a breast is hung."""
GAP = 0.01
"""Between two views, of their width."""
LONGEST = 1 << 16
"""Rows of a picture of a scan's truth, at most: no lesion fills more."""


@dataclass(frozen=True)
class Hung:
    """What was written of a case, and what is true of it."""

    facts: dict[str, Any]
    """Of `study.json`: width and height, of a scan slices, of a pair its views."""
    bits: int
    family: str
    """Digests of the originals."""
    box: tuple[int, ...] | None = None
    """(x0, y0, x1, y1) of what was forged in pixels of the picture; (x0, y0, z0, x1, y1, z1) in a scan's voxels."""
    truth: bytes = b""
    """PNG of the truth: of the whole picture, or of a scan's box slice below slice."""
    to_mm: list[list[float]] = field(default_factory=list)
    """Of a scan: three rows that take (x, y, z, 1) in voxels to mm of the patient (LPS)."""


def hang(film: Film, protocol: Protocol, path: Path) -> Hung:
    """Write a case to `path`, a PNG or a packed volume. Raises `InputError`."""
    seen = [read_picture(one, protocol.shows) for one in film.pictures]
    if protocol.shows == "scan":
        return _scan(seen[0], film, path)
    walls = [WALL.get(one.whose.side, "") for one in film.pictures]
    if protocol.shows == "pair":
        seen = _turned(seen, walls)
    sizes = _sizes(seen, protocol.longest)
    width, height = sum(w for w, _ in sizes), max(h for _, h in sizes)
    gap = max(1, round(GAP * width)) if len(seen) > 1 else 0
    left, starts = 0, []
    for w, _ in sizes:
        starts.append(left)
        left += w + gap
    whole = (left - gap, height)
    planes = [render.picture(one.image, size, protocol.bits) for one, size in zip(seen, sizes, strict=True)]
    path.write_bytes(render.png(_beside(planes, starts, whole)))
    facts: dict[str, Any] = {"width": whole[0], "height": whole[1]}
    if protocol.shows == "pair":
        facts["views"] = [{"name": f"{film.pictures[0].whose.side} {view}".strip(), "left": x, "right": x + w}
                          for view, x, (w, _) in zip(PAIR, starts, sizes, strict=True)]
    masks = [np.zeros(size[::-1], np.bool_) if one.mask is None else render.truth(one.mask[0], size)
             for one, size in zip(seen, sizes, strict=True)]
    inside = _beside(masks, starts, whole)
    truth = render.png(inside.astype(np.uint8) * 255) if inside.any() else b""
    return Hung(facts, max(one.image.bits for one in seen), "\n".join(one.family for one in seen), _box(inside), truth)


def _turned(seen: Sequence[Seen], walls: Sequence[str]) -> list[Seen]:
    """Both views with the chest wall where that breast's is hung, or, of an unknown side, where the first has it."""
    found = [chest_wall(one.image.plane) for one in seen]
    want = walls[0] or found[0]
    return [one.mirrored() if want and wall and wall != want else one for one, wall in zip(seen, found, strict=True)]


def _sizes(seen: Sequence[Seen], longest: int) -> list[tuple[int, int]]:
    """(width, height) of each picture, all in one scale where all say theirs."""
    steps = [one.image.spacing[1] if one.image.spacing else None for one in seen]
    known = [step for step in steps if step is not None]
    scales = [step / max(known) for step in known] if len(known) == len(seen) else [1.0] * len(seen)
    most = max(scale * max(one.image.shape[1:]) for scale, one in zip(scales, seen, strict=True))
    fit = min(1.0, longest / most)
    return [(max(1, round(one.image.shape[2] * fit * scale)), max(1, round(one.image.shape[1] * fit * scale)))
            for one, scale in zip(seen, scales, strict=True)]


def _beside(planes: Sequence[npt.NDArray[Any]], starts: Sequence[int], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Planes side by side, each in the middle of the height, on black."""
    made = np.zeros(size[::-1], planes[0].dtype)
    for plane, left in zip(planes, starts, strict=True):
        top = (size[1] - len(plane)) // 2
        made[top:top + len(plane), left:left + plane.shape[1]] = plane
    return made


def _scan(seen: Seen, film: Film, path: Path) -> Hung:
    pack_image(seen.image, path)
    z, y, x = seen.image.shape
    facts = {"width": x, "height": y, "slices": z}
    to_mm = (np.diag([-1.0, -1.0, 1.0]) @ affine_of(seen.image)[:3]).tolist()
    if seen.mask is None:
        return Hung(facts, seen.image.bits, seen.family, to_mm=to_mm)
    box = _box(seen.mask) or ()
    inside = seen.mask[tuple(slice(box[axis], box[axis + 3]) for axis in (2, 1, 0))]
    rows = inside.reshape(-1, inside.shape[2])
    if len(rows) > LONGEST:
        raise UnsupportedError(f"{shown(film.path)} is forged all over, so that no mark could miss it; leave it out.")
    return Hung(facts, seen.image.bits, seen.family, box, render.png(rows.astype(np.uint8) * 255), to_mm)


def _box(inside: npt.NDArray[np.bool_]) -> tuple[int, ...] | None:
    """Lower ends, x first, then upper ends, exclusive; None where nothing is inside."""
    if not inside.any():
        return None
    parts = extent(inside)[::-1]
    return (*(part.start for part in parts), *(part.stop for part in parts))
