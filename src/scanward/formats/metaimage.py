"""MetaImage: its header and its voxels, as MetaIO reads them, which ITK uses.

What a header says that would give the voxels another meaning is understood or refused; all else is ignored.
"""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from scanward.errors import UnreadableError, UnsupportedError
from scanward.formats.guard import (
    FREELY,
    INFLATION,
    NUMBER,
    check_packed,
    check_size,
    clean,
    cut_short,
    left_in,
    open_file,
    shown,
)

_LONGEST_HEADER = 2**20
_PLAIN, _TEXT = re.compile(rb"[\t -~]*(\r?\n)?"), re.compile(rb"[\t -~]*([=:][\t -~\x80-\xff]*)?(\r?\n)?")
_FREE = ("Comment", "Name")
"""Keys whose values are texts."""
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
"""MET_LONG has 32 bits on every machine (MetaIO's metaTypes.h)."""
_COUNTS = {
    **dict.fromkeys(("NDims", "ID", "ParentID", "CompressedDataSize", "HeaderSize", "ElementNumberOfChannels",
                     "ElementMin", "ElementMax", "ElementNBits", "ElementToIntensityFunctionSlope",
                     "ElementToIntensityFunctionOffset"), 1),
    **dict.fromkeys(("Offset", "Position", "Origin", "CenterOfRotation", "DimSize", "ElementSpacing", "ElementSize",
                     "ImagePosition", "SequenceID"), 3),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), 9), "Color": 4,
}  # fmt: skip
"""Numbers that MetaIO reads for each key, past the end of its line where there are fewer."""
_OTHERS = ("ObjectType", "ObjectSubType", "Comment", "Name", "AcquisitionDate", "CompressedData", "BinaryData",
           "ElementByteOrderMSB", "BinaryDataByteOrderMSB", "DistanceUnits", "AnatomicalOrientation", "Modality",
           "ElementType", "ElementDataFile")
_SPELLED = {key.lower(): key for key in (*_COUNTS, *_OTHERS)}
"""Every key that MetaIO knows. What else stands in a header, as SimpleITK writes there what it read elsewhere, are
texts to it, of a line each."""


@dataclass(frozen=True)
class MetaLayout:
    """A MetaImage in memory."""

    header: str
    """Its lines, up to and with ElementDataFile."""
    data: bytes
    """The voxels, inflated."""
    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    """(z, y, x) of the file's own axes."""
    axes: npt.NDArray[np.float64]
    """(3, 4), as `volume.upright` takes them, and where the first voxel lies."""
    local: bool
    """The voxels follow the header in one file."""
    compressed: bool
    modality: str
    """What it says of itself, `MET_MOD_CT` say; empty where it is silent."""


def meta_layout(path: Path, freely: int = FREELY) -> MetaLayout:
    """All of a MetaImage file. Raises as `read`, and as `check_packed` with `freely`."""
    with open_file(path) as file:
        fields = _meta_fields(file, path)
        _check_meta(fields, path)
        shape = _meta_shape(fields, path)
        channels, kind = _whole(fields, "ElementNumberOfChannels", 1, path), fields.get("ElementType", "nothing")
        if kind not in _TYPES or channels != 1:
            raise UnsupportedError(f"{shown(path)} stores {channels} x {clean(kind, 40)} a voxel; Scanward reads one "
                                   "number a voxel.")
        order = ">" if _flag(fields, path, False, "BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<"
        dtype = np.dtype(f"{order}{_TYPES[kind]}")
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
        local = file.tell()
        data = _meta_data(file, fields, path, needed, freely)
        file.seek(0)
        header = file.read(local).decode("latin-1")
    return MetaLayout(header, data, dtype, shape, _meta_axes(fields, path), fields["ElementDataFile"] == "LOCAL",
                      _flag(fields, path, False, "CompressedData"), fields.get("Modality", ""))


def _meta_fields(file: BinaryIO, path: Path) -> dict[str, str]:
    """`Key = Value` lines up to ElementDataFile, which is the last; the file then stands at local data."""
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields:
        line = file.readline(_LONGEST_HEADER + 1)
        if not line or file.tell() > _LONGEST_HEADER:
            raise UnreadableError(f"{shown(path)} has a MetaImage header without ElementDataFile; save it again.")
        # MetaIO takes a colon for the equals sign, too.
        parts = [part.strip(" \t\r\n") for part in re.split("[=:]", line.decode("latin-1"), maxsplit=1)]
        # Python and MetaIO each take other bytes for blanks, which counts where they look for numbers and names.
        if not (_PLAIN if parts[0] in _SPELLED.values() and parts[0] not in _FREE else _TEXT).fullmatch(line):
            raise UnreadableError(f"{shown(path)} has a line in its header that is no plain text; write it in ASCII.")
        if parts == [""]:
            continue
        if len(parts) == 1:
            raise UnreadableError(f"{shown(path)} has {clean(parts[0], 40)!r} in its header, which gives nothing a "
                                  "value; write Key = Value.")
        name, value = parts
        if not value or value[0] in "=:":  # MetaIO looks for it behind these, on the next line, too
            raise UnreadableError(f"{shown(path)} gives its {clean(name, 40)} no value; write one, or delete the line.")
        if _SPELLED.get(name.lower(), name) != name:
            raise UnreadableError(f"{shown(path)} has a key {clean(name, 40)}, which not all programs know; write "
                                  f"{_SPELLED[name.lower()]}.")
        if fields.setdefault(name, value) != value and name != "Comment":
            raise UnreadableError(f"{shown(path)} has two values for its {clean(name, 40)}; delete the wrong one.")
    if fields["ElementDataFile"] in ("Local", "local"):  # as MetaIO spells it, which takes LoCaL for a file
        fields["ElementDataFile"] = "LOCAL"
    return fields


def _check_meta(fields: dict[str, str], path: Path) -> None:
    """Refuses what would give the voxels another meaning."""
    if fields.get("NDims") != "3":
        raise UnsupportedError(f"{shown(path)} has {clean(fields.get('NDims', 'no'), 20)} axes; Scanward reads volumes "
                               "of 3.")
    for key in _COUNTS.keys() & fields.keys():
        _numbers(fields, key, _COUNTS[key], path)
    if fields.get("ObjectType", "Image").lower() != "image":
        raise UnsupportedError(f"{shown(path)} holds a {clean(fields['ObjectType'], 40)} and no image; name an image.")
    if not _flag(fields, path, True, "BinaryData"):
        raise UnsupportedError(f"{shown(path)} stores its voxels as text (BinaryData = False); save it as binary.")
    if fields.get("DistanceUnits", "mm") not in ("mm", "?"):
        raise UnsupportedError(f"{shown(path)} gives its lengths in {clean(fields['DistanceUnits'], 40)}; give them in "
                               "mm, and DistanceUnits = mm.")
    for key, nothing in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if key in fields and _numbers(fields, key, 1, path) != [nothing]:
            raise UnsupportedError(f"{shown(path)} is to be scaled ({key}), which not every program does; save it in "
                                   "HU without it.")


def _said(fields: dict[str, str], path: Path, *keys: str) -> str | None:
    """Under which of these names of one thing the header gives it."""
    there = [key for key in keys if key in fields]
    if len({" ".join(fields[key].lower().split()) for key in there}) > 1:
        raise UnreadableError(f"{shown(path)} gives {' and '.join(there)}, which differ and mean the same; delete the "
                              "wrong one.")
    return there[0] if there else None


def _flag(fields: dict[str, str], path: Path, unsaid: bool, *keys: str) -> bool:
    key = _said(fields, path, *keys)
    if key is None:
        return unsaid
    if fields[key][:1] not in tuple("TtFf10"):
        raise UnreadableError(f"{shown(path)} has {clean(fields[key], 40)!r} for its {key}; write True or False.")
    return fields[key][0] in "Tt1"


def _numbers(fields: dict[str, str], key: str, count: int, path: Path) -> list[float]:
    words = fields.get(key, "").split()
    numbers = [float(w) if NUMBER.fullmatch(w) else np.nan for w in words]
    if not np.isfinite(numbers).all():
        raise UnreadableError(f"{shown(path)} has {clean(fields[key], 60)!r} for its {key}; write numbers with decimal "
                              "points, and spaces between them.")
    if len(numbers) != count:
        raise UnreadableError(f"{shown(path)} has {len(words)} numbers in its {key} instead of {count}; save it again.")
    return numbers


def _whole(fields: dict[str, str], key: str, unsaid: int, path: Path) -> int:
    text = fields.get(key, str(unsaid))
    if not NUMBER.fullmatch(text) or not text.lstrip("+-").isdigit():
        raise UnreadableError(f"{shown(path)} has {clean(text, 40)!r} for its {key}; write a whole number.")
    return int(text)


def _meta_shape(fields: dict[str, str], path: Path) -> tuple[int, int, int]:
    sides = _numbers(fields, "DimSize", 3, path)
    x, y, z = (int(n) for n in sides)
    if [x, y, z] != sides:
        raise UnreadableError(f"{shown(path)} has {clean(fields['DimSize'], 60)!r} for its DimSize; write whole "
                              "numbers.")
    check_size(path, *sorted((z, y, x), reverse=True))
    return z, y, x


def _meta_axes(fields: dict[str, str], path: Path) -> npt.NDArray[np.float64]:
    size = next((k for k in ("ElementSpacing", "ElementSize") if k in fields), None)
    steps = _numbers(fields, size, 3, path) if size else [1.0, 1.0, 1.0]
    key = _said(fields, path, "TransformMatrix", "Rotation", "Orientation")
    # The file lists one direction after the other: its rows are our columns.
    directions = np.array(_numbers(fields, key, 9, path)).reshape(3, 3).T if key else np.eye(3)
    lengths = np.linalg.norm(directions, axis=0)
    if np.abs(lengths - 1).max() > 1e-3:
        raise UnreadableError(f"{shown(path)} has a {key} whose directions are not of length 1; correct it, and keep "
                              "sizes in ElementSpacing.")
    place = _said(fields, path, "Offset", "Position", "Origin", "ImagePosition")
    origin = _numbers(fields, place, 3, path) if place else [0.0, 0.0, 0.0]
    return np.column_stack([directions / lengths * np.array(steps), origin])


def _meta_data(file: BinaryIO, fields: dict[str, str], path: Path, needed: int, freely: int) -> bytes:
    """The voxels' bytes, from the file itself or from its neighbour."""
    name = fields["ElementDataFile"]
    if name == "LOCAL":
        return _meta_bytes(file, fields, path, needed, freely)
    # A header may name any path, a list of files or a pattern: only a plain neighbour is opened.
    if Path(name).name != name or "LIST" in name or "%" in name or "\\" in name:
        raise UnsupportedError(f"{shown(path)} keeps its voxels in {clean(name, 60)!r}; Scanward reads them from the "
                               "header's own file or from one file beside it.")
    neighbour = path.parent / name
    if not neighbour.exists():
        raise UnreadableError(f"{shown(path)} keeps its voxels in {clean(name, 60)}, which is missing; copy it too.")
    if file.read(_LONGEST_HEADER).strip():
        raise UnreadableError(f"{shown(path)} goes on behind ElementDataFile, its last line; delete what follows.")
    with open_file(neighbour) as data:
        return _meta_bytes(data, fields, neighbour, needed, freely)


def _meta_bytes(file: BinaryIO, fields: dict[str, str], path: Path, needed: int, freely: int) -> bytes:
    compressed, skip = _flag(fields, path, False, "CompressedData"), _whole(fields, "HeaderSize", 0, path)
    if skip < -1 or (skip and compressed) or (skip > 0 and fields["ElementDataFile"] == "LOCAL"):
        raise UnsupportedError(f"{shown(path)} does not begin its voxels at a HeaderSize of {skip}; save it again.")
    file.seek(max(0, left_in(file) - needed) if skip == -1 else skip, io.SEEK_CUR)
    held = left_in(file)
    if held * (INFLATION if compressed else 1) < needed:
        raise cut_short(path, needed, held)
    if compressed:
        check_packed(path, needed, held, freely)
    elif held >= 2 * needed:
        raise UnreadableError(f"{shown(path)} holds {held:,} bytes of voxels where its header asks for {needed:,}; "
                              "correct DimSize and ElementType.")
    data = _inflated(file.read(), fields, path, needed) if compressed else file.read(needed)
    if len(data) < needed:
        raise cut_short(path, needed, len(data))
    return data


def _inflated(packed: bytes, fields: dict[str, str], path: Path, needed: int) -> bytes:
    """What is packed, which is one stream of the length that the header says: MetaIO takes neither from the file."""
    said = _whole(fields, "CompressedDataSize", -1, path)
    # One byte more than needed, because only at the end of the stream does zlib compare its checksum; MetaIO inflates
    # what gzip wrote, too.
    engine = zlib.decompressobj(wbits=47)
    data = engine.decompress(packed, needed + 1)
    if said != len(packed) or len(data) > needed or (len(data) == needed and (not engine.eof or engine.unused_data)):
        raise UnreadableError(f"{shown(path)} holds {len(packed):,} compressed bytes that are not one volume, or not "
                              "as many as CompressedDataSize says; save it again.")
    return data
