"""From nearest descriptors to transforms: matches whose neighbours moved the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from scanward.detectors.copy_move.keypoints import Keypoints, Plane, describe, vectors

APART = 24.0
"""A copy nearer to its source than this is not looked for, pixels of the working grid: grain resembles itself there."""
NEAR = 30.0
TURN = 0.4
SCALES = (0.72, 1.4)
SCALE_STEP = 1.15


@dataclass(frozen=True)
class Transform:
    """q = a p + b, or a conj(p) + b when mirrored; positions are x + iy."""

    a: complex
    b: complex
    mirrored: bool

    def matrix(self) -> npt.NDArray[np.float64]:
        """(2, 3) for `cv2.warpAffine`, source to destination."""
        u, v, s = self.a.real, self.a.imag, -1.0 if self.mirrored else 1.0
        return np.array([[u, -v * s, self.b.real], [v, u * s, self.b.imag]])


@dataclass(frozen=True)
class Hypothesis:
    """A transform worth verifying, with the places it was seen at."""

    transform: Transform
    source: complex
    destination: complex
    support: int
    similarity: float


@dataclass(frozen=True)
class Matches:
    """N ordered pairs of keypoint positions; `turn` is the rotation that the two directions imply."""

    source: npt.NDArray[np.complex64]
    destination: npt.NDArray[np.complex64]
    turn: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    similarity: npt.NDArray[np.float32]


def hypotheses(grain: Plane, keypoints: Keypoints, most: int = 40) -> list[Hypothesis]:
    """The best-supported similarity transforms between parts of one grain plane, strongest first."""
    if len(keypoints.at) < 8:
        return []
    close = _close_pairs(keypoints.at)
    table = vectors(keypoints)
    wide = describe(grain, keypoints.at, SCALE_STEP)
    found: list[Hypothesis] = []
    for mirrored in (False, True):
        sets = [_nearest(keypoints, vectors(query, mirrored), query.angle, table, close, mirrored, scale)
                for query, scale in ((keypoints, 1.0), (wide, 1 / SCALE_STEP))]
        joined = Matches(*(np.concatenate([getattr(m, f) for m in sets]) for f in Matches.__dataclass_fields__))
        found += _agreeing(joined, mirrored)
    found.sort(key=lambda h: (-h.support, -h.similarity))
    return found[:most]


def _close_pairs(at: npt.NDArray[np.complex64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Both orders of every pair nearer than `APART`, and each with itself, sorted by the first."""
    pairs = cKDTree(np.c_[at.real, at.imag]).query_pairs(APART, output_type="ndarray")
    own = np.arange(len(at))
    first = np.concatenate([pairs[:, 0], pairs[:, 1], own])
    second = np.concatenate([pairs[:, 1], pairs[:, 0], own])
    order = np.argsort(first, kind="stable")
    return first[order], second[order]


def _nearest(keypoints: Keypoints, queries: Plane, query_angle: Plane, table: Plane,
             close: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], mirrored: bool, scale: float,
             block: int = 512) -> Matches:
    n = len(table)
    best, value = np.empty(n, np.intp), np.empty(n, np.float32)
    for start in range(0, n, block):
        stop = min(start + block, n)
        products = queries[start:stop] @ table.T
        low, high = np.searchsorted(close[0], (start, stop))
        products[close[0][low:high] - start, close[1][low:high]] = -1.0
        best[start:stop] = products.argmax(axis=1)
        value[start:stop] = products[np.arange(stop - start), best[start:stop]]
    keep = value >= np.partition(value, n // 2)[n // 2]
    turn = keypoints.angle[best] + (query_angle if mirrored else -query_angle)
    at = keypoints.at
    return Matches(at[keep], at[best[keep]], turn[keep], np.full(int(keep.sum()), scale, np.float32), value[keep])


def _agreeing(matches: Matches, mirrored: bool) -> list[Hypothesis]:
    """Groups of matches that one similarity transform explains, and the most similar single matches."""
    n = len(matches.source)
    pairs = cKDTree(np.c_[matches.source.real, matches.source.imag]).query_pairs(NEAR, output_type="ndarray")
    i, j = pairs[:, 0], pairs[:, 1]
    moved_from = matches.source[j] - matches.source[i]
    moved_to = matches.destination[j] - matches.destination[i]
    if mirrored:
        moved_from = moved_from.conj()
    length = np.abs(moved_from)
    ratio = np.abs(moved_to) / np.maximum(length, 1e-6)
    turn = np.angle(moved_to * moved_from.conj())
    agree = (length > 4) & (ratio > SCALES[0]) & (ratio < SCALES[1])
    for end in (i, j):
        agree &= np.abs(np.angle(np.exp(1j * (turn - matches.turn[end])))) < TURN
    i, j = i[agree], j[agree]
    _, group = connected_components(coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)
    members = np.bincount(group)
    out = [_fit(matches, np.nonzero(group == g)[0], mirrored) for g in np.nonzero(members >= 2)[0]]
    for k in np.argsort(-matches.similarity)[:6]:
        out.append(_alone(matches, int(k), mirrored))
    return out


def _alone(matches: Matches, k: int, mirrored: bool) -> Hypothesis:
    a = complex(matches.scale[k] * np.exp(1j * matches.turn[k]))
    p, q = complex(matches.source[k]), complex(matches.destination[k])
    b = q - a * (p.conjugate() if mirrored else p)
    return Hypothesis(Transform(a, b, mirrored), p, q, 1, float(matches.similarity[k]))


def _fit(matches: Matches, members: npt.NDArray[np.intp], mirrored: bool) -> Hypothesis:
    """Least squares over a group, reweighted four times so that a chance member does not pull."""
    p, q = matches.source[members].astype(complex), matches.destination[members].astype(complex)
    z = p.conj() if mirrored else p
    weight = matches.similarity[members].astype(float)
    for _ in range(5):
        share = weight / weight.sum()
        zm, qm = (share * z).sum(), (share * q).sum()
        spread = (share * np.abs(z - zm) ** 2).sum()
        a = (share * (q - qm) * (z - zm).conj()).sum() / max(spread, 1e-6)
        miss = np.abs(q - a * z - (qm - a * zm))
        weight = matches.similarity[members] / (1 + (miss / 2.0) ** 2)
    heart = int(np.argmax(weight))
    support = len(np.unique(p[miss < 4]))
    return Hypothesis(Transform(complex(a), complex(qm - a * zm), mirrored), complex(p[heart]), complex(q[heart]),
                      support, float(matches.similarity[members].mean()))
