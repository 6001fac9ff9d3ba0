"""CT-GAN at work: a nodule injected into, or removed from, a chest CT (Mirsky et al. 2019, section 4.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scanward.anatomy.lung import Lungs, lungs_of
from scanward.arguments import check_word
from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import check_strength
from scanward.attacks.ct_gan.density import CALCIFIED, VISIBLE, density_of
from scanward.attacks.pieces import piece_at
from scanward.box import Box
from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image
from scanward.weights import Trained

if TYPE_CHECKING:
    from scanward.attacks.ct_gan.tamper import Forger

NOISES = ("copied", "gaussian", "none")
"""What the touch-up adds, since the way through millimetres takes a scan's noise away: that of another place in the
lungs, white noise of the lung's own deviation, or nothing."""
SMALLEST_MM, LARGEST_MM = 4.0, 30.0
BOUNDS_MM = (6.0, 10.0)
"""Between which diameters nodules are drawn of other densities."""
FAINTEST = 0.2
"""Share of the real nodules, the faintest, whose densities are not drawn: nobody would see such a forgery."""
EXTENTS = ("lesion", "cuboid")
"""How far a forgery reaches: to the nodule's rim, or over the whole cuboid, as the published attack does."""
DENSEST = (-800.0, 800.0)


class CtGan(Trained):
    """A nodule painted by the injector. `noise` is the touch-up; `density` the nodule's mean HU, drawn from those of
    real nodules where it is None; `extent` how far the forgery reaches."""

    name = "ct-gan"
    family = "ct-gan"
    weights_name = "ct-gan"
    needs_donor = False
    inject = True

    def __init__(self, arrays: dict[str, Any] | None = None, settings: dict[str, Any] | None = None, *,
                 noise: str = "copied", density: float | None = None, extent: str = "lesion") -> None:
        super().__init__(arrays, settings)
        check_word("noise", noise, NOISES)
        check_word("extent", extent, EXTENTS)
        self._noise, self._density, self._extent = noise, check_density(density), extent

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """Cuboid, density, noise and its source, the seed of all else; JSON values only. Raises as `check_lesion`."""
        from scanward.nets.cube import cuboid_of

        check_lesion(host, lesion)
        check_strength(strength)
        spacing = host.spacing or (1.0, 1.0, 1.0)
        z, y, x = lesion.centre
        centre = (float(z), float(y), float(x))
        cuboid = cuboid_of(centre, spacing, lesion.diameter)
        highest = math.inf if self._extent == "cuboid" else density_of(CALCIFIED)
        drawn = drawn_density(self._weights[1]["densities"], lesion.diameter, rng, highest)
        if self._density is not None:
            drawn = density_of(self._density)
        params = {"centre": list(centre), "spacing": list(spacing), "diameter_mm": float(lesion.diameter),
                  "voxel": cuboid.voxel, "density": drawn, "noise": self._noise, "strength": float(strength),
                  "seed": int(rng.integers(2**31))}
        if self._extent != "cuboid":
            params["extent"] = self._extent
        if self._noise == "copied":
            lungs = anatomy if isinstance(anatomy, Lungs) else lungs_of(host)
            params["noise_from"] = list(_elsewhere(lungs, centre, spacing, rng))
        return params

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """What changes, as the host's file stores it, and its truth."""
        import torch

        from scanward.attacks.ct_gan.tamper import tampered, weight_of

        # built outside of inference mode, or nobody could send gradients through it afterwards
        forger, threads = self.forger, torch.get_num_threads()
        torch.set_num_threads(1)  # sums of several threads differ in the last bit, and a forgery must replay
        try:
            with torch.inference_mode():
                box, made = tampered(torch.from_numpy(host.pixels), params, forger)
                weight = weight_of(params, box, forger).numpy()
        finally:
            torch.set_num_threads(threads)
        values = host.storable(np.asarray(made.numpy(), np.float32), host.pixels[box])
        change = np.abs(values - host.pixels[box])
        visible = change >= VISIBLE * params["strength"] if self.inject else (weight >= 0.5) & (change > 0)
        if "extent" in params:
            centre = [c - part.start for c, part in zip(params["centre"], box, strict=True)]
            visible = piece_at(visible, centre, params["spacing"])
        return Patch(Box.of(box), values, visible)

    @cached_property
    def forger(self) -> Forger:
        """The trained generator."""
        from scanward.attacks.ct_gan.tamper import forger_of

        return forger_of(*self._weights, inject=self.inject)


class CtGanB(CtGan):
    """Another attacker: other patients, widths and seed."""

    name = family = weights_name = "ct-gan-b"


class CtGanPlain(CtGan):
    """The published kind: it is told neither shape nor density and paints what the surroundings suggest, so that a
    diameter of more than 16 mm only makes the cuboid larger."""

    name = family = weights_name = "ct-gan-plain"


class CtGanPlainB(CtGan):
    """The same with other patients, widths and seed."""

    name = family = weights_name = "ct-gan-plain-b"


class CtGanRemove(CtGan):
    """The twin trained on healthy lung, which paints a nodule over."""

    name = family = weights_name = "ct-gan-remove"
    inject = False


class CtGanBRemove(CtGanRemove):
    """The other attacker's twin."""

    name = family = weights_name = "ct-gan-b-remove"


def drawn_density(known: Sequence[Sequence[float]], diameter_mm: float, rng: np.random.Generator,
                  highest: float) -> float:
    """A density from every tenth percentile of real nodules', in their unit, but for the faintest and those above
    `highest`; a row of percentiles for each of the ranges that `BOUNDS_MM` part."""
    row = known[int(np.digitize(diameter_mm, BOUNDS_MM))]
    numbers = np.arange(len(row))
    share = rng.uniform(FAINTEST * (len(row) - 1), float(np.interp(highest, row, numbers)))
    return float(np.interp(share, numbers, row))


def check_density(hu: float | None) -> float | None:
    """The density that was asked for, if any; `ArgumentError` where it cannot be made."""
    if hu is not None and not DENSEST[0] <= float(hu) <= DENSEST[1]:
        raise ArgumentError(f"--density {hu:g} cannot be made; give {DENSEST[0]:g} to {DENSEST[1]:g} HU.")
    return None if hu is None else float(hu)


def check_lesion(host: Image, lesion: Lesion) -> None:
    """`UnsupportedError` where the image is no CT volume of known spacing, `ArgumentError` for a place outside it or a
    diameter that cannot be made."""
    if host.modality != "CT" or host.spacing is None:
        raise UnsupportedError(f"{host.name} is no CT volume with a known voxel size, and nodules are made in those.")
    depth, height, width = host.shape
    z, y, x = lesion.centre
    if not (0 <= z <= depth - 1 and 0 <= y <= height - 1 and 0 <= x <= width - 1):
        raise ArgumentError(f"The place (x, y, z) = ({x:g}, {y:g}, {z:g}) lies outside {host.name} of "
                            f"{width} x {height} x {depth} voxels; choose one inside.")
    if not SMALLEST_MM <= lesion.diameter <= LARGEST_MM:
        raise ArgumentError(f"A diameter of {lesion.diameter:g} mm cannot be made; choose from {SMALLEST_MM:g} to "
                            f"{LARGEST_MM:g} mm.")
    high = depth * host.spacing[0]
    if high < lesion.diameter:
        raise UnsupportedError(f"{host.name} is {high:g} mm high, too low for {lesion.diameter:g} mm; give the whole "
                               "series.")


def _elsewhere(lungs: Lungs, centre: tuple[float, float, float], spacing: tuple[float, float, float],
               rng: np.random.Generator) -> tuple[float, float, float]:
    """Another place in the lungs, a cuboid away where there is one, to copy noise from; the place itself without."""
    if not lungs.mask.any():
        return centre
    depth = lungs.depth
    places = np.argwhere(lungs.mask & (depth >= min(10.0, 0.7 * float(depth.max()))))
    voxels = (places + 0.5) * lungs.step - 0.5
    away = np.linalg.norm((voxels - centre) * spacing, axis=1)
    far = voxels[away > 40] if (away > 40).any() else voxels
    z, y, x = (float(v) for v in far[int(rng.integers(len(far)))])
    return z, y, x
