"""What viewers show for an image or over it: windows, lookup tables, overlays, icons, text in the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.formats.fact import Fact, gathered
from scanward.formats.sheet import Sheet
from scanward.formats.structure_series import OVERLAYS
from scanward.image import Image

Plane = npt.NDArray[np.float32]

_ALIKE = 0.55
"""Likeness of an icon to its image: at six windows 0.59 at least in 32 scans, and less in half of others' icons."""
_BARE = 0.9
"""Part of an icon's pixels that have one value where a window leaves too little of it to tell."""
_ICON, _SMALL = 1 << 20, 64
"""Pixels of the largest icon that is looked at, and about the side at which it is."""
HIDDEN, TISSUE, THERE = 0.01, -500.0, 0.05
"""Part of what is there that a window shows at least (0.02 in images as they came); HU of what is there in a CT, and
the part of a slice that it takes up."""
COVERED = 0.05
"""Part of an image that an overlay of lines and words does not reach."""
BEND = 0.05
"""Part of its range by which a lookup table may fall before it rises on."""
MOST = 16
"""Windows and tables that are looked at."""
GLYPHS, LOW, HIGH, MANY = 4, 5, 48, 1000
"""Letters in a row that are text; pixels of their height; and how many are looked at."""
EVEN = 0.6
"""Part of a text's pixels that have one value; what lies around a patient has none."""
DARK = -900.0
"""HU of what lies around text outside a patient."""


def shown_facts(image: Image, sheets: Sequence[Sheet], planes: Sequence[Plane]) -> Iterator[Fact]:
    """`sheets` by slice, or one of a file of several frames; `planes`, some of the slices."""
    yield from gathered(_window(image, sheets[len(sheets) // 2], planes), _tables(sheets[0]), _overlays(sheets),
                        _icons(image, sheets), _text(image, sheets[0], planes), _hidden(image, sheets),
                        _negative(image, sheets[0]))


def _text(image: Image, sheet: Sheet, planes: Sequence[Plane]) -> Iterator[Fact]:
    if image.modality == "CT" and any(written(plane) for plane in planes):
        said = sheet.text("BurnedInAnnotation").upper()
        yield Fact("text", "Text is written into its pixels beside its patient" + (
            ", and it says that there is none." if said == "NO" else "."), harmless=said == "YES")


def _window(image: Image, sheet: Sheet, planes: Sequence[Plane]) -> Iterator[Fact]:
    """A window between whose ends nearly nothing lies, where no table goes before it (PS3.3, C.11.2)."""
    centers, widths = sheet.numbers("WindowCenter")[:MOST], sheet.numbers("WindowWidth")[:MOST]
    if not centers or len(centers) != len(widths) or min(widths) < 1 or sheet.value("VOILUTSequence") is not None:
        return
    values = np.concatenate([plane.ravel() for plane in planes])
    if image.inverted:
        values = np.float32(2**image.bits - 1) - values
    if image.modality == "CT":
        there = values[values > TISSUE]
        if len(there) < THERE * len(values):
            return
    else:
        there = values[(values > values.min()) & (values < values.max())]
    best = max((np.abs(there - center) < width / 2).mean() for center, width in zip(centers, widths, strict=True)
               ) if len(there) else 1.0
    if best < HIDDEN:
        yield Fact("window", "Its window shows next to nothing of what is there: viewers open it black or white.")


def _hidden(image: Image, sheets: Sequence[Sheet]) -> Iterator[Fact]:
    """Shutters and padding that cover a part of what is there in a CT. What they cover beside a breast is not told
    from the breast here."""
    for z, sheet in enumerate(sheets if image.modality == "CT" else ()):
        plane = image.pixels[z if len(sheets) == len(image.pixels) else len(image.pixels) // 2]
        for what, covers in (("shutter", shuttered), ("padding, which is a range of values,", padded)):
            mask = covers(sheet, plane)
            there = plane > TISSUE
            if mask is not None and there.any() and mask[there].mean() > COVERED:
                yield Fact("hidden", f"Its {what} has viewers cover {mask[there].mean():.0%} of what is there.",
                           slices=(z,) if len(sheets) > 1 else ())
                return


def shuttered(sheet: Sheet, plane: Plane) -> npt.NDArray[np.bool_] | None:
    """What display shutters cover of a slice (y, x), as a mask of its shape (PS3.3, C.7.6.11); None without one."""
    shown = np.ones(plane.shape, np.bool_)
    shapes = sheet.text("ShutterShape").upper().split("\\")
    if "RECTANGULAR" in shapes:
        left, right, upper, lower = (int(sheet.number(f"Shutter{edge}Edge") or 0) for edge in (
            "LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal"))
        part = np.zeros_like(shown)
        part[max(0, upper):max(0, lower - 1), max(0, left):max(0, right - 1)] = True
        shown &= part
    center, radius = sheet.numbers("CenterOfCircularShutter"), sheet.number("RadiusOfCircularShutter")
    if "CIRCULAR" in shapes and len(center) == 2 and radius is not None:
        y, x = np.ogrid[:plane.shape[0], :plane.shape[1]]
        shown &= (y + 1 - center[0]) ** 2 + (x + 1 - center[1]) ** 2 <= radius**2
    corners = sheet.numbers("VerticesOfThePolygonalShutter")
    if "POLYGONAL" in shapes and len(corners) >= 6 and len(corners) % 2 == 0:
        points = np.clip(np.array(corners).reshape(-1, 2)[:, ::-1] - 1, -1e4, 1e5).astype(np.int32)
        shown &= cv2.fillPoly(np.zeros(plane.shape, np.uint8), [points], (1,)) > 0
    return ~shown if any(shapes) else None


def padded(sheet: Sheet, plane: Plane) -> npt.NDArray[np.bool_] | None:
    """What a range of padding covers of a slice (y, x) in HU, as a mask of its shape; None without one."""
    ends = [sheet.stored(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    slope, intercept = sheet.number("RescaleSlope") or 1.0, sheet.number("RescaleIntercept") or 0.0
    values = sorted(end * slope + intercept for end in ends if end is not None)
    return None if len(values) < 2 else (plane >= values[0]) & (plane <= values[1])


def _negative(image: Image, sheet: Sheet) -> Iterator[Fact]:
    """Mammograms in MONOCHROME1 say INVERSE, too, and are shown as they are."""
    turned = sheet.text("PresentationLUTShape").upper() == "INVERSE"
    first = sheet.text("PhotometricInterpretation") == "MONOCHROME1"
    if (turned or first) if image.modality == "CT" else (turned and not first):
        yield Fact("negative", "Viewers show it as a negative, by its "
                   f"{'PresentationLUTShape' if turned else 'PhotometricInterpretation'}.")


def _tables(sheet: Sheet) -> Iterator[Fact]:
    """VOI LUTs that neither rise nor fall: what is brighter in the image may be darker to the eye."""
    items: Any = sheet.value("VOILUTSequence")
    for item in items[:MOST] if items is not None else ():
        table = table_of(item, sheet.big)
        if table is not None and bent(table):
            yield Fact("table", "Its lookup table for viewers (VOI LUT) does not keep the order of its grey levels.")
            return


def table_of(item: Any, big: bool = False) -> npt.NDArray[np.float64] | None:
    """A lookup table's values (n,); None where they are not to be had. `big`: in big endian."""
    try:
        data = item.LUTData
        order = ">u2" if big else "<u2"
        values = np.frombuffer(data, order) if isinstance(data, bytes) else np.array(data, np.float64).ravel()
    except Exception:  # pydicom raises what its parts raise
        return None
    finite = np.isfinite(values).all()
    return values.astype(np.float64) if len(values) and finite else None


def bent(table: npt.NDArray[np.float64]) -> bool:
    """Whether a table (n,) rises and falls, or says the same everywhere."""
    steps = np.diff(table)
    span = float(np.ptp(table))
    up, down = float(steps[steps > 0].sum()), -float(steps[steps < 0].sum())
    return len(table) > 1 and min(up, down) >= BEND * span


def _overlays(sheets: Sequence[Sheet]) -> Iterator[Fact]:
    """Overlays that hide a part of the image (PS3.3, C.9.2): lines and words cover less."""
    for z, sheet in enumerate(sheets):
        for group in OVERLAYS:
            covered = covered_by(sheet, group)
            if covered > COVERED:
                yield Fact("overlay", f"Its overlay, which viewers show over it, covers {covered:.0%} of it.",
                           slices=(z,) if len(sheets) > 1 else ())
                return


def covered_by(sheet: Sheet, group: int) -> float:
    """The part of an overlay that is set, of those that lie in the file's head; 0 where there is none."""
    if group << 16 | 0x3000 not in sheet.tags:
        return 0.0
    try:
        rows, columns = int(sheet.data[group, 0x10].value), int(sheet.data[group, 0x11].value)
        bits = np.unpackbits(np.frombuffer(sheet.data[group, 0x3000].value, np.uint8), bitorder="little")
    except Exception:  # as above; long ones are left in the file
        return 0.0
    count = rows * columns
    return float(bits[:count].mean()) if 0 < count <= len(bits) else 0.0


def _icons(image: Image, sheets: Sequence[Sheet]) -> Iterator[Fact]:
    for z, sheet in enumerate(sheets if len(sheets) == len(image.pixels) else ()):
        icon = icon_of(sheet)
        if icon is None or icon.std() < 1 or _commonest(icon.ravel()) > _BARE:
            continue
        small = cv2.resize(image.pixels[z], icon.shape[::-1], interpolation=cv2.INTER_AREA)
        if small.std() > 0 and likeness(small, icon) < _ALIKE:
            yield Fact("icon", "The small picture of it that it holds (IconImageSequence) shows another image.",
                       slices=(z,) if len(sheets) > 1 else ())
            return


def likeness(one: npt.NDArray[Any], icon: npt.NDArray[Any]) -> float:
    """The rank correlation, as a part of the largest that the icon's ties allow: windows change no order, turn it
    round at most, and make one value of all that lies beside them."""
    a, b = _ranks(one), _ranks(icon)
    return abs(float(a @ b)) / float(np.sort(a) @ np.sort(b))


def _ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Mean ranks (n,) about zero."""
    _, where, times = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    ranks = np.asarray((np.cumsum(times) - (times + 1) / 2)[where], np.float64)
    return ranks - ranks.mean()


def icon_of(sheet: Sheet) -> Plane | None:
    """Its icon (y, x), where it has one of grey bytes."""
    sequence: Any = sheet.value("IconImageSequence")
    try:
        item = sequence[0]
        rows, columns = int(item.Rows), int(item.Columns)
        if int(item.BitsAllocated) != 8 or int(item.get("SamplesPerPixel", 1)) != 1 or not 8 <= rows * columns <= _ICON:
            return None
        data = np.frombuffer(item.PixelData, np.uint8)
        if sheet.big and item["PixelData"].VR == "OW":  # two bytes a word
            data = data.reshape(-1, 2)[:, ::-1].ravel()
        whole = data[:rows * columns].reshape(rows, columns)
        return whole[::1 + rows // (2 * _SMALL), ::1 + columns // (2 * _SMALL)].astype(np.float32)
    except Exception:  # pydicom raises what its parts raise, and an icon may be compressed, or none
        return None


def written(plane: Plane) -> bool:
    """Whether letters of one value stand in a row on air: `plane` (y, x), HU."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((plane > TISSUE).astype(np.uint8), connectivity=8)
    high, wide = stats[:, cv2.CC_STAT_HEIGHT], stats[:, cv2.CC_STAT_WIDTH]
    glyphs = []
    for label in np.flatnonzero((high >= LOW) & (high <= HIGH) & (wide <= 2 * HIGH))[:MANY]:
        x, y, width, height = (int(one) for one in stats[label][:4])
        around = plane[max(0, y - 2):y + height + 2, max(0, x - 2):x + width + 2]
        own = labels[max(0, y - 2):y + height + 2, max(0, x - 2):x + width + 2]
        beside = around[own == 0]
        values = around[own == label]
        if len(beside) and (beside < DARK).mean() > EVEN and _commonest(values) > EVEN:
            glyphs.append((y, x, height, width))
    return _in_a_row(glyphs)


def _commonest(values: Plane) -> float:
    """The part of them that has their commonest value."""
    return float(np.unique(values, return_counts=True)[1].max() / len(values))


def _in_a_row(glyphs: Iterable[tuple[int, int, int, int]]) -> bool:
    """Whether enough boxes (y, x, height, width) follow each other as letters do."""
    some = sorted(glyphs)
    for y, _, height, _ in some:
        line = sorted((one[1], one[3]) for one in some if abs(one[0] + one[2] - y - height) <= height / 3
                      and height / 2 <= one[2] <= 2 * height)
        run = 1
        for (x, width), (following, _) in pairwise(line):
            run = run + 1 if following - x - width <= 2 * height else 1
            if run >= GLYPHS:
                return True
    return False
