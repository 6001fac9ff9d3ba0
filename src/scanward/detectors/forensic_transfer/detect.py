"""Mammo-ForensicTransfer at work: pad, score every tile in one dense pass, heat map, score-matrix classifier.

Bar-on 2020, sections 4.1 to 4.3. Three places go beyond the text, since films here are not all 2457×1996 at 12 bits:
values are divided by the image's own white level instead of 1100, a side over 4096 grows the canvas instead of being
cropped, and a score matrix larger than 61×61 is max-pooled to it for the classifier.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from scanward.detectors.base import Arrays, recalibrated, regions
from scanward.detectors.forensic_transfer.geometry import CELL, RING, STRIDE, TILE
from scanward.image import Image
from scanward.nets.engine import device, engine, named, precision
from scanward.tiles import bands, merge, origins, pad_centred, window_sums
from scanward.verdict import Evidence, untold
from scanward.weights import Trained

Plane = npt.NDArray[np.float32]
Activity = Callable[[Plane], Plane]
"""Network input (c, y, x), sides multiples of 16, to (2, y / 16, x / 16): Σ|h0| and Σ|h1| of each latent cell."""

CANVAS = 4096
MATRIX = 61
BACKGROUND = 150 / 1100
"""Tiles whose mean is at or below this share of white are background (the code's mean > 150 of 1100)."""
ROWS, HALO = 1024, 32


class ForensicTransfer(Trained):
    """The published method on raw pixels."""

    name = "forensic-transfer"
    weights_name = "forensic-transfer-raw"
    highpass = False

    def detect(self, image: Image) -> Evidence:
        """Judge one mammogram."""
        start = time.perf_counter()
        _, settings = self._weights
        canvas, offset = prepare(image.plane)
        scores = self.scores(canvas)
        threshold, heat_threshold = settings.get("threshold", 0.5), settings.get("heat_threshold", 0.5)
        if not np.isfinite(scores).any() or not np.ptp(image.plane):
            return untold(self.name, image.shape, "The image holds nothing but background or one single value.",
                          threshold=threshold, heat_threshold=heat_threshold, weights_sha256=self.weights_sha256,
                          seconds=time.perf_counter() - start)
        raw = heat_of(scores, canvas.shape, offset, image.plane.shape)
        heat = recalibrated(raw, settings.get("heat_slope", 1.0), settings.get("heat_offset", 0.0)) * (raw > 0)
        score = float(recalibrated(np.float32(self.classify(scores)), settings.get("slopes", [1.0])[0],
                                   settings.get("offset", 0.0)))
        found = regions(heat[None], heat_threshold, image, self.name) if score >= threshold else ()
        return Evidence(self.name, score, threshold, heat[None], heat_threshold, found, engine=named(),
                        weights_sha256=self.weights_sha256, seconds=time.perf_counter() - start)

    def load(self) -> None:
        """The weights and the engine, in the caller's thread."""
        self._activity  # noqa: B018

    def scores(self, canvas: Plane) -> Plane:
        """(rows, columns) tile scores of a canvas from one dense pass; NaN where a tile is background."""
        wanted = foreground(canvas)
        full = np.full(wanted.shape, np.nan, np.float32)
        if not wanted.any():
            return full
        rows, columns = np.flatnonzero(wanted.any(1)), np.flatnonzero(wanted.any(0))
        top, bottom = int(rows[0]) * STRIDE, int(rows[-1]) * STRIDE + TILE
        left, right = int(columns[0]) * STRIDE, int(columns[-1]) * STRIDE + TILE
        activity = self._dense(canvas, (top, bottom, left, right))
        inner = (TILE // CELL - 2 * RING, STRIDE // CELL)
        h0, h1 = (window_sums(plane[RING:-RING, RING:-RING], *inner) for plane in activity)
        part = h1 / np.maximum(h0 + h1, 1e-12)
        window = full[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
        window[...] = np.where(wanted[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1], part, np.nan)
        return full

    def scores_tiled(self, canvas: Plane, progress: Callable[[], object] = lambda: None) -> Plane:
        """The same scores from the plain loop, one tile at a time: the yardstick of tests and benchmarks."""
        wanted = foreground(canvas)
        full = np.full(wanted.shape, np.nan, np.float32)
        for y, x in origins(canvas.shape, TILE, STRIDE):
            if wanted[y // STRIDE, x // STRIDE]:
                tile = network_input(canvas, (y, y + TILE, x, x + TILE), self.highpass)
                h0, h1 = self._activity(tile)[:, RING:-RING, RING:-RING].sum((1, 2), dtype=np.float64)
                full[y // STRIDE, x // STRIDE] = h1 / max(h0 + h1, 1e-12)
                progress()
        return full

    def classify(self, scores: Plane) -> float:
        """The score-matrix classifier's answer in [0, 1]; background counts 0."""
        arrays, _ = self._weights
        return classify(matrix_of(scores), arrays)

    def _dense(self, canvas: Plane, window: tuple[int, int, int, int]) -> Plane:
        """Activity (2, y / 16, x / 16) of the canvas's window (top, bottom, left, right), in row bands."""
        top, bottom, left, right = window
        found = np.empty((2, (bottom - top) // CELL, (right - left) // CELL), np.float32)
        for start, stop, keep, end in bands(bottom - top, ROWS, HALO, CELL):
            piece = network_input(canvas, (top + start, top + stop, left, right), self.highpass)
            found[:, keep // CELL:end // CELL] = self._activity(piece)[:, (keep - start) // CELL:(end - start) // CELL]
        return found

    @cached_property
    def _activity(self) -> Activity:
        arrays, _ = self._weights
        return _openvino(arrays) if engine() == "openvino" else _torch(arrays)


class ForensicTransferHighpass(ForensicTransfer):
    """The same method on third-order derivatives, as ForensicTransfer feeds it (Cozzolino et al. 2018, section 3)."""

    name = "forensic-transfer-highpass"
    weights_name = "forensic-transfer-highpass"
    highpass = True


def prepare(plane: Plane) -> tuple[Plane, tuple[int, int]]:
    """Values over the image's white level on the zero-padded canvas, and the image's (y, x) offset in it."""
    return pad_centred(plane / max(float(plane.max()), 1.0), CANVAS, STRIDE)


def network_input(canvas: Plane, window: tuple[int, int, int, int], highpass: bool) -> Plane:
    """(1, y, x) values of a window (top, bottom, left, right) of the canvas, or (2, y, x) third-order derivatives.

    Derivatives, along x and along y, are taken on the canvas, not within the window, so that a tile and a band see
    the same values; beyond the canvas everything is 0.
    """
    top, bottom, left, right = window
    if not highpass:
        return np.ascontiguousarray(canvas[None, top:bottom, left:right])
    around = canvas[max(0, top - 2):bottom + 2, max(0, left - 2):right + 2]
    kernel = np.array([[1, -3, 3, -1]], np.float32) * HIGHPASS_GAIN
    inside = slice(min(top, 2), min(top, 2) + bottom - top), slice(min(left, 2), min(left, 2) + right - left)
    return np.stack([cv2.filter2D(around, -1, k, borderType=cv2.BORDER_CONSTANT)[inside] for k in (kernel, kernel.T)])


HIGHPASS_GAIN = np.float32(20)
"""Third-order derivatives of film grain are a few hundredths of white; this brings them to the scale of one."""


def foreground(canvas: Plane) -> npt.NDArray[np.bool_]:
    """(rows, columns), True where a tile of the canvas is not background."""
    cells = cv2.resize(canvas, (canvas.shape[1] // STRIDE, canvas.shape[0] // STRIDE), interpolation=cv2.INTER_AREA)
    return window_sums(np.asarray(cells, np.float32), TILE // STRIDE, 1) > BACKGROUND * (TILE // STRIDE) ** 2


def heat_of(scores: Plane, canvas: tuple[int, int], offset: tuple[int, int], shape: tuple[int, int]) -> Plane:
    """4×4 mean of the score matrix, bilinear to the canvas, cut to the image: (y, x) in [0, 1].

    A 64-pixel cell of the canvas lies in 4×4 tiles, so the 4×4 mean is the mean over the tiles that cover it.
    """
    cells = (canvas[0] // STRIDE, canvas[1] // STRIDE)
    known = ~np.isnan(scores)
    total = merge(np.where(known, scores, 0), cells, TILE // STRIDE, 1)
    share = merge(known.astype(np.float32), cells, TILE // STRIDE, 1)
    mean = np.where(share > 0, total / np.maximum(share, 1e-6), 0).astype(np.float32)
    heat = cv2.resize(mean, canvas[::-1], interpolation=cv2.INTER_LINEAR)
    y, x = offset
    return np.ascontiguousarray(np.clip(heat[y:y + shape[0], x:x + shape[1]], 0, 1))


def matrix_of(scores: Plane) -> Plane:
    """(61, 61) scores, background 0; a larger matrix is max-pooled."""
    known = np.nan_to_num(scores, nan=0.0)
    edges = [np.linspace(0, n, MATRIX + 1).astype(int)[:-1] for n in known.shape]
    if known.shape == (MATRIX, MATRIX):
        return known
    return np.maximum.reduceat(np.maximum.reduceat(known, edges[0], 0), edges[1], 1)


def classify(matrix: Plane, arrays: Arrays) -> float:
    """`MatrixClassifier` in evaluation mode on one (61, 61) matrix, in plain NumPy; [0, 1]."""
    kernels, bias = arrays["classifier.features.0.weight"], arrays["classifier.features.0.bias"]
    maps = np.stack([cv2.filter2D(matrix, -1, k[0], borderType=cv2.BORDER_CONSTANT) + b
                     for k, b in zip(kernels, bias, strict=True)])
    pooled = np.maximum(maps, 0)[:, :60, :60].reshape(len(maps), 15, 4, 15, 4).max((2, 4)).ravel()
    for layer in ("2", "4"):
        weight, offset = arrays[f"classifier.head.{layer}.weight"], arrays[f"classifier.head.{layer}.bias"]
        pooled = np.maximum(weight @ pooled + offset, 0)
    logit = arrays["classifier.head.6.weight"] @ pooled + arrays["classifier.head.6.bias"]
    return float(1 / (1 + np.exp(-logit[0])))


def _openvino(arrays: Arrays) -> Activity:
    from scanward.detectors.forensic_transfer.graph import build

    run = build(arrays, precision())
    return lambda x: run(x[None])[0][0]


def _torch(arrays: Arrays) -> Activity:
    import torch

    from scanward.detectors.forensic_transfer.network import ForensicTransferNet

    net = ForensicTransferNet(arrays["encoder.0.0.weight"].shape[1])
    net.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items() if not k.startswith("classifier.")})
    net.eval().to(device() or "cpu", memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(x: Plane) -> Plane:
        return net.activity(torch.from_numpy(x)[None].to(device() or "cpu"))[0].cpu().numpy()

    return run
