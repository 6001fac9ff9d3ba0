"""What is odd about a finding, in words."""

from __future__ import annotations

import numpy as np

from scanward.detectors.ct_self_reference.reference import BLOCK, Reference, residuals, stack
from scanward.detectors.self_reference.local import EXPECTED
from scanward.detectors.self_reference.reference import CLIP
from scanward.image import Image
from scanward.verdict import Finding

CALM, LOUD = 0.85, 1.2
"""Noise below and above which it differs from what was expected."""


def described(image: Image, reference: Reference, finding: Finding) -> str:
    """How the noise of a finding's middle slice compares with what this scan has at such places, in a sentence."""
    z0, y0, x0, z1, y1, x1 = finding.box
    z = (z0 + z1 - 1) // 2
    top, left = (max(0, first - BLOCK) // BLOCK * BLOCK for first in (y0, x0))
    high, wide = ((last + BLOCK - first) // 2 * 2 for first, last in ((top, y1), (left, x1)))
    part = image.pixels[:, top:top + high, left:left + wide]
    planes = reference.stabilise(stack(part, z)[:, :part.shape[1] // 2 * 2, :part.shape[2] // 2 * 2])
    gains = reference.gains_at(image.pixels[z], z)[0, y0 // BLOCK:y1 // BLOCK + 1, x0 // BLOCK:x1 // BLOCK + 1]
    own = np.minimum(np.abs(residuals(planes)[0][0]) * float(np.median(gains)), CLIP)
    ratio = float(own[y0 - top:y1 - top, x0 - left:x1 - left].mean()) / EXPECTED
    what = "less noise" if ratio < CALM else "more noise" if ratio > LOUD else "noise of another kind"
    return (f"About (x, y, z) = ({(x0 + x1) // 2}, {(y0 + y1) // 2}, {z}) there is {what} than at like places of this "
            f"scan, {ratio:.1f} times as much.")
