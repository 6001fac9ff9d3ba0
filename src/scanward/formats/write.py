"""An altered mammogram, written in its host's own format and marked as altered.

Whatever Scanward alters says so: in a DICOM header, in a text of PNG and TIFF, in a comment of PGM, and for every
format in a small JSON file beside it. No detector reads any of these.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.disk import whole_file
from scanward.errors import ArgumentError, UnsupportedError
from scanward.formats.arrays import pgm_head
from scanward.formats.guard import decoding, open_file, shown
from scanward.image import Image
from scanward.modality import traits
from scanward.version import __version__

SUFFIXES = {"png": (".png",), "tiff": (".tif", ".tiff"), "pgm": (".pgm",), "npy": (".npy",)}
"""The endings of each format; DICOM takes any other, as a DICOM file's name is often its UID."""
SIDECAR = ".scanward.json"
FORGERY = "Forgery: "
"""How the description of what was forged begins."""
STEM = 200
"""Bytes of a host's name that an altered copy keeps: with suffix and sidecar it has to stay under 255."""


@dataclass(frozen=True)
class Mark:
    """What every altered file carries."""

    description: str
    synthetic: bool

    @property
    def text(self) -> str:
        """One ASCII line, so that every format can hold it."""
        kind = "synthetic" if self.synthetic else "altered"
        line = " ".join(f"Scanward: {kind} image, made by version {__version__}. {self.description}".split())
        return line.encode("ascii", "backslashreplace").decode()[:1000]


def write_altered(image: Image, path: Path, *, description: str, synthetic: bool) -> Path:
    """Write an altered mammogram as a file of its host's format, with `path.name + ".scanward.json"` beside it.

    Values are written as the host stores them: same depth, MONOCHROME1 and MINISWHITE flipped back, signed values
    moved back. DICOM keeps every other element of the host (its patient too), uncompressed, with a new SOP Instance
    UID that follows from the host's and the pixels, `ImageType` DERIVED\\\\SECONDARY, a Derivation Description, the
    host as Source Image, and `Synthetic Data` YES where `synthetic`. `description` says what was done, in one
    sentence. Both files appear whole or not at all. Returns `path`.

    Raises `ArgumentError` where `path` or its companion exists, is the host, or ends in another format's suffix;
    `UnsupportedError` for volumes; `UnreadableError` where a DICOM host can no longer be read.
    """
    path = Path(path)
    plane = image.plane
    kind = check_target(image, path)
    mark = Mark(description, synthetic or image.provenance.synthetic)
    data, facts = _ENCODERS[kind](image, plane, mark)
    companion = write_companion(path, mark, kind, file_sha256=hashlib.sha256(data).hexdigest(), **facts)
    try:
        with whole_file(path, replace=False) as file:
            file.write(data)
    except BaseException:
        companion.unlink(missing_ok=True)
        raise
    return path


def companion_of(path: Path) -> Path:
    """The small file beside an altered or synthetic image, or series' folder, that says so."""
    return path.with_name(path.name + SIDECAR)


def write_companion(path: Path, mark: Mark, kind: str | None, *, altered: bool = True, **facts: str) -> Path:
    """Write it, before the image: at no moment a forged one lies there unmarked. Returns where; raises
    `ArgumentError` where there is one."""
    note = {"scanward": __version__, "file": path.name, "altered": altered, "synthetic": mark.synthetic,
            "description": mark.description, "format": kind, **facts}
    with whole_file(companion_of(path), replace=False) as file:
        file.write((json.dumps(note, indent=2) + "\n").encode())
    return companion_of(path)


def check_target(image: Image, path: Path) -> str:
    """The format in which a mammogram is written as `path`; raises what `write_altered` does, before any work."""
    if traits(image.modality).volume:
        raise UnsupportedError(f"{shown(image.name)} is {image.modality}; only mammograms are written back.")
    kind = _kind(image, path)
    refuse_existing(path)
    return kind


def refuse_existing(path: Path) -> None:
    """`ArgumentError` where an altered copy, or its companion, has that name already."""
    for target in (path, companion_of(path)):
        if target.exists() or target.is_symlink():
            raise ArgumentError(f"{shown(target)} exists already and is not overwritten; choose another name.")


def suffix_of(image: Image) -> str:
    """The suffix of an altered copy: the host's own, or its format's where the host is named after another."""
    given, kind = Path(image.name).suffix, image.provenance.format or "dicom"
    foreign = [end for other, ends in SUFFIXES.items() for end in ends if other != kind]
    if kind == "dicom":
        return given if given and given.lower() not in foreign else ".dcm"
    return given if given.lower() in SUFFIXES.get(kind, ()) else SUFFIXES.get(kind, (given,))[0]


def _kind(image: Image, path: Path) -> str:
    by_suffix = next((kind for kind, ends in SUFFIXES.items() if path.suffix.lower() in ends), "dicom")
    kind = image.provenance.format or by_suffix
    if kind not in _ENCODERS:
        raise UnsupportedError(f"{shown(image.name)} is of format {kind}, which cannot be written back; convert it to "
                               "PNG or TIFF first.")
    if kind != by_suffix:
        wanted = " or ".join(SUFFIXES.get(kind, (".dcm",)))
        raise ArgumentError(f"{shown(path)} must end in {wanted}, as an altered image keeps its host's format.")
    if kind == "dicom" and image.provenance.path is None:
        raise ArgumentError(f"{shown(path)} cannot be written as DICOM without a DICOM host; end the name in .png, "
                            ".tiff, .pgm or .npy.")
    return kind


def _stored(image: Image, plane: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """(y, x) values as a raster format stores them: uint8, uint16, or float32 for an image of broken numbers."""
    values = image.largest - plane if image.inverted else plane
    if not image.integer:
        return values.astype(np.float32)
    return np.clip(np.rint(values), 0, image.largest).astype(np.uint8 if image.bits <= 8 else np.uint16)


def _as_in(host: Path, like: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values in the type of the host's, which keep what float32 does not tell from them."""
    made = np.where(values == like.astype(np.float32), like, values).astype(like.dtype)
    if not np.array_equal(made.astype(np.float32), values):
        raise UnsupportedError(f"{shown(host)} stores {like.dtype} numbers, which do not hold what it would become; "
                               "save it as 16-bit whole numbers.")
    return made


def _png(image: Image, plane: npt.NDArray[np.float32], mark: Mark) -> tuple[bytes, dict[str, Any]]:
    from PIL import Image as Pillow
    from PIL.PngImagePlugin import PngInfo

    from scanward.formats.view import PNG_HEAD, png_view

    text = PngInfo()
    text.add_text("Scanward", mark.text)
    buffer = io.BytesIO()
    host = image.provenance.path
    with decoding(host or "image"):
        chunks, exif = (b"", None) if host is None else png_view(host)
    Pillow.fromarray(_stored(image, plane)).save(buffer, "PNG", pnginfo=text, exif=exif)
    data = buffer.getvalue()
    return data[:PNG_HEAD] + chunks + data[PNG_HEAD:], {}


def _tiff(image: Image, plane: npt.NDArray[np.float32], mark: Mark) -> tuple[bytes, dict[str, Any]]:
    import tifffile

    from scanward.formats.raster import tiff_values
    from scanward.formats.view import tiff_view

    values, host, view = _stored(image, plane), image.provenance.path, {}
    if host is not None:
        with decoding(host):
            values, view = _as_in(host, tiff_values(host)[0], values), tiff_view(host)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="miniswhite" if image.inverted else "minisblack",
                     description=mark.text, metadata=None, compression="zlib", **view)
    return buffer.getvalue(), {}


def _pgm(image: Image, plane: npt.NDArray[np.float32], mark: Mark) -> tuple[bytes, dict[str, Any]]:
    stored = _stored(image, plane)
    height, width = stored.shape
    host, white = image.provenance.path, round(image.largest)
    if host is not None:
        with decoding(host), open_file(host) as file:
            # a host may call 1000 of its 1023 white
            white = max(pgm_head(file, host)[3], int(stored.max()))
    header = f"P5\n# {mark.text}\n{width} {height}\n{white}\n".encode()
    return header + (stored if image.bits <= 8 else stored.astype(">u2")).tobytes(), {}


def _npy(image: Image, plane: npt.NDArray[np.float32], mark: Mark) -> tuple[bytes, dict[str, Any]]:
    values = _stored(image, plane)
    host = image.provenance.path
    if host is not None:
        with decoding(host):
            like = np.load(host, mmap_mode="r", allow_pickle=False)
            values = _as_in(host, like, values.reshape(like.shape))
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue(), {}


def _dicom(image: Image, plane: npt.NDArray[np.float32], mark: Mark) -> tuple[bytes, dict[str, Any]]:
    from scanward.formats.altered_dicom import encode

    host = image.provenance.path
    if host is None:
        raise ArgumentError("A DICOM file can only be written for an image that was read from one.")
    with decoding(host):
        return encode(image, plane, host, mark.text, mark.synthetic)


_ENCODERS: dict[str, Callable[[Image, npt.NDArray[np.float32], Mark], tuple[bytes, dict[str, Any]]]] = {
    "dicom": _dicom, "png": _png, "tiff": _tiff, "pgm": _pgm, "npy": _npy,
}
