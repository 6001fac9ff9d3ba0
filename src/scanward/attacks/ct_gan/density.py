"""A nodule's mean HU in the units of a generator's condition: -1 for -800 HU and 1 for 200."""

from __future__ import annotations

MIDDLE, HALF = -300.0, 500.0
CALCIFIED = 60.0
"""Mean HU above which a real nodule holds calcium; such a one is made only where it is asked for."""
VISIBLE = 40.0
"""HU by which a voxel must have changed to count as truth: less is noise."""


def density_of(hu: float) -> float:
    """HU in those units."""
    return (float(hu) - MIDDLE) / HALF
