"""`Box`: a part of an image, in whole voxels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

Number = TypeVar("Number", int, float)
Millimetres = tuple[float, float, float, float, float, float]
"""A box in millimetres from the image's corner, in the order of `Box`."""


class Box(NamedTuple):
    """(z0, y0, x0, z1, y1, x1) in voxels; the upper ends are exclusive. On a mammogram z runs from 0 to 1."""

    z0: int
    y0: int
    x0: int
    z1: int
    y1: int
    x1: int

    @classmethod
    def of(cls, slices: Sequence[slice]) -> Box:
        """From three slices (z, y, x) with both ends."""
        z, y, x = slices
        return cls(int(z.start), int(y.start), int(x.start), int(z.stop), int(y.stop), int(x.stop))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """(z, y, x), to index an image with."""
        return slice(self.z0, self.z1), slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def size(self) -> tuple[int, int, int]:
        """(z, y, x) in voxels."""
        return self.z1 - self.z0, self.y1 - self.y0, self.x1 - self.x0

    @property
    def centre(self) -> tuple[float, float, float]:
        """(z, y, x), where (0, 0, 0) is the corner of the first voxel."""
        return (self.z0 + self.z1) / 2, (self.y0 + self.y1) / 2, (self.x0 + self.x1) / 2

    def in_mm(self, spacing: tuple[float, float, float] | None) -> Millimetres | None:
        """Times the spacing (z, y, x); None where it is unknown."""
        if spacing is None:
            return None
        z, y, x = spacing
        return (float(self.z0 * z), float(self.y0 * y), float(self.x0 * x),
                float(self.z1 * z), float(self.y1 * y), float(self.x1 * x))


def largest_first(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """By their voxels."""
    return tuple(sorted(boxes, key=lambda box: -box.size[0] * box.size[1] * box.size[2]))


def places(boxes: Iterable[Box], reason: str) -> list[dict[str, Any]]:
    """Boxes of a volume for JSON, in the order x, y, z."""
    return [{"corner": list(box[:3])[::-1], "centre": [round(c, 1) for c in box.centre[::-1]],
             "box": flat(box, planar=False), "reason": reason} for box in boxes]


def told(z: int, y: int, x: int) -> str:
    """A voxel of a volume, from 0, for a reader: slices he counts from 1, as viewers do."""
    return f"x {x}, y {y} in slice {z + 1}"


def slices_of(box: Box) -> str:
    """`slice 20` or `slices 20 to 24` of a volume: counted as `told` does."""
    return f"slice {box.z1}" if box.z1 == box.z0 + 1 else f"slices {box.z0 + 1} to {box.z1}"


def flat(box: Sequence[Number], planar: bool) -> list[Number]:
    """A box as files hold it: [x0, y0, x1, y1] of a `planar` image, [x0, y0, z0, x1, y1, z1] of a volume."""
    z0, y0, x0, z1, y1, x1 = box
    return [x0, y0, x1, y1] if planar else [x0, y0, z0, x1, y1, z1]
