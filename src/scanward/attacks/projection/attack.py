"""A nodule put into, or taken out of, a chest CT by way of its projections (Chen et al., Med. Phys. 2016)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import check_strength
from scanward.attacks.ct_gan.attack import check_density, check_lesion, drawn_density
from scanward.attacks.pieces import piece_at
from scanward.attacks.projection.beam import PLAIN
from scanward.attacks.projection.lesion import Grid, Volume, excess_put, excess_taken, radius_of, reach_taken
from scanward.attacks.projection.scanner import FWHM, WATER, Scanner, paths, scanner_of
from scanward.box import Box
from scanward.image import Image

INSIDE = ((-728, -528, -371, -264, -192, -137, -89, -42, 6, 325, 1580),
          (-733, -380, -180, -106, -50, -18, 7, 32, 59, 625, 1822),
          (-723, -44, 6, 23, 31, 41, 52, 57, 74, 95, 1727))
"""HU inside of real nodules: every tenth percentile of the medians over their inner two fifths, by `BOUNDS_MM`; 670
nodules of LIDC-IDRI, split train (CC BY 3.0)."""
SOLID = 80.0
"""HU above which the inside of a real nodule holds calcium; such a one is made only where it is asked for."""
PARTS = 4
"""Heights within a slice, at least, at which a nodule is projected."""


class Projection:
    """A nodule projected, its noise with it, and reconstructed as the scan was. `density` is its HU before the scanner
    blurs it, drawn from those inside of real nodules where it is None."""

    name = "projection"
    family = "projection"
    needs_donor = False

    def __init__(self, *, density: float | None = None) -> None:
        self._density = check_density(density)

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """Place, density, the scanner as the host shows it, and the seed of all else; JSON values only. Raises as
        `check_lesion`."""
        params = _drawn(host, lesion, strength)
        density = drawn_density(INSIDE, lesion.diameter, rng, SOLID)
        return {**params, "density_hu": density if self._density is None else self._density,
                "seed": int(rng.integers(2**31))}

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """What changes, as the host's file stores it, and its truth."""
        centre, spacing, diameter, seed = _place(params)
        scanner = Scanner.of(params["scanner"])
        radius, high = radius_of(diameter, seed), spacing[0]
        finer = max(diameter / 40, min(high / PARTS, diameter / 12))
        count = math.ceil(radius / finer)
        heights = np.asarray(np.arange(-count, count + 1) * finer, np.float64)
        grid = Grid.about(centre, spacing, radius, diameter / 8, heights)
        slices, profile = _profile(heights, finer, centre[0], high, scanner.thickness, host.shape[0])
        added = excess_put(grid, host, diameter, params["density_hu"], scanner.noise, seed)
        # sums without threads, which a replay could have more or fewer of
        integrals = grid.beam.project(np.einsum("ij,jyx->iyx", profile, added))
        signal = grid.beam.reconstruct(integrals, scanner.kernel)
        noise = grid.beam.reconstruct(_more_noise(host, grid, integrals, profile, scanner, seed), scanner.kernel)
        box = grid.box(host.shape, slices)
        return _patch(host, box, grid.to_scan(signal, box), grid.to_scan(noise, box), params)


class ProjectionRemove:
    """The nodule's own excess over the lung about it, projected, reconstructed and taken off."""

    name = "projection-remove"
    family = "projection-remove"
    needs_donor = False

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """Place and scanner; nothing is left to chance. Raises as `check_lesion`."""
        return _drawn(host, lesion, strength)

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """What changes, as the host's file stores it, and its truth. The kernel is the plain ramp: the excess was seen
        through the scanner's own already."""
        centre, spacing, diameter, _ = _place(params)
        reach = reach_taken(diameter)
        half = math.ceil(reach / spacing[0])
        middle = round(centre[0])
        slices = range(max(0, middle - half), min(host.shape[0], middle + half + 1))
        heights = np.asarray((np.arange(slices.start, slices.stop) - centre[0]) * spacing[0], np.float64)
        grid = Grid.about(centre, spacing, reach, diameter / 8, heights)
        taken = excess_taken(grid, host, diameter, params["scanner"]["noise"])
        signal = grid.beam.reconstruct(grid.beam.project(taken), PLAIN)
        box = grid.box(host.shape, slices)
        return _patch(host, box, -grid.to_scan(signal, box), np.zeros(box.size), params)


def _drawn(host: Image, lesion: Lesion, strength: float) -> dict[str, Any]:
    check_lesion(host, lesion)
    check_strength(strength)
    z, y, x = (float(c) for c in lesion.centre)
    return {"centre": [z, y, x], "spacing": list(host.spacing or (1.0, 1.0, 1.0)),
            "diameter_mm": float(lesion.diameter), "scanner": scanner_of(host, (z, y, x)).to_json(),
            "strength": float(strength)}


def _place(params: dict[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float], float, int]:
    z, y, x = params["centre"]
    sz, sy, sx = params["spacing"]
    return (z, y, x), (sz, sy, sx), params["diameter_mm"], params.get("seed", 0)


def _profile(heights: npt.NDArray[np.float64], finer: float, centre: float, high: float, thickness: float,
             depth: int) -> tuple[range, Volume]:
    """The slices of a scan that see the heights about a centre, and how much of each (slices, heights): a Gaussian of
    the slice's thickness at half its height."""
    sigma = thickness / FWHM
    reach = heights[-1] + 2.5 * sigma
    first = min(max(0, math.ceil(centre - reach / high)), round(centre))
    last = max(min(depth, math.floor(centre + reach / high) + 1), round(centre) + 1)
    away = (np.arange(first, last)[:, None] - centre) * high - heights
    return range(first, last), np.exp(-0.5 * (away / sigma) ** 2) * (finer / sigma / math.sqrt(2 * math.pi))


def _more_noise(host: Image, grid: Grid, integrals: Volume, profile: Volume, scanner: Scanner, seed: int) -> Volume:
    """What the rays through a nodule get of noise beside the scan's own (angles, cells, slices), in HU times mm: their
    variance grows with what is absorbed, by exp(Δp) - 1. Slices share it as they share what they see."""
    share = paths(host, grid.centre, grid.beam.angles)
    gain = grid.beam.gain(scanner.kernel, share)
    if not gain > 0:
        return np.zeros_like(integrals)
    more = np.expm1(np.maximum(WATER / 1000 * integrals, 0)) * share[:, None, None] * (scanner.noise**2 / gain)
    white = np.random.default_rng((seed, 5)).standard_normal((*integrals.shape[:2], profile.shape[1]))
    norm = np.sqrt(np.square(profile).sum(1)).clip(1e-9)
    return np.asarray(np.sqrt(more) * np.einsum("acj,ij->aci", white, profile / norm[:, None]), np.float64)


def _patch(host: Image, box: Box, signal: Volume, noise: Volume, params: dict[str, Any]) -> Patch:
    """The host with signal and noise in the box, and as truth what of the signal is at least half as strong as in the
    lesion's inside, in one piece."""
    before = host.pixels[box.slices]
    change = params["strength"] * (signal + noise)
    values = host.storable((before + change).astype(np.float32), before)
    strong = np.abs(signal)
    inside = strong[strong > 0.5 * strong.max()]
    mask = strong >= max(0.5 * float(np.median(inside)), 1e-6) if inside.size else np.zeros(strong.shape, bool)
    centre = [c - low for c, low in zip(params["centre"], box[:3], strict=True)]
    return Patch(box, values, piece_at(mask, centre, params["spacing"]))
