"""The slices of a CT for the viewer, one a request: HU, not grey levels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fastapi import APIRouter, Depends, HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from scanward.errors import UnreadableError
from scanward.inbox.record import ID
from scanward.report.slices import Layout, layout, packed_slice, unpacked
from scanward.review.door import signed_in

FILE = "volume.nii.gz"
PLANES = (("Axial", 0, 1), ("Coronal", 0, 2), ("Sagittal", 1, 2))
"""Name, and the patient's axes that go across and down: right to left, front to back, head to feet."""
EDGES = (("R", "L"), ("A", "P"), ("H", "F"))
"""Of each of these axes the letters at its start and its end on the screen."""


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


router = APIRouter(dependencies=[Depends(signed_in)])


@router.get("/pictures/{key}/{image}/volume/{z}", response_class=Response,
            responses={200: {"content": {"application/octet-stream": {}}}})
def one_slice(request: Request, key: str, image: str, z: int) -> Response:
    """Slice z, from 0, of a CT: int16 little-endian HU, rows from the first; `X-Shape` is rows and columns."""
    study = request.app.state.inbox.study(key)
    if study is None or not ID.fullmatch(image) or z < 0:
        raise HTTPException(404)
    gzip = "gzip" in request.headers.get("accept-encoding", "")
    try:
        path = file_in(study.folder / "pictures" / image, FILE)
        _, rows, columns = layout(path).shape
        length, parts = packed_slice(path, z)
    except (OSError, IndexError, UnreadableError):
        raise HTTPException(404) from None
    headers = {"X-Shape": f"{rows},{columns}", "Vary": "Accept-Encoding"}
    if gzip:
        headers["Content-Encoding"] = "gzip"
    else:
        length, parts = 2 * rows * columns, unpacked(parts, path)
    # Of a slice that turns out to be damaged less comes than is said here, so that nobody takes it for whole.
    headers["Content-Length"] = str(length)
    return StreamingResponse(parts, media_type="application/octet-stream", headers=headers)


def file_in(folder: Path, name: str) -> Path:
    """A file among an image's pictures; `FileNotFoundError` where there is none, or what has no end, as a pipe."""
    path = folder / name
    # Names cannot lead out of the folder; a link that somebody put there could.
    if not path.is_file() or not path.resolve().is_relative_to(folder.parent.resolve()):
        raise FileNotFoundError(name)
    return path


def layout_in(folder: Path) -> Layout | None:
    """Of the volume among an image's pictures; None where there is none, or one that an earlier version packed."""
    try:
        return layout(file_in(folder, FILE))
    except (OSError, IndexError, UnreadableError):
        return None


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


def _axes(affine: np.ndarray) -> tuple[list[int], list[int]]:
    """Of each of the patient's axes (right, anterior, superior) the voxels' axis that goes along it most, and 1 where
    they count in its direction, otherwise -1."""
    import nibabel

    found = nibabel.io_orientation(affine)
    if not np.isfinite(found).all():
        return [0, 1, 2], [-1, -1, 1]
    axes = [int(np.flatnonzero(found[:, 0] == axis)[0]) for axis in range(3)]
    return axes, [int(found[axis, 1]) for axis in axes]
