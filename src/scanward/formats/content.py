"""Everything of an image that a seal speaks of: its stored values exactly, where they lie, and whose they are.

`read` gives float32 in the modality's own unit, for eyes and networks; here nothing is rounded, raised or flipped.
DICOM images of any kind that can be decoded, whatever their modality; NIfTI, MetaImage; PNG, TIFF, PGM and NPY.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom.multival import MultiValue

from scanward.errors import ScanwardError, UnsupportedError
from scanward.formats.alone import kind_alone
from scanward.formats.dicom import (
    Header,
    alignment_of,
    check_charset,
    check_image,
    check_measures,
    layout_of,
    opened,
    spacing_of,
)
from scanward.formats.frames import GROUPS, grouped
from scanward.formats.guard import decoding, shown
from scanward.formats.held import (
    ALSO,
    DESCRIPTORS,
    HELD,
    IDENTITY,
    OLDER,
    PADDING,
    PALETTE,
    PLACE,
    SEQUENCES,
    STUDY,
)
from scanward.formats.others import stored_frames
from scanward.formats.pixels import JPEG_2000, PLAIN, read_frames
from scanward.formats.sniff import kind_in
from scanward.formats.sources import Source
from scanward.formats.unheld import plain, unheld
from scanward.formats.volume import placed, stored_metaimage, stored_nifti, upright

Values = npt.NDArray[Any]
_MOMENT = "AcquisitionDateTime"
_OLD_DATE = re.compile(r"\d{4}\.\d{2}\.\d{2} ?")
"""As dates were written before 1993."""
_USUAL = {"PixelPresentation": "MONOCHROME", "RecommendedViewingMode": "NAT", "StartTrim": "1",
          "DimensionOrganizationType": "3D"}
"""What is meant where nothing is said."""
_ROOT = "1.2.840.10008.5.1.4.1.1."
_SAME_CLASS = {"2.1": "2", "2.2": "2", "4.1": "4", "4.4": "4", "130": "128", "128.1": "128", "3.1": "6.1",
               "12.1.1": "12.1", "12.2.1": "12.2", "7.1": "7", "7.2": "7", "7.3": "7", "7.4": "7"}
"""SOP classes between which images pass without another voxel: of several frames, enhanced, legacy converted."""
_SAME_COLOURS = {**{(syntax, word): "RGB" for syntax in JPEG_2000 for word in ("YBR_RCT", "YBR_ICT")},
                 **{(syntax, "YBR_FULL_422"): "YBR_FULL" for syntax in PLAIN}}
"""What the colours of decoded samples are, by transfer syntax and by the word of the header."""
EACH_SLICE = "EachSlice"
"""In `place` and `identity`: what slices say each for itself, of words of which older seals hold all that is said."""
SAME_PLACE = 0.01
"""Millimetres by which corners at one place may differ."""


@dataclass(frozen=True)
class Content:
    """One image, or all images of one series."""

    values: Values
    """(z, y, x), or (z, y, x, samples) in colour. Integers wherever the file stores integers: with slope and intercept
    applied where both are whole, as another format stores a CT, else as stored."""
    scale: tuple[tuple[float, float], ...]
    """(slope, intercept) still to be applied: one for all planes, or one for each."""
    spacing: tuple[float, float] | None
    """Millimetres of a pixel, (y, x)."""
    axes: tuple[float, ...] | None
    """Directions of the rows and of the columns in the patient, six numbers (LPS)."""
    corners: tuple[tuple[float, float, float], ...]
    """Where the first voxel of each plane lies, (x, y, z) in mm (LPS); empty where that is not said."""
    place: dict[str, str] = field(default_factory=dict)
    """What `PLACE` names and the file says."""
    identity: dict[str, str] = field(default_factory=dict)
    study: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    """Of the planes, for people."""
    header: dict[str, str] | None = None
    """A hash of every other standard element, by its keyword (`unheld`); None where it is no DICOM image."""

    @property
    def places(self) -> list[list[int]]:
        """The planes that lie where another does, by their numbers, for each place."""
        found: list[list[int]] = []
        for z, corner in enumerate(self.corners):
            if found and np.abs(np.subtract(corner, self.corners[found[-1][0]])).max() <= SAME_PLACE:
                found[-1].append(z)
            else:
                found.append([z])
        return [place for place in found if len(place) > 1]

    @property
    def copies(self) -> list[int]:
        """The planes that hold what another at their place does: they do no harm."""
        found = []
        for place in self.places:
            seen = set()
            for z in place:
                holds = _digest(self.values[z]), self.scale[z] if len(self.scale) > 1 else None
                found += [z] if holds in seen else []
                seen.add(holds)
        return found

    def without(self, planes: Sequence[int]) -> Content:
        """The same without some of its planes."""
        kept = [z for z in range(len(self.values)) if z not in set(planes)]
        scale = self.scale if len(self.scale) == 1 else tuple(self.scale[z] for z in kept)
        return replace(self, values=self.values[kept], scale=scale, corners=tuple(self.corners[z] for z in kept),
                       names=tuple(self.names[z] for z in kept))

    @property
    def steps(self) -> tuple[float | None, float | None, float | None]:
        """As `steps_of`."""
        return steps_of(self.spacing, self.corners)


def steps_of(spacing: Sequence[float] | None, corners: Sequence[Sequence[float]]) -> \
        tuple[float | None, float | None, float | None]:
    """Millimetres a voxel, (z, y, x), as far as they are known; between planes, of the median step."""
    y, x = spacing or (None, None)
    if len(corners) < 2:
        return None, y, x
    gaps = np.linalg.norm(np.diff(np.array(corners), axis=0), axis=1)
    return float(np.median(gaps)) or None, y, x


def study_of(source: Source) -> dict[str, str]:
    """What `STUDY` names and the first file says; nothing where it is no DICOM file that can be read."""
    first = source.paths[0]
    try:
        with decoding(first):
            if kind_in(first) != "dicom":
                return {}
            with opened(first, STUDY) as (header, _):
                return _texts(header, STUDY)
    except ScanwardError:
        return {}


def read_content(source: Source) -> Content:
    """Of a file, or of all files of a series, in an order that follows from the content alone.

    Raises `UnreadableError` and `UnsupportedError` as `read`.
    """
    with decoding(source.path):
        kind = kind_alone(source.paths)
        if kind == "dicom":
            return _dicom(source.paths)
        if kind in ("nifti", "metaimage"):
            return _volume(source.path, kind)
        if kind in ("png", "tiff", "pgm", "npy"):
            return _raster(source.path, kind)
    raise UnsupportedError(f"{shown(source.path)} is of no format that can be sealed; give DICOM, NIfTI, MetaImage, "
                           "PNG, TIFF, PGM or NPY.")


@dataclass(frozen=True)
class _Plane:
    values: Values
    scale: tuple[float, float]
    spacing: tuple[float, float] | None
    axes: tuple[float, ...] | None
    corner: tuple[float, float, float] | None
    number: tuple[float, int]
    """Instance Number, and the frame."""
    name: str
    place: dict[str, str]
    identity: dict[str, str]

    @property
    def key(self) -> tuple[float, float, int]:
        """Where it belongs: along the normal, then by number."""
        if self.axes is None or self.corner is None:
            return 0.0, *self.number
        return round(float(np.cross(self.axes[:3], self.axes[3:]) @ np.array(self.corner)), 2), *self.number


def _dicom(paths: Sequence[Path]) -> Content:
    planes: list[_Plane] = []
    others: list[dict[str, str]] = []
    firsts: list[int] = []
    study: dict[str, str] = {}
    for path in paths:
        with decoding(path), opened(path, (*GROUPS, *ALSO, _MOMENT), whole=True) as (header, stream):
            others.append(unheld(header, HELD))  # first: of what was decoded already the bytes are not there
            check_image(header)
            check_charset(header)
            study = study or _texts(header, STUDY)
            firsts.append(len(planes))
            planes += _planes(header, stream)
    if len({plane.values.shape for plane in planes}) > 1:
        raise UnsupportedError(f"{shown(paths[0].parent)} mixes images of different sizes; seal them one by one.")
    if len({said["SOPClassUID"] for said in others}) > 1:  # ITK goes by the first
        for said, start in zip(others, firsts, strict=True):
            said["SOPClassUID"] += f" at {planes[start].key[0]}"
    for what, kinds in (("pixel spacings", [plane.spacing for plane in planes]),
                        ("orientations", [plane.axes for plane in planes])):
        first = kinds[0]
        if not all(one == first or (one is not None and first is not None and np.allclose(one, first, atol=1e-4))
                   for one in kinds):
            raise UnsupportedError(f"{shown(paths[0].parent)} mixes {what}; verify and seal its images one by one.")
    times = Counter(plane.key for plane in planes)
    planes.sort(key=lambda plane: (plane.key, _digest(plane.values) if times[plane.key] > 1 else b""))
    scales = {plane.scale for plane in planes}
    corners = tuple(plane.corner for plane in planes if plane.corner is not None)
    return Content(planes[0].values[None] if len(planes) == 1 else np.stack([plane.values for plane in planes]),
                   tuple(scales) if len(scales) == 1 else tuple(plane.scale for plane in planes), planes[0].spacing,
                   planes[0].axes, corners if len(corners) == len(planes) else (),
                   _together(planes, [plane.place for plane in planes], OLDER),
                   _together(planes, [plane.identity for plane in planes], IDENTITY), study,
                   tuple(plane.name for plane in planes),
                   {keyword: _hash(said) for keyword, said in _common(others).items()})


def _planes(header: Header, stream: BinaryIO) -> Iterator[_Plane]:
    """Every frame of one file."""
    grey = header.whole("SamplesPerPixel", 1) == 1 and header.text("PhotometricInterpretation").startswith("MONOCHROME")
    if grey and header.whole("BitsAllocated", 0) in (8, 16):
        frames: Iterable[Values] = (values for values, _ in read_frames(stream, layout_of(header, exact=True)))
    else:
        frames = stored_frames(header, stream)
    numbered = header.numbers("InstanceNumber", 1) or (0.0,)
    owners = grouped(header, (*PLACE, *SEQUENCES, *IDENTITY))
    fixed, place = _palette(header) | _sides(header) | alignment_of(header), _said(header)
    whose = _whose(header, header)
    for frame, values in enumerate(frames):
        own = owners[frame] if owners else header
        check_measures(own)
        slope, intercept = own.number("RescaleSlope", 1.0), own.number("RescaleIntercept", 0.0)
        kept, scale = folded(values, slope, intercept) if grey else (values, (1.0, 0.0))
        name = header.path.name if frame == 0 else f"{header.path.name}, frame {frame + 1}"
        corner = own.numbers("ImagePositionPatient", 3)
        # A magnification may be each frame's own, which `place` holds.
        spacing = spacing_of(own if own.says("PixelSpacing") else header) or spacing_of(own)
        yield _Plane(kept, scale, spacing, own.numbers("ImageOrientationPatient", 6),
                     None if corner is None else (corner[0], corner[1], corner[2]), (numbered[0], frame), name,
                     fixed | (_said(own) if owners else place), _whose(own, header) if owners else whose)


def folded(values: Values, slope: float, intercept: float) -> tuple[Values, tuple[float, float]]:
    """Integers with slope and intercept applied where both are whole; what is left to apply. Of the smallest signed
    type that holds them."""
    if values.dtype.kind not in "iu" or not (float(slope).is_integer() and float(intercept).is_integer()):
        return values, (slope, intercept)
    low, high = int(values.min()), int(values.max())
    ends = sorted((low * int(slope) + int(intercept), high * int(slope) + int(intercept)))
    kind = next((kind for kind in ("i2", "i4", "i8") if np.iinfo(kind).min <= min(ends[0], low, slope, intercept) and
                 max(ends[1], high, slope, intercept) <= np.iinfo(kind).max), None)
    if kind is None:
        return values, (slope, intercept)
    made = values.astype(f"<{kind}")
    if (slope, intercept) != (1.0, 0.0):
        made *= np.array(int(slope), made.dtype)
        made += np.array(int(intercept), made.dtype)
    return made, (1.0, 0.0)


def _digest(values: Values) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(values).data).digest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _common(files: Sequence[dict[str, str]]) -> dict[str, str]:
    """What every file says; where they do not agree, all of it."""
    keywords = {keyword for texts in files for keyword in texts}
    return {keyword: " | ".join(sorted({texts.get(keyword, "") for texts in files})) for keyword in sorted(keywords)}


def _together(planes: Sequence[_Plane], said: Sequence[dict[str, str]], older: Collection[str]) -> dict[str, str]:
    """What every plane says; where they do not agree, one hash of what each of them says. Of words that `older` seals
    know these have all that is said, and the hash goes by a name of its own."""
    found = _common(said)
    each = {keyword: _each(planes, keyword, said) for keyword, texts in found.items() if " | " in texts}
    kept = [each.pop(keyword) for keyword in sorted(each.keys() & set(older))]
    return found | each | ({EACH_SLICE: _hash(repr(kept))} if kept else {})


def _each(planes: Sequence[_Plane], keyword: str, said: Sequence[dict[str, str]]) -> str:
    each = {(plane.number if plane.corner is None else plane.key[0], texts.get(keyword, ""))
            for plane, texts in zip(planes, said, strict=True)}
    return _hash(repr(sorted(each)))


def _texts(header: Header, keywords: Sequence[str]) -> dict[str, str]:
    """Uncut, but for the blanks that an even length may take."""
    found = {keyword: header.said(keyword) for keyword in keywords if header.says(keyword)}
    for keyword in PADDING[:2]:
        if isinstance(found.get(keyword), int):
            found[keyword] &= 0xFFFF  # implicit VR does not tell signed words from unsigned ones
    texts = {keyword: "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
             for keyword, value in found.items() if value is not None}
    if "PatientName" in texts:
        texts["PatientName"] = texts["PatientName"].rstrip("^ \0")
    for keyword, text in texts.items():
        if keyword.endswith("Date") and _OLD_DATE.fullmatch(text):
            texts[keyword] = text.replace(".", "")
    if "PhotometricInterpretation" in texts:
        named = texts["PhotometricInterpretation"].strip(" \0")
        texts["PhotometricInterpretation"] = _SAME_COLOURS.get((header.syntax, named), named)
    return {keyword: text.strip(" \0") for keyword, text in texts.items() if text.strip(" \0")}


def _whose(own: Header, header: Header) -> dict[str, str]:
    """What `IDENTITY` names, of a frame; the headers of enhanced images say the date of acquisition with its time."""
    texts = _texts(own, IDENTITY)
    dates = {texts.get("AcquisitionDate", ""), _texts(header, (_MOMENT,)).get(_MOMENT, "")[:8]} - {""}
    return texts | ({"AcquisitionDate": "\\".join(sorted(dates))} if dates else {})


def _said(header: Header) -> dict[str, str]:
    """What `PLACE` and, as hashes, `SEQUENCES` name."""
    texts = {keyword: text for keyword, text in _texts(header, PLACE).items() if _USUAL.get(keyword) != text}
    if kind := texts.get("SOPClassUID", header.media_class):
        own = kind.removeprefix(_ROOT)
        texts["SOPClassUID"] = _ROOT + _SAME_CLASS.get(own, own) if kind.startswith(_ROOT) else kind
    return texts | {keyword: _hash(repr(plain(header.data[keyword], header.little))) for keyword in SEQUENCES
                    if header.said(keyword)}


def _sides(header: Header) -> dict[str, str]:
    """Those of frames, wherever their groups say them."""
    sides: list[str] = []
    for group in (group for groups in GROUPS for group in header.said(groups) or ()):
        sides += [str(group.FrameLaterality)] if "FrameLaterality" in group else []
        for macro in (macro for macro in group if macro.VR == "SQ"):
            sides += [str(said.get("FrameLaterality", "")) for said in macro.value or ()
                      if macro.keyword == "FrameAnatomySequence" or "FrameLaterality" in said]
    return {"FrameLaterality": "\\".join(sides)} if any(sides) else {}


def _palette(header: Header) -> dict[str, str]:
    """What makes colours of indices or, beside grey levels, of some of these: as one hash."""
    found = [plain(header.data[keyword], header.little) if header.value(keyword) else b"" for keyword in PALETTE]
    parts = [part if isinstance(part, bytes) else repr(part).encode() for part in found]
    for keyword in DESCRIPTORS:
        said = header.value(keyword)  # signed words, or unsigned ones
        parts.append(str([number & 0xFFFF for number in said] if isinstance(said, MultiValue) else said).encode())
    indices = header.text("PhotometricInterpretation") == "PALETTE COLOR"
    if not indices and not any(header.value(keyword) for keyword in (*PALETTE, *DESCRIPTORS)):
        return {}
    whole = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return {"Palette" if indices else "SupplementalPalette": hashlib.sha256(whole).hexdigest()}


def _volume(path: Path, kind: str) -> Content:
    stored, (slope, intercept), axes = stored_nifti(path, alike=True) if kind == "nifti" else stored_metaimage(path)
    turned, _ = upright(path, stored, axes)
    values, scale = folded(turned, slope, intercept)
    world = placed(axes, stored.shape)
    x, y = (float(np.linalg.norm(world[:, i])) for i in range(2))
    corners = tuple(tuple(float(v) for v in world[:, 3] + k * world[:, 2]) for k in range(len(values)))
    return Content(values, (scale,), (y, x), tuple(float(v) for v in (*world[:, 0] / x, *world[:, 1] / y)),
                   corners, names=tuple(f"slice {k + 1}" for k in range(len(values))))  # type: ignore[arg-type]


def _raster(path: Path, kind: str) -> Content:
    from scanward.formats import raster

    values, scale = folded(raster.stored_raster(path, kind), 1.0, 0.0)
    return Content(values, (scale,), None, None, (), names=(path.name,))
