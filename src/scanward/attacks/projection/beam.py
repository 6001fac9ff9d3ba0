"""A parallel beam over a small square: line integrals, and filtered back projection with a kernel.

Both are linear, so the difference that a lesion makes is projected and reconstructed alone, about the lesion only.
Lengths are mm, spatial frequencies cycles per mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import fft, sparse

Volume = npt.NDArray[np.float64]


GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, without their whole parts, lie evenly."""


@dataclass(frozen=True)
class Kernel:
    """The apodisation of the ramp: (1 + boost·u²)·exp(-u²·ln 2) with u = f / cutoff.

    Without boost it is ½ at the cutoff; a boost raises the frequencies about it, as sharp kernels do.
    """

    cutoff: float
    boost: float = 0.0

    def __call__(self, frequency: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Of frequencies of any shape; 1 at 0."""
        u = np.square(frequency / self.cutoff)
        return np.asarray((1 + self.boost * u) * np.exp(-math.log(2) * u), np.float64)


PLAIN = Kernel(math.inf)
"""The ramp itself."""


@dataclass(frozen=True)
class Beam:
    """Over a square of `side` × `side` points, `step` mm apart."""

    side: int
    step: float

    @property
    def pitch(self) -> float:
        """Of the detector's cells. Half a step, so that what spreading over two cells blurs is small, and undone."""
        return self.step / 2

    @property
    def cells(self) -> int:
        """Of the detector: it sees the whole square from everywhere."""
        return math.ceil(self.side * math.sqrt(2) * self.step / self.pitch) + 4

    @cached_property
    def angles(self) -> npt.NDArray[np.float64]:
        """Radians, over a half turn: as many as the square's corners need."""
        count = max(48, math.ceil(math.pi / 2 * math.sqrt(2) * self.side))
        return np.asarray(np.arange(count) * (math.pi / count), np.float64)

    @cached_property
    def _spread(self) -> sparse.csr_matrix:
        """(angles · cells, points): each point's share in the two cells that it falls between."""
        axis = (np.arange(self.side) - (self.side - 1) / 2) * self.step
        y, x = (part.ravel() for part in np.meshgrid(axis, axis, indexing="ij"))
        at = (np.outer(np.cos(self.angles), x) + np.outer(np.sin(self.angles), y)) / self.pitch + (self.cells - 1) / 2
        # each angle's detector lies elsewhere by a part of a cell: the middle must not fall on cells' middles only
        at += (np.arange(len(self.angles)) * GOLDEN % 1)[:, None] - 0.5
        low = np.floor(at).astype(np.int32)
        share = (at - low).astype(np.float32)
        rows = low + (np.arange(len(self.angles), dtype=np.int32) * self.cells)[:, None]
        columns = np.broadcast_to(np.arange(self.side**2, dtype=np.int32), low.shape)
        return sparse.csr_matrix((np.concatenate([1 - share, share]).ravel(),
                                  (np.concatenate([rows, rows + 1]).ravel(), np.tile(columns, (2, 1)).ravel())),
                                 shape=(len(self.angles) * self.cells, self.side**2))

    def project(self, planes: Volume) -> Volume:
        """Line integrals (angles, cells, slices) of planes (slices, y, x), in their unit times mm."""
        sums = self._spread @ planes.reshape(len(planes), -1).T
        return np.asarray(sums * (self.step**2 / self.pitch), np.float64).reshape(len(self.angles), self.cells, -1)

    def reconstruct(self, integrals: Volume, kernel: Kernel) -> Volume:
        """Planes (slices, y, x) from line integrals (angles, cells, slices): the inverse of `project`, blurred by the
        kernel."""
        filtered = self._filtered(integrals, kernel).reshape(len(self.angles) * self.cells, -1)
        planes = self._spread.T @ filtered * (math.pi / len(self.angles))
        return np.asarray(planes.T, np.float64).reshape(-1, self.side, self.side)

    def gain(self, kernel: Kernel, variance: npt.NDArray[np.float64]) -> float:
        """The variance of the square's middle, reconstructed from independent noise of such a variance (angles,)."""
        middle = np.zeros((1, self.side, self.side))
        middle[0, self.side // 2, self.side // 2] = 1
        seen = (self._spread @ middle.ravel()).reshape(len(self.angles), self.cells, 1)
        weights = self._filtered(seen, kernel)[..., 0] * (math.pi / len(self.angles))  # the filter is symmetric
        return float((np.square(weights).sum(1) * variance).sum())

    def _filtered(self, integrals: Volume, kernel: Kernel) -> Volume:
        length = fft.next_fast_len(2 * self.cells, real=True)
        tap = np.rint(fft.fftfreq(length) * length)
        # the ramp by its taps (Kak and Slaney 1988, eq. 3.61): sampled in frequency it would lose the mean
        odd = tap % 2 == 1
        ramp = np.where(odd, -1 / (math.pi * np.where(odd, tap, 1) * self.pitch) ** 2, 0.0)
        ramp[0] = 1 / (4 * self.pitch**2)
        frequency = fft.rfftfreq(length, self.pitch)
        # beyond what the points can show there is nothing; the blur of spreading, there and back, is undone
        response = fft.rfft(ramp).real * kernel(frequency) / np.sinc(frequency * self.pitch) ** 4 * self.pitch
        response[frequency > 0.5 / self.step] = 0
        made = fft.irfft(fft.rfft(integrals, length, axis=1) * response[None, :, None], length, axis=1)
        return np.asarray(made[:, :self.cells], np.float64)
