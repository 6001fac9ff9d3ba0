"""A CT in three planes: how they lie on the screen, and its slices, one a request: HU, not grey levels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scanward.errors import UnreadableError
from scanward.report.slices import Layout, layout, packed_slice, unpacked

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PLANES = (("Axial", 0, 1), ("Coronal", 0, 2), ("Sagittal", 1, 2))
"""Name, and the patient's axes that go across and down: right to left, front to back, head to feet."""
EDGES = (("R", "L"), ("A", "P"), ("H", "F"))
"""Of each of these axes the letters at its start and its end on the screen."""
WINDOWS = (("Lung", -1350, 150), ("Mediastinum", -160, 240), ("Bone", -450, 1050))
"""Name, and the HU that are black and white."""


@dataclass(frozen=True)
class Plane:
    """How one of the three planes lies on the screen; axes are 0, 1, 2 for x, y, z of the voxels."""

    name: str
    across: int
    down: int
    through: int
    turned: tuple[bool, bool]
    """Whether voxels count from right to left, and from bottom to top."""
    edges: tuple[str, ...]
    """Letters of the patient's sides: left, right, top and bottom edge; none where they are unknown."""


def planes_of(found: Layout) -> tuple[Plane, ...]:
    """The planes as radiologists hang them: the patient's right on the left, front and head up."""
    axes, signs = _axes(found.affine)
    made = []
    for name, across, down in PLANES:
        through = ({0, 1, 2} - {across, down}).pop()
        edges = (*EDGES[across], *EDGES[down]) if found.known else ()
        turned = signs[across] > 0, signs[down] > 0
        made.append(Plane(name, axes[across], axes[down], axes[through], turned, edges))
    return tuple(made)


def slice_answer(request: Request, path: Path, z: int) -> Response | None:
    """Slice z, from 0, of a packed volume: int16 little-endian HU, rows from the first; `X-Shape` is rows and columns.
    None where there is no such slice."""
    from starlette.responses import StreamingResponse

    gzip = "gzip" in request.headers.get("accept-encoding", "")
    try:
        _, rows, columns = layout(path).shape
        length, parts = packed_slice(path, z)
    except (OSError, IndexError, UnreadableError):
        return None
    headers = {"X-Shape": f"{rows},{columns}", "Vary": "Accept-Encoding"}
    if gzip:
        headers["Content-Encoding"] = "gzip"
    else:
        length, parts = 2 * rows * columns, unpacked(parts, path)
    # Of a slice that turns out to be damaged less comes than is said here, so that nobody takes it for whole.
    headers["Content-Length"] = str(length)
    return StreamingResponse(parts, media_type="application/octet-stream", headers=headers)


def _axes(affine: np.ndarray) -> tuple[list[int], list[int]]:
    """Of each of the patient's axes (right, anterior, superior) the voxels' axis that goes along it most, and 1 where
    they count in its direction, otherwise -1."""
    import nibabel

    found = nibabel.io_orientation(affine)
    if not np.isfinite(found).all():
        return [0, 1, 2], [-1, -1, 1]
    axes = [int(np.flatnonzero(found[:, 0] == axis)[0]) for axis in range(3)]
    return axes, [int(found[axis, 1]) for axis in axes]
