"""The chest phantom: organs, vessels and airways drawn as tissue, then scanned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.datasets.phantom import body
from scanward.datasets.phantom.body import Place
from scanward.datasets.phantom.scanner import Axes, Protocol, scanned
from scanward.datasets.phantom.tree import Points, Tree, drawn, grown
from scanward.image import Image

Field = npt.NDArray[np.float32]

AIR, FAT, MUSCLE, BLOOD, ORGAN, LUNG = -1000.0, -100.0, 52.0, 42.0, 58.0, -865.0
"""HU."""
CORTEX, MARROW, DISC, FOAM, SHELL = 600.0, 170.0, 80.0, -750.0, -150.0
HEAVIER = 0.35
"""HU a mm by which lung grows denser towards the back, on which the patient lies."""
MOTTLE = 14.0
"""Deviation in HU of the lung from place to place."""
SWAY, ROUGH = 2.2, 0.45
"""Deviations in mm of organs from their formulas, over centimetres and nearby."""
UNEVEN = 0.7
"""The same of the diaphragm, over 9 mm."""
ARTERIES, VEINS, BRONCHI = 2500, 2000, 150
"""Ends of each tree, a lung."""


def chest_phantom(seed: int = 0, protocol: Protocol | None = None) -> Image:
    """A synthesised chest CT of a scanner that there is not: the same seed, the same chest.

    No patient's data is in it, and nothing of any image: its organs are formulas and its noise is drawn.
    """
    protocol = protocol or Protocol()
    rng = np.random.default_rng(seed)
    axes = protocol.axes
    tissue, lung = _organs(axes, rng)
    soft = protocol.spacing[1]
    for side in body.HILUM:
        for tree in _vessels(side, lung, axes, rng):
            tissue += drawn(tree, axes, soft) * (BLOOD - tissue)
        tree = grown(body.HILUM[side], _field(side, lung, axes, BRONCHI, rng), 0.5, 2.6, rng)
        bronchi = Tree(np.vstack([tree.start, [(body.CARINA, 12, 0)]]), np.vstack([tree.end, [body.HILUM[side]]]),
                       np.append(tree.radius, 6.0))
        tissue += drawn(bronchi, axes, soft, wall=0.9) * (MUSCLE - 20 - tissue)
        tissue += drawn(bronchi, axes, soft) * (AIR - tissue)
    return Image(scanned(tissue, protocol, rng), "CT", protocol.spacing)


def _organs(axes: Axes, rng: np.random.Generator) -> tuple[Field, Field]:
    """Tissue in HU, and the distance to the lungs' surface, (z, y, x)."""
    z, y, x = (axis.astype(np.float32) for axis in axes)
    wide, near = ([_Lumps.of(axes, width, rng) for _ in range(3)] for width in (45.0, 12.0))
    grain, fine, mottle = (_Lumps.of(axes, width, rng) for width in (4.0, 3.0, 9.0))
    tissue, lung = (np.empty((len(z), len(y), len(x)), np.float32) for _ in range(2))
    couch, soft = body.couch(Place(np.float32(0), y[:, None], x)), y[1] - y[0]
    tissue[:] = _painted(np.full(lung.shape[1:], AIR, np.float32), [(couch, FOAM), (np.abs(couch) - 0.7, SHELL)], soft)
    for number, height in enumerate(z):
        dz, dy, dx = (SWAY * far.plane(height) + ROUGH * by.plane(height) for far, by in zip(wide, near, strict=True))
        specks, patches = fine.plane(height), mottle.plane(height)
        at = Place(height + dz, y[:, None] + dy, x + dx, UNEVEN * patches)
        lung[number] = body.lungs(at, z[0], z[-1])
        air = LUNG + HEAVIER * at.y + MOTTLE * (patches + 0.6 * specks)
        organs = _organs_at(at, lung[number], air, grain.plane(height), specks, z[0])
        tissue[number] = _painted(tissue[number], organs, soft)
    return tissue, lung


def _organs_at(at: Place, lung: Field, air: Field, grain: Field, fine: Field,
               low: float) -> list[tuple[Field, float | Field]]:
    """Distances to the surfaces of what lies at one height, (y, x), and its HU; what is later hides what is earlier."""
    out, cavity = body.ellipse(at.y, at.x, body.BODY), body.ellipse(at.y, at.x, body.CAVITY)
    ribs, spine, pipe, breastbone = (of(at) for of in (body.ribs, body.spine, body.windpipe, body.breastbone))
    marrow = MARROW + 45 * grain
    return [
        (out, MUSCLE - 20), (out + 2, FAT + 8 * grain), (out + 13, np.where(fine > 1.1, FAT + 40, MUSCLE)),
        (cavity, FAT + 20 * grain), (body.belly(at, low), ORGAN + 10 * fine), (body.heart(at), BLOOD + 4 * grain),
        (body.aorta(at), BLOOD), (body.gullet(at), MUSCLE - 15), (lung - 0.8, MUSCLE - 30), (lung, air),
        (pipe - 1.3, MUSCLE), (pipe, AIR), (ribs, CORTEX), (ribs + 1.6, marrow), (breastbone, CORTEX - 200),
        (breastbone + 1.5, marrow - 60), (body.blades(at), CORTEX), (body.arch(at), CORTEX - 100),
        (spine, CORTEX - 100), (spine + 1.5, np.where(body.disc(at) < 0, DISC, marrow))]


def _painted(plane: Field, organs: Sequence[tuple[Field, float | Field]], soft: float) -> Field:
    """A plane (y, x) in HU with organs on it, whose edges are `soft` mm wide."""
    made = plane
    for distance, hu in organs:
        made = made + (0.5 - distance / soft).clip(0, 1) * (hu - made)
    return made


def _vessels(side: int, lung: Field, axes: Axes, rng: np.random.Generator) -> list[Tree]:
    z, y, x = body.HILUM[side]
    roots = {ARTERIES: (z + 4, y - 2, x), VEINS: (z - 10, y - 6, x)}
    return [grown(root, _field(side, lung, axes, count, rng), 0.33, 2.8, rng) for count, root in roots.items()]


def _field(side: int, lung: Field, axes: Axes, count: int, rng: np.random.Generator) -> Points:
    """So many random points (n, 3) of one lung, away from its surface."""
    half = np.flatnonzero(np.sign(axes[2]) == side)
    z, y, x = np.nonzero(lung[:, :, half[0]:half[-1] + 1] < -3)
    chosen = rng.choice(len(z), count, replace=False)
    return np.stack([axes[0][z[chosen]], axes[1][y[chosen]], axes[2][x[chosen] + half[0]]], 1)


@dataclass(frozen=True)
class _Lumps:
    """A smooth random field of deviation 1, nearly."""

    coarse: Field
    heights: Points
    """Of the coarse planes."""
    size: tuple[int, int]
    """Of a plane, (x, y)."""

    @classmethod
    def of(cls, axes: Axes, width: float, rng: np.random.Generator) -> _Lumps:
        """Whose lumps are about `width` mm wide."""
        counts = [int(np.ptp(axis) / (width / 2)) + 3 for axis in axes]
        coarse = ndimage.gaussian_filter(rng.standard_normal(counts, np.float32), 0.7, mode="wrap")
        return cls(coarse / coarse.std(), np.linspace(axes[0][0], axes[0][-1], counts[0]), (len(axes[2]), len(axes[1])))

    def plane(self, height: float) -> Field:
        """(y, x) at a height."""
        at = float(np.interp(height, self.heights, np.arange(len(self.heights))))
        low = min(int(at), len(self.coarse) - 2)
        share = np.float32(0.5 - 0.5 * np.cos(np.pi * (at - low)))
        mixed = (1 - share) * self.coarse[low] + share * self.coarse[low + 1]
        return np.asarray(cv2.resize(mixed, self.size, interpolation=cv2.INTER_CUBIC), np.float32)
