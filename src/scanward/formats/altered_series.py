"""An altered CT series: a new series of the host's slices, in which only the changed voxels differ."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import FileMetaDataset

from scanward.disk import whole_file
from scanward.errors import UnreadableError
from scanward.formats.altered_dicom import describe, put, set_pixels, swap_words
from scanward.formats.dicom import layout_of, opened, rescale_of
from scanward.formats.frames import GROUPS, frames_of
from scanward.formats.guard import clean, decoding, shown
from scanward.formats.pixels import Layout, read_frames
from scanward.formats.reference import derived_uid
from scanward.formats.series import stack

Volume = npt.NDArray[np.float32]


def write_series(paths: Sequence[Path], before: Volume, after: Volume, folder: Path, description: str,
                 synthetic: bool, host_series: str | None) -> None:
    """Write every file of `paths`, a slice or an enhanced CT, into `folder` under its own name.

    `before` and `after` are (z, y, x) HU. A voxel that they agree on keeps its stored value, a file without any other
    its compressed pixels as they are. All files get one new Series Instance UID and SOP Instance UIDs of their own,
    and are marked as derived, since a viewer shows the series as one. Raises `UnreadableError` where a host has changed
    since it was read.
    """
    changed = before != after
    series = str(derived_uid(host_series, hashlib.sha256(after[changed].tobytes()).hexdigest(), synthetic))
    places: dict[Path, dict[int, int]] = {}
    for z, one in enumerate(stack(paths, "CT")):
        places.setdefault(one.path, {})[one.frame] = z
    if sum(map(len, places.values())) != len(before):
        raise UnreadableError(f"{shown(paths[0].parent)} has changed since it was read; read it again.")
    for source, name in _names(paths):
        own = [places[source][frame] for frame in range(len(places[source]))]
        with decoding(source):
            data = _altered_file(source, after[own], changed[own], description, synthetic, series)
        with whole_file(folder / name, replace=False) as file:
            file.write(data)


def _names(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Every file with its own name, or numbered where files of several folders share one."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [f"{number:06d}.dcm" for number in range(len(paths))]
    return list(zip(paths, names, strict=True))


def _altered_file(host: Path, after: Volume, where: npt.NDArray[np.bool_], description: str, synthetic: bool,
                  series: str) -> bytes:
    """The bytes of one file of the new series; `after` and `where` are (frames, rows, columns)."""
    with opened(host, GROUPS) as (header, stream):
        layout = layout_of(header)
        if (layout.frames, layout.rows, layout.columns) != after.shape:
            raise UnreadableError(f"{shown(host)} has changed since it was read; read it again.")
        rewritten = bool(where.any()) or not header.little
        frames = list(read_frames(stream, layout)) if rewritten else []
        headers = frames_of(header)
    data = pydicom.dcmread(host, force=True, stop_before_pixels=rewritten)
    if not header.little:
        swap_words(data)
    uid = derived_uid(clean(data.get("SOPInstanceUID", "")) or None, series, synthetic)
    describe(data, uid, description, synthetic)
    put(data, "SeriesInstanceUID", series)
    if rewritten:
        values = np.stack([stored for stored, _ in frames]).astype(np.int64)
        layout = max((deep for _, deep in frames), key=lambda deep: deep.stored)
        for one, hu, inside, own in zip(values, after, where, headers, strict=True):
            one[inside] = _stored(hu[inside], *rescale_of(own), layout)
        set_pixels(data, values, layout)
    else:
        meta = getattr(data, "file_meta", None) or FileMetaDataset()
        meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = uid, header.syntax
        data.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True,
                     **({"implicit_vr": False, "little_endian": True} if rewritten else {}))
    return buffer.getvalue()


def _stored(hu: npt.NDArray[np.float32], slope: float, intercept: float, layout: Layout) -> npt.NDArray[np.int64]:
    """HU as the slice stores them, within what its bits hold."""
    return np.clip(np.rint((hu.astype(np.float64) - intercept) / slope), *layout.ends).astype(np.int64)
