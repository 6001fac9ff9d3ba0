"""The CT detector: the scan's own noise as reference, a dense network as judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.airways import lungs_alone
from scanward.anatomy.lung import Lungs, inside
from scanward.detectors.base import Arrays, regions
from scanward.detectors.ct_self_reference.describe import described
from scanward.detectors.ct_self_reference.part import cut_off
from scanward.detectors.ct_self_reference.reference import BLOCK, Reference, measure, stack
from scanward.image import Image
from scanward.modality import traits
from scanward.nets.engine import at_once, cores, engine, named, precision
from scanward.tiles import extent
from scanward.verdict import Evidence, untold
from scanward.weights import Trained

Volume = npt.NDArray[np.float32]
Infer = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Stabilised (3, y, x), sides multiples of 16, and gains (16, y / 8, x / 8) to logits (y / 2, x / 2)."""

ALIGN = 16
HALO = 32
"""Pixels read around the lungs of a slice."""
WINDOWS_MM = (4.0, 7.0, 11.0, 17.0)
"""Sides of the cubes over which logits are averaged for the score."""
APART_MM = 12.0
"""Peaks of the pooled logits that are nearer than this are one."""
RIVAL = 5
"""Against which of a scan's loudest places the loudest is held."""
HEAT_MM = 4.0
"""Side of the cubes over which the heat is averaged."""
LEAST_SLICES = traits("CT").slices
LEAST_MM, THICKEST_MM = 20.0, 4.0
"""What a scan must have, and how far apart its slices may be."""
PIXEL_MM, SQUARE, LITRES = (0.25, 2.0), 1.05, 10.0
"""What pixels of a chest CT measure, how far they may be from squares, and what lungs may hold at most: how large a
forgery looks hangs on what the header says, and the header is the forger's to choose."""
CUBE = 1e-3
"""Share by which the sides of a voxel differ that is no cube, at least: reconstructions are hardly ever of cubes."""
OUTSIDE = -6.0
"""The logit that counts outside the lungs, and the least inside."""


class CtSelfReference(Trained):
    """Noise of each region of a chest CT against the noise of the whole scan; see `reference.py` for the idea."""

    name = weights_name = "ct-self-reference"

    def detect(self, image: Image) -> Evidence:
        """Judge one chest CT; a CT without lungs does not concern it."""
        start = time.perf_counter()
        _, settings = self._weights
        threshold, level = settings.get("threshold", 0.5), settings.get("heat_threshold", 0.5)
        lungs = lungs_alone(image)
        seen, why = self._seen(image, lungs)
        if seen is None:
            return untold(self.name, image.shape, why, threshold=threshold, heat_threshold=level,
                          concerned=bool(lungs.mask.any()), weights_sha256=self.weights_sha256,
                          seconds=time.perf_counter() - start)
        logits, reference = seen
        features = features_of(logits, image.spacing or (1.0, 1.0, 1.0))
        score = image_score(features, settings)
        heat = heat_of(logits, image, settings)
        found = regions(heat, level, image, self.name) if score >= threshold else ()
        reason = described(image, reference, found[0]) if found else ""
        part = cut_off(image, lungs) if score >= threshold else ""
        if part:  # neither an alarm nor a pass
            found, reason = (), f"{reason[:-1]}, but {part}." if reason else f"{part[0].upper()}{part[1:]}."
        return Evidence(self.name, score, threshold, heat, level, found, conclusive=not part, reason=reason,
                        features=features, engine=named(), weights_sha256=self.weights_sha256,
                        seconds=time.perf_counter() - start)

    def load(self) -> None:
        """The weights and the engine, in the caller's thread."""
        self.infer  # noqa: B018

    def logits(self, image: Image) -> Volume | None:
        """Forgery logits (z, y / 2, x / 2, rounded up; -inf outside the lungs), or None where nothing can be told."""
        seen, _ = self._seen(image, lungs_alone(image))
        return seen and seen[0]

    def _seen(self, image: Image, lungs: Lungs) -> tuple[tuple[Volume, Reference] | None, str]:
        """`logits` and the scan's reference, or None and why nothing can be told."""
        why = unfit(image, lungs)
        reference = None if why else measure(image.pixels, lungs, image.spacing or (1.0, 1.0, 1.0))
        if reference is None:
            return None, why or "The lungs hold too little noise to serve as their own reference."
        return (dense_logits(image, lungs, reference, self.infer), reference), ""

    @cached_property
    def infer(self) -> Infer:
        """The network in the engine of choice."""
        arrays, _ = self._weights
        return _openvino(arrays) if engine() == "openvino" else _torch(arrays)


def unfit(image: Image, lungs: Lungs) -> str:
    """Why nothing can be told of this CT, in a sentence; empty where something can."""
    if not lungs.mask.any():
        return "No lungs were found in this CT."
    if image.spacing is None:
        return "The file does not say how large a voxel is, which the detector goes by."
    apart, high = image.spacing[0], image.shape[0] * image.spacing[0]
    pixel, litres = image.spacing[1:], float(lungs.mask.sum() * np.prod(lungs.spacing)) / 1e6
    reasons = {
        f"Its pixels are said to be {pixel[0]:g} × {pixel[1]:g} mm, and its lungs would hold {litres:.1f} litres, as "
        "those of no chest CT; correct the header.":
            min(pixel) < PIXEL_MM[0] or max(pixel) > PIXEL_MM[1] or max(pixel) > SQUARE * min(pixel) or litres > LITRES,
        f"Fewer than {LEAST_SLICES} slices, or less than {LEAST_MM:g} mm of a chest, are too little to judge by.":
            image.shape[0] < LEAST_SLICES or high < LEAST_MM,
        f"Its slices lie {apart:g} mm apart; beyond {THICKEST_MM:g} mm tests could tell nothing.":
            apart > THICKEST_MM + 0.01,
        "Its voxels are cubes, as resampling makes them, and in tests resampled scans raised false alarms.":
            max(image.spacing) - min(image.spacing) < CUBE * max(image.spacing),
        f"Slices of less than {2 * HALO} pixels a side are too small to judge.": min(image.shape[1:]) < 2 * HALO,
    }
    return next((reason for reason, true in reasons.items() if true), "")


def dense_logits(image: Image, lungs: Lungs, reference: Reference, infer: Infer) -> Volume:
    """Forgery logits (z, y / 2, x / 2, rounded up) of every slice; -inf outside the lungs.

    Slices are judged side by side, as many as the engine takes.
    """
    depth, height, width = image.shape
    full = np.full((depth, -(-height // 2), -(-width // 2)), -np.inf, np.float32)

    def fill(z: int) -> None:
        lung = inside(lungs, z, (height, width))
        rows, columns = extent(lung)
        top, left = (max(0, first.start - HALO) // ALIGN * ALIGN for first in (rows, columns))
        bottom, right = (min(n, last.stop + HALO) for n, last in ((height, rows), (width, columns)))
        planes = reference.stabilise(stack(image.pixels[:, top:bottom, left:right], z))
        planes = np.pad(planes, [(0, 0), *((0, -n % ALIGN) for n in planes.shape[1:])], mode="edge")
        gains = _gains(reference, image.pixels[z], z, (top, left), planes.shape[1:])
        found = infer(planes, gains)
        kept = found[:-(-(bottom - top) // 2), :-(-(right - left) // 2)]
        half = cv2.resize(lung.view(np.uint8), full.shape[:0:-1], interpolation=cv2.INTER_NEAREST) > 0
        window = slice(top // 2, top // 2 + kept.shape[0]), slice(left // 2, left // 2 + kept.shape[1])
        full[z][window] = np.where(half[window], kept, -np.inf)

    with ThreadPoolExecutor(at_once()) as pool:
        list(pool.map(fill, np.flatnonzero(lungs.mask.any((1, 2))).tolist()))
    return full


def _gains(reference: Reference, plane: Volume, z: int, corner: tuple[int, int], shape: tuple[int, ...]) -> Volume:
    """`Reference.gains_at` of a window; beyond the slice, its last blocks'."""
    first, count = ([n // BLOCK for n in pixels] for pixels in (corner, shape))
    rows, columns = (slice(one, min(one + n, -(-side // BLOCK)))
                     for one, n, side in zip(first, count, plane.shape, strict=True))
    part = reference.gains_at(plane, z, (rows, columns))
    lacks = [(0, n - held) for n, held in zip(count, part.shape[1:], strict=True)]
    return np.ascontiguousarray(np.pad(part, [(0, 0), *lacks], mode="edge"))


def pooled(logits: Volume, spacing: tuple[float, float, float], side: float) -> Volume:
    """Mean logit of the cube of `side` mm about each place, (z, y / 2, x / 2); outside the lungs counts -6, and so does
    what lies beyond the first and the last slice, or one slice would count for several there."""
    high, *sides = _sides(spacing, side)
    planes = np.stack([cv2.blur(plane, sides[::-1], borderType=cv2.BORDER_REPLICATE)
                       for plane in np.clip(logits, OUTSIDE, -OUTSIDE)])
    beyond = [(high // 2, high // 2), (0, 0)]
    lines = np.pad(planes.reshape(len(planes), -1), beyond, constant_values=OUTSIDE)
    means = cv2.blur(lines, (1, high), borderType=cv2.BORDER_REPLICATE)[high // 2:][:len(planes)]
    return np.asarray(means.reshape(planes.shape), np.float32)


def _torch(arrays: Arrays) -> Infer:
    import torch

    from scanward.detectors.ct_self_reference.network import CtSelfReferenceNet
    from scanward.nets.blocks import filled

    net = filled(CtSelfReferenceNet(), arrays)

    def run(planes: Volume, gains: Volume) -> Volume:
        with torch.inference_mode():
            found = net(torch.from_numpy(planes)[None], torch.from_numpy(gains)[None])
        return np.asarray(found[0, 0].numpy())

    return run


def features_of(logits: Volume, spacing: tuple[float, float, float]) -> tuple[float, ...]:
    """The loudest place at each of `WINDOWS_MM`, and by how much it is louder than the `RIVAL`-th of its size: forgers
    change one place, and what else alarms comes in numbers."""
    near = logits[_about_lungs(logits, spacing, WINDOWS_MM[-1])]

    def loudest(side: float) -> tuple[float, float]:
        values, _ = peaks(pooled(near, spacing, side), spacing, RIVAL)
        ranked = np.concatenate([values, np.full(RIVAL, OUTSIDE)])
        return float(ranked[0]), float(ranked[0] - ranked[RIVAL - 1])

    with ThreadPoolExecutor(cores()) as pool:
        return tuple(value for found in pool.map(loudest, WINDOWS_MM) for value in found)


def _about_lungs(logits: Volume, spacing: tuple[float, float, float], side: float) -> tuple[slice, ...]:
    """The part of the logits that cubes of `side` mm reach from the lungs: beyond, nothing is loud."""
    lungs = np.isfinite(logits)
    if not lungs.any():
        return (slice(None),) * 3
    reach = [int(side / step) + 2 for step in (spacing[0], 2 * spacing[1], 2 * spacing[2])]
    return tuple(slice(max(0, part.start - n), part.stop + n) for part, n in zip(extent(lungs), reach, strict=True))


def image_score(features: tuple[float, ...], settings: dict[str, Any]) -> float:
    """Calibrated [0, 1] score of a scan from its features: a logistic regression fitted on the validation split."""
    slopes = settings.get("slopes", [0.0, 0.0, 1.0] + [0.0] * (len(features) - 3))
    return float(_sigmoid(np.float64(np.dot(slopes, features) + settings.get("offset", 0.0))))


def heat_of(logits: Volume, image: Image, settings: dict[str, Any]) -> Volume:
    """Calibrated probability of each voxel, (z, y, x): sigmoid(slope · logit + offset) of means over `HEAT_MM`."""
    slope, offset = settings.get("heat_slope", 1.0), settings.get("heat_offset", 0.0)
    spacing = image.spacing or (1.0, 1.0, 1.0)
    window = _about_lungs(logits, spacing, HEAT_MM)
    probability = _sigmoid(slope * pooled(logits[window], spacing, HEAT_MM) + offset)
    probability[np.isneginf(logits[window])] = 0
    heat = np.zeros(image.shape, np.float32)
    part = heat[window[0], 2 * (window[1].start or 0):, 2 * (window[2].start or 0):]
    for plane, made in zip(probability, part, strict=True):
        if plane.any():
            large = cv2.resize(plane, (2 * plane.shape[1], 2 * plane.shape[0]), interpolation=cv2.INTER_LINEAR)
            made[:large.shape[0], :large.shape[1]] = large[:made.shape[0], :made.shape[1]]
    return heat


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def peaks(volume: Volume, spacing: tuple[float, float, float],
          most: int = 80) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
    """Values (n,) and places (n, 3) of a pooled volume's loudest local maxima; none nearer than `APART_MM` to a louder
    one."""
    high, *sides = _sides(spacing, APART_MM)
    planes = np.stack([cv2.dilate(plane, np.ones(sides, np.uint8)) for plane in volume])
    highest = cv2.dilate(planes.reshape(len(planes), -1), np.ones((high, 1), np.uint8)).reshape(volume.shape)
    places = np.argwhere((volume == highest) & (volume > OUTSIDE + 0.01))
    places = places[np.argsort(-volume[tuple(places.T)], kind="stable")]
    where = places * (spacing[0], 2 * spacing[1], 2 * spacing[2])
    found: list[int] = []
    left = np.arange(len(places))
    while left.size and len(found) < most:  # what is cut off at the same value is many maxima side by side
        found.append(int(left[0]))
        left = left[np.linalg.norm(where[left] - where[left[0]], axis=1) > APART_MM]
    return volume[tuple(places[found].T)], places[found]


def odd_sides(steps: Sequence[float], mm: float) -> list[int]:
    """Odd numbers of steps, of so many mm each, that are about `mm` long."""
    return [max(1, 2 * round((mm / step - 1) / 2) + 1) for step in steps]


def _sides(spacing: tuple[float, float, float], mm: float) -> list[int]:
    """The same of logits, (z, y, x)."""
    return odd_sides((spacing[0], 2 * spacing[1], 2 * spacing[2]), mm)


def _openvino(arrays: Arrays) -> Infer:
    from scanward.detectors.ct_self_reference.graph import build

    run = build(arrays, precision(), at_once())
    return lambda planes, gains: run(planes[None], gains[None])[0][0, 0]
