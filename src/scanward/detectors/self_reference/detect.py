"""The default detector: the image's own grain as reference, a dense network as judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import breast_mask
from scanward.detectors.base import Arrays, regions
from scanward.detectors.self_reference.film import like_film
from scanward.detectors.self_reference.local import measure
from scanward.detectors.self_reference.reference import Reference
from scanward.detectors.self_reference.support import without_like
from scanward.image import Image
from scanward.nets.engine import engine, named, precision
from scanward.tiles import bands
from scanward.verdict import Evidence, untold
from scanward.weights import Trained

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Infer = Callable[[Plane, npt.NDArray[np.float32]], Plane]
"""Stabilised (y, x), sides multiples of 16, and gains (15, y / 16, x / 16) to logits (y / 2, x / 2)."""

ALIGN = 16
HALO = 128
"""Rows read beyond a band on either side; what the context beyond them adds is under 1e-2 of a logit."""
ROWS = 512
RIM = 4
"""Logits along the image's border that are left out: the coarsest residuals read 8 pixels of padding there."""
WINDOWS = (5, 9, 17, 33)
"""Sides, in logits (2 pixels each), of the means whose maxima the image score is made of: a small forgery is loud in a
small window only, a chance alarm in no large one. They hold for a breast of `USUAL` logits a side; where pixels are
finer, windows have as many more of them, up to `FINEST` times: a calcification of one millimetre is no forgery on
any film."""
USUAL, FINEST = 300.0, 4.0
"""The first is the square root of a breast's area where a pixel is 0.2 mm, as on most films of the training: its size
tells how fine pixels are, whatever a header says or leaves out."""
SKIN = 0.02
"""Of the square root of the breast's area, some 2 mm."""
LEAST_SIDE = 64
FLAT = 9
LEAST_GRAIN = 0.7
"""Stored steps; grain below this leaves flat places of its own once it is rounded."""
PAINTED = 8.0
"""The logit of a patch that holds one single value in the midst of grain."""
WIDESPREAD = 0.05
"""Share of the breast with logits above 0 beyond which the image is no reference for itself: a maker's processing makes
grain vary over the whole breast, and then tissue of every kind looks forged."""
COMPACT, LARGEST = 0.5, 0.6
"""Regions that fill this share of their bounding box, and cover no more than that of the breast, do not count: they may
be large forgeries, which are four fifths full (a disc), where processing leaves rims and streaks. Set on training and
validation images of films and digital mammograms (docs/results.md)."""
UNEVEN = ("Over more than 5 % of the breast, and not in compact regions, grain is unlike that of any image that the "
          "detector was tested on, as after resampling, strong compression or unusual processing; a forgery cannot be "
          "told from that.")
NOTHING_LIKE = ("What looks forged is a place that hardly anything else in the breast is as bright as, so that its "
                "grain cannot be held against any; a dense mass may look so.")
SILENT = np.float32(-8.0)
"""The logit of a place that does not count."""


@dataclass(frozen=True)
class Seen:
    """What the detector saw in one plane."""

    logits: Plane | None
    """Forgery logits (y / 2, x / 2, rounded up; -inf outside the breast); None where there is nothing to judge by."""
    reason: str
    """Why there are none."""
    settings: dict[str, Any]
    """Of the network that looked."""
    strange: bool = False
    """Whether the breast looks unlike any that the network knows."""


class Network(Trained):
    """Noise of each region against the noise of the whole image, by one set of weights."""

    name = "self-reference"

    @cached_property
    def infer(self) -> Infer:
        """The network in the engine of choice."""
        arrays, _ = self._weights
        return _openvino(arrays) if engine() == "openvino" else _torch(arrays)

    @property
    def settings(self) -> dict[str, Any]:
        """As in the manifest."""
        return self._weights[1]

    def load(self) -> None:
        """The weights and the engine's library, in the caller's thread; a network is built once an image needs it."""
        self.check_weights()
        import_module("scanward.detectors.self_reference.graph" if engine() == "openvino" else "torch")

    def detect(self, image: Image) -> Evidence:
        """Judge one mammogram."""
        start = time.perf_counter()
        seen = self.look(image.plane)
        logits, reason, settings = seen.logits, seen.reason, seen.settings
        if seen.strange:
            logits, reason = None, UNEVEN
        shape = image.plane.shape
        threshold, level = settings.get("threshold", 0.5), settings.get("heat_threshold", 0.5)
        if logits is None:
            return self._silent(image, settings, reason, start)
        loudest = peaks(logits)
        score = image_score(loudest, settings)
        if score >= threshold and (alone := without_like(image.plane, logits)).any():
            logits = np.where(alone & (logits != PAINTED), SILENT, logits)
            loudest = peaks(logits)
            score = image_score(loudest, settings)
            if score < threshold:
                return self._silent(image, settings, NOTHING_LIKE, start)
        heat = heat_of(logits, shape, settings)
        found = regions(heat[None], level, image, self.name) if score >= threshold else ()
        return Evidence(self.name, score, threshold, heat[None], level, found, features=loudest,
                        engine=named(), weights_sha256=self.weights_sha256,
                        seconds=time.perf_counter() - start)

    def _silent(self, image: Image, settings: dict[str, Any], reason: str, start: float) -> Evidence:
        """Neither an alarm nor a pass."""
        return untold(self.name, image.shape, reason, threshold=settings.get("threshold", 0.5),
                      heat_threshold=settings.get("heat_threshold", 0.5), weights_sha256=self.weights_sha256,
                      seconds=time.perf_counter() - start)

    def look(self, plane: Plane) -> Seen:
        """What a plane (y, x) shows."""
        if min(plane.shape) < LEAST_SIDE:
            return Seen(None, f"The image is smaller than {LEAST_SIDE} pixels on a side.", self.settings)
        tissue = breast_mask(plane)
        reference = measure(plane, tissue)
        if reference is None:
            return Seen(None, "The image holds too little grain to serve as its own reference.", self.settings)
        return self.look_at(plane, tissue, reference)

    def look_at(self, plane: Plane, tissue: Mask, reference: Reference) -> Seen:
        """The same, once its reference was measured."""
        logits = dense_logits(plane, tissue, reference, self.infer)
        return Seen(logits, "", self.settings, widespread(logits))


class OfFilm(Network):
    """For digitised films, whose grain is even over the breast: it is held against one curve of the image's own."""

    weights_name = "self-reference-film"

    def look_at(self, plane: Plane, tissue: Mask, reference: Reference) -> Seen:
        return super().look_at(plane, tissue, replace(reference, field=None))


class SelfReference(Network):
    """For every image: what passes for a film is shown to `OfFilm`, which learnt on film alone and tells smaller
    differences than the network that lets a maker's processing pass. What seems strange all over the breast to the one
    that is asked first (a large forgery makes film uneven, too) is shown to the other."""

    weights_name = "self-reference"

    def __init__(self, arrays: Arrays | None = None, settings: dict[str, Any] | None = None) -> None:
        """Without arguments the two networks that ship; one that is passed looks at every image itself."""
        super().__init__(arrays, settings)
        self._film = OfFilm() if arrays is None else None

    @property
    def weights_sha256(self) -> str | None:
        """Of both networks' weights, parted by a blank."""
        own = super().weights_sha256
        return own if self._film is None else f"{own} {self._film.weights_sha256}"

    def check_weights(self) -> None:
        super().check_weights()
        if self._film is not None:
            self._film.check_weights()

    def look_at(self, plane: Plane, tissue: Mask, reference: Reference) -> Seen:
        if self._film is None:
            return super().look_at(plane, tissue, reference)
        networks = [super().look_at, self._film.look_at]
        if like_film(plane, tissue, reference):
            networks.reverse()
        seen = networks[0](plane, tissue, reference)
        if seen.strange:
            other = networks[1](plane, tissue, reference)
            seen = seen if other.strange else other
        return replace(seen, settings=with_threshold(seen.settings, self.settings["threshold"]))


def dense_logits(plane: Plane, tissue: Mask, reference: Reference, infer: Infer) -> Plane:
    """Logits of the whole plane at half its sides, in row bands, each over its own breast columns only."""
    height, width = plane.shape
    full = np.full((-(-height // 2), -(-width // 2)), -np.inf, np.float32)
    for start, stop, keep, end in bands(height, ROWS, HALO, ALIGN):
        columns = np.flatnonzero(tissue[keep:end].any(0))
        if columns.size == 0:
            continue
        left = max(0, int(columns[0]) - HALO) // ALIGN * ALIGN
        right = min(width, int(columns[-1]) + 1 + HALO)
        piece = reference.stabilise(np.ascontiguousarray(plane[start:stop, left:right]))
        pad = [(0, -n % ALIGN) for n in piece.shape]
        piece = np.pad(piece, pad, mode="edge")
        blocks = [slice(first // ALIGN, first // ALIGN + side // ALIGN)
                  for first, side in zip((start, left), piece.shape, strict=True)]
        found = infer(piece, reference.gains_at(*blocks))
        inside = found[(keep - start) // 2:-(-(end - start) // 2), :-(-(right - left) // 2)]
        full[keep // 2:keep // 2 + len(inside), left // 2:left // 2 + inside.shape[1]] = inside
    small = cv2.resize(tissue.view(np.uint8), full.shape[::-1], interpolation=cv2.INTER_NEAREST).view(np.bool_)
    full[painted(plane[::2, ::2], small, reference)] = PAINTED
    full[~small | rim_of(small) | cut_off(plane[::2, ::2], small)] = -np.inf
    full[:RIM] = full[-RIM:] = -np.inf
    full[:, :RIM] = full[:, -RIM:] = -np.inf
    return full


def rim_of(tissue: Mask) -> Mask:
    """The skin, (y, x), and what makers' processing does along it: `SKIN` of the breast's size wide."""
    reach = max(1, round(SKIN * float(np.sqrt(tissue.sum()))))
    whole = np.pad(tissue.view(np.uint8), reach, mode="edge")  # the image's border is no skin
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    return tissue & (cv2.erode(whole, disc)[reach:-reach, reach:-reach] == 0)


def cut_off(plane: Plane, tissue: Mask) -> Mask:
    """Patches (y, x) that the brightest value of the breast fills, where no grain is left to tell anything by, and
    their rims: burnt-out tissue, metal, markers."""
    white = (tissue & (plane >= plane[tissue].max(initial=-np.inf))).astype(np.uint8)
    patches = cv2.morphologyEx(white, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return cv2.dilate(patches, np.ones((9, 9), np.uint8)) > 0 if patches.any() else patches > 0


def painted(plane: Plane, tissue: Mask, reference: Reference) -> Mask:
    """True in patches of at least FLAT × FLAT samples of one and the same value (y, x), where grain would forbid it.

    `plane` is every second pixel of the image, so that patches from about 20 pixels on are seen.
    The network has learnt to pass over flat places, since film saturates; but there the measured grain is next to none
    too. Values at either end of the range are left alone.
    """
    whole = np.zeros(plane.shape, np.uint8)
    whole[:-1, :-1] = tissue[:-1, :-1]
    whole[:-1, :-1] &= plane[:-1, :-1] == plane[:-1, 1:]
    whole[:-1, :-1] &= plane[:-1, :-1] == plane[1:, :-1]
    box = np.ones((FLAT, FLAT), np.uint8)
    if not cv2.erode(whole, box, borderValue=0).any():
        return np.zeros(plane.shape, np.bool_)
    flat = cv2.morphologyEx(whole, cv2.MORPH_OPEN, box) > 0
    inner = (plane > plane.min()) & (plane < plane.max())
    return flat & inner & (reference.sigma(plane) > LEAST_GRAIN)


def widespread(logits: Plane) -> bool:
    """Whether more than `WIDESPREAD` of the breast, where logits are finite, would be called forged outside compact
    regions."""
    breast = int(np.isfinite(logits).sum())
    _, _, stats, _ = cv2.connectedComponentsWithStats((logits > 0).astype(np.uint8), connectivity=8)
    areas, boxes = stats[1:, cv2.CC_STAT_AREA], stats[1:, cv2.CC_STAT_WIDTH] * stats[1:, cv2.CC_STAT_HEIGHT]
    compact = (areas >= COMPACT * boxes) & (areas <= LARGEST * breast)
    return bool(areas[~compact].sum() > WIDESPREAD * breast)


def heat_of(logits: Plane, shape: tuple[int, int], settings: dict[str, Any]) -> Plane:
    """Calibrated probability of each pixel, (y, x): sigmoid(slope · logit + offset), bilinear from half size."""
    slope, offset = settings.get("heat_slope", 1.0), settings.get("heat_offset", 0.0)
    probability = _sigmoid(slope * np.maximum(logits, -30) + offset)
    probability[np.isneginf(logits)] = 0
    heat = cv2.resize(probability, (2 * logits.shape[1], 2 * logits.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(heat[:shape[0], :shape[1]])


def image_score(loudest: tuple[float, ...], settings: dict[str, Any]) -> float:
    """Calibrated [0, 1] score of the image from its `peaks`: a logistic regression fitted on the validation split."""
    slopes = settings.get("slopes", [0.0, 1.0, 0.0, 0.0])
    return float(_sigmoid(np.float64(np.dot(slopes, loudest) + settings.get("offset", 0.0))))


def with_threshold(settings: dict[str, Any], threshold: float) -> dict[str, Any]:
    """Settings that give the same answers on a scale where the threshold is another: the score's logit is shifted."""
    before = settings.get("threshold", 0.5)
    shift = float(np.log(threshold / (1 - threshold)) - np.log(before / (1 - before)))
    return {**settings, "offset": settings.get("offset", 0.0) + shift, "threshold": threshold}


def peaks(logits: Plane) -> tuple[float, ...]:
    """The largest mean logit over any window of each size in WINDOWS; places outside the breast, where logits are not
    finite, count -8."""
    clipped = np.clip(logits, -8, 8)
    factor = min(max(float(np.sqrt(np.isfinite(logits).sum())) / USUAL, 1.0), FINEST)
    sides = [round(n * factor) // 2 * 2 + 1 for n in WINDOWS]
    return tuple(float(cv2.blur(clipped, (n, n), borderType=cv2.BORDER_REPLICATE).max()) for n in sides)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _openvino(arrays: Arrays) -> Infer:
    from scanward.detectors.self_reference.graph import build

    run = build(arrays, precision())
    return lambda plane, gains: run(plane[None, None], gains[None])[0][0, 0]


def _torch(arrays: Arrays) -> Infer:
    import torch

    from scanward.detectors.self_reference.network import SelfReferenceNet
    from scanward.nets.blocks import placed

    net = SelfReferenceNet()
    net.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
    placed(net.eval().to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(plane: Plane, gains: npt.NDArray[np.float32]) -> Plane:
        given = torch.from_numpy(plane)[None, None], torch.from_numpy(np.ascontiguousarray(gains))[None]
        return net(*given)[0, 0].numpy()

    return run
