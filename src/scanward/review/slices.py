"""The slices of a CT for the viewer, and where they lie among a study's pictures."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Depends, HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scanward.errors import UnreadableError
from scanward.inbox.record import ID
from scanward.report.slices import Layout, layout
from scanward.review.door import signed_in
from scanward.web.volumes import slice_answer

FILE = "volume.nii.gz"

router = APIRouter(dependencies=[Depends(signed_in)])


@router.get("/pictures/{key}/{image}/volume/{z}", response_class=Response,
            responses={200: {"content": {"application/octet-stream": {}}}})
def one_slice(request: Request, key: str, image: str, z: int) -> Response:
    """Slice z, from 0, of a CT: int16 little-endian HU, rows from the first; `X-Shape` is rows and columns."""
    study = request.app.state.inbox.study(key)
    if study is None or not ID.fullmatch(image) or z < 0:
        raise HTTPException(404)
    try:
        answer = slice_answer(request, file_in(study.folder / "pictures" / image, FILE), z)
    except OSError:
        answer = None
    if answer is None:
        raise HTTPException(404)
    return answer


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
