"""What one DICOM header says that does not fit together, and what it tells of who wrote the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta

from pydicom.datadict import tag_for_keyword

from scanward.formats.dicom import CAPTURE
from scanward.formats.fact import Fact, gathered
from scanward.formats.sheet import Sheet

_PROGRAMS = ((b"MZ", "a Windows program"), (b"\x7fELF", "a Linux program"), (b"#!", "a script"),
             (b"\xcf\xfa\xed\xfe", "a macOS program"), (b"\xca\xfe\xba\xbe", "a macOS or Java program"),
             (b"<scr", "a web page"), (b"<htm", "a web page"), (b"<?ph", "a script"), (b"%PDF-", "a PDF document"))
"""First bytes of what runs (CVE-2019-11687), or is opened by a program that runs what it holds."""
_TOOLS = {"1.2.276.0.7230010.3": "DCMTK or Orthanc", "1.2.826.0.1.3680043.8.498": "pydicom",
          "1.2.826.0.1.3680043.2.1143": "GDCM", "1.2.826.0.1.3680043.2.1125": "ITK",
          "1.2.40.0.13": "dcm4che", "1.3.6.1.4.1.9590.100": "MATLAB",
          "1.2.826.0.1.3680043.10.511": "highdicom", "1.2.826.0.1.3680043.10.543": "fo-dicom"}
"""Roots under which tools for DICOM make UIDs."""
_MAKERS = {"siemens": ("1.3.12.2.1107", "SIEMENS"), "ge medical": ("1.2.840.113619", "GEMS"),
           "ge health": ("1.2.840.113619", "GEMS"),
           "philips": ("1.3.46.670589", "Philips"), "toshiba": ("1.2.392.200036.9116", "TOSHIBA"),
           "hologic": ("1.2.840.113681", "HOLOGIC"), "fuji": ("1.2.392.200036.9125", "FDMS"),
           "canon": ("1.2.392.200036.9116", "TOSHIBA"), "lorad": ("1.2.840.113681", "LORAD")}
"""What a manufacturer's name holds, the root of its UIDs, and how its private blocks begin."""
_BLOCKS = ("SIEMENS", "GEMS", "TOSHIBA", "HOLOGIC", "LORAD", "FDMS")
"""Private blocks that another maker's scanner does not write; others' are found in many makers' files."""
_KERNELS = {"TOSHIBA": r"FC\d\d", "SIEMENS": r"(59 \.\d\d\.)?(A?[BDHIJQTU])[a-z]?\d\d[a-z]*",
            "GEMS": r"STANDARD|SOFT|DETAIL|LUNG|BONE|BONEPLUS|EDGE|CHEST"}
"""Reconstruction kernels as one maker alone names them; Canon as Toshiba before it. Philips sells others'
scanners, whose kernels are words."""
_MODELS = {"GEMS": "LightSpeed|HiSpeed|BrightSpeed|ProSpeed|Discovery (CT|ST|LS|MI)|Optima CT|Revolution CT|Senograph",
           "SIEMENS": "SOMATOM|Sensation|Emotion|Biograph|Definition|Volume Zoom|MAMMOMAT",
           "Philips": "Brilliance|Ingenuity|iCT|IQon", "TOSHIBA": "Aquilion", "HOLOGIC": "Selenia|Lorad"}
"""What scanners of one maker are called."""
_QUOTED = 40
"""Letters of a header's own that a sentence holds."""
MOVED = 5.0
"""Millimetres between SliceLocation and position, which GE's and Siemens' scanners say alike but for the sign: in 211
images of theirs the two differ by 1.5 at most."""
_MATRICES = (256, 340, 512, 768, 1024)
"""Rows of a reconstruction, before anybody crops it."""
_ALWAYS = ("ImageType", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientName",
           "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "SeriesNumber", "InstanceNumber", "Manufacturer")
"""Elements of types 1 and 2, which may be empty and may not be missing."""
BARE = 4
_APART = 0.02
"""Part by which two statements of one length may differ."""
YEAR = 365.25


def header_facts(sheet: Sheet) -> Iterator[Fact]:
    """Of one file, or of the first slice of a series."""
    parts = _uids, _blocks, _made, _moved, _dates, _sizes, _missing, _notes
    yield from gathered(*(part(sheet) for part in parts))


def root_of(uid: str) -> str:
    """The tool that makes UIDs under this root; empty where none is known to."""
    return next((name for root, name in _TOOLS.items() if uid.startswith(root + ".")), "")


def maker_root(uid: str) -> bool:
    """Whether a scanner's maker makes UIDs under this root."""
    return any(uid.startswith(root + ".") for root, _ in _MAKERS.values())


def derived(sheet: Sheet) -> bool:
    """Whether it says that it was made of another image, as a new SOP Instance UID is honest then."""
    return sheet.text("ImageType").upper().startswith("DERIVED") or sheet.text("LossyImageCompression") == "01"


def nameless(sheet: Sheet) -> str:
    """What it says of somebody's having taken out of it whose it is; empty where nobody did."""
    said = [sheet.text(keyword) for keyword in ("DeidentificationMethod", "LongitudinalTemporalInformationModified")]
    told = [text for text in said if text not in ("", "UNMODIFIED")]
    told += ["codes"] if sheet.value("DeidentificationMethodCodeSequence") else []
    return " ".join([*(["YES"] if sheet.text("PatientIdentityRemoved").upper() == "YES" else []), *told])


def preamble_facts(sheets: Iterable[Sheet]) -> Iterator[Fact]:
    """Of every file: one is enough."""
    for head, what in _PROGRAMS:
        if any(sheet.preamble.startswith(head) for sheet in sheets):
            yield Fact("program", f"Its first bytes are those of {what}: the file can be run or opened as one.")


def _uids(sheet: Sheet) -> Iterator[Fact]:
    own, stated = sheet.text("SOPInstanceUID"), sheet.meta_text("MediaStorageSOPInstanceUID")
    if own and stated and own != stated:
        yield Fact("two names", "Its file meta group names another SOP Instance UID than its data set: the UID was "
                   "changed after the file was written.")
    kind, said = sheet.text("SOPClassUID"), sheet.meta_text("MediaStorageSOPClassUID")
    if kind and said and kind != said:
        yield Fact("two classes", "Its file meta group names another SOP class than its data set.")
    tool = root_of(own)
    series, study = sheet.text("SeriesInstanceUID"), sheet.text("StudyInstanceUID")
    if tool and not root_of(series) and series and not derived(sheet):
        yield Fact("instance root", f"Its SOP Instance UID was made by {tool}, that of its series was not, and it does "
                   "not say that it was derived.")
    if root_of(series) and study and not root_of(study) and maker_root(study):
        yield Fact("series root", f"The UID of its series was made by {root_of(series)}, that of its study by a "
                   "scanner.", harmless=True)


def _blocks(sheet: Sheet) -> Iterator[Fact]:
    own, whose = _maker(sheet), sheet.text("Manufacturer")[:_QUOTED]
    if not own:
        return
    foreign = sorted(one for one in sheet.creators if one.upper().startswith(_BLOCKS)
                     and not one.upper().startswith(own.upper()) and not ("LORAD" in one.upper() and own == "HOLOGIC"))
    if foreign:
        yield Fact("foreign blocks", f"It is by {whose} as it says, and holds private elements of another maker "
                   f"({foreign[0][:_QUOTED]}).")
    root = next(root for root, begin in _MAKERS.values() if begin == own)
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        if maker_root(sheet.text(keyword)) and not sheet.text(keyword).startswith(root + "."):
            yield Fact("foreign root", f"It is by {whose} as it says, and another maker's scanner made its {keyword}.")
            break
    if not any(one.upper().startswith(own.upper()) for one in sheet.creators):
        yield Fact("no blocks", f"It holds none of the private elements that {whose} writes, as after a "
                   "de-identification.", harmless=True)


def _maker(sheet: Sheet) -> str:
    """How the private blocks of its maker begin, as it says; empty where nobody here knows its maker."""
    maker = sheet.text("Manufacturer").lower()
    return next((begin for name, (_, begin) in _MAKERS.items() if name in maker), "")


def _made(sheet: Sheet) -> Iterator[Fact]:
    """Whether a kernel's and a model's name are another maker's."""
    maker, whose = _maker(sheet), sheet.text("Manufacturer")[:_QUOTED]
    if not maker:
        return
    kernel = sheet.text("ConvolutionKernel")[:_QUOTED].split("\\")[0].strip()
    model = sheet.text("ManufacturerModelName")[:_QUOTED]
    theirs = next((one for one, names in _KERNELS.items() if re.fullmatch(names, kernel)), "")
    if theirs and theirs != maker and (theirs, maker) != ("GEMS", "Philips"):
        yield Fact("foreign kernel", f"It is by {whose} as it says, and names its kernel ({kernel}) as another maker "
                   "does.")
    theirs = next((one for one, names in _MODELS.items() if re.match(names, model)), "")
    if theirs and theirs != {"LORAD": "HOLOGIC"}.get(maker, maker):
        yield Fact("foreign model", f"It is by {whose} as it says, and another maker's scanner is called {model}.")


def _moved(sheet: Sheet) -> Iterator[Fact]:
    """Whether an axial slice lies elsewhere by one element than by another."""
    place, axes = sheet.numbers("ImagePositionPatient"), sheet.numbers("ImageOrientationPatient")
    if len(place) != 3 or len(axes) != 6 or sheet.text("Modality") != "CT" or derived(sheet):
        return
    if any(abs(abs(one) - whole) > 1e-3 for one, whole in zip(axes, (1, 0, 0, 0, 1, 0), strict=True)):
        return
    where = sheet.number("SliceLocation")
    if _maker(sheet) in ("GEMS", "SIEMENS") and where is not None and abs(abs(where) - abs(place[2])) > MOVED:
        yield Fact("moved", f"By SliceLocation it lies at {where:g} mm, by ImagePositionPatient at {place[2]:g} mm.")
        return
    for keyword in ("DataCollectionCenterPatient", "ReconstructionTargetCenterPatient"):
        center = sheet.numbers(keyword)
        if len(center) == 3 and abs(center[2] - place[2]) > MOVED:
            yield Fact("moved", f"By {keyword} it lies at {center[2]:g} mm, by ImagePositionPatient at "
                       f"{place[2]:g} mm.")
            return


def day_of(text: str) -> date | None:
    """A DICOM date; None for anything else."""
    found = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", text[:10].strip())
    try:
        return None if found is None else date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return None


def _dates(sheet: Sheet) -> Iterator[Fact]:
    study, birth = day_of(sheet.text("StudyDate")), day_of(sheet.text("PatientBirthDate"))
    taken = day_of(sheet.text("AcquisitionDate"))
    if study and taken and (study - taken).days > 1:
        yield Fact("taken before", f"It was taken {_span(study - taken)} before its study began.")
    if study and taken and (taken - study).days > 7:
        yield Fact("taken after", f"It was taken {_span(taken - study)} after its study began.")
    if study and birth and birth > study:
        yield Fact("born after", f"Its patient was born {_span(birth - study)} after its study.")
    age = re.fullmatch(r"(\d{3})Y", sheet.text("PatientAge"))
    if study and birth and birth <= study and age:
        years = (study - birth).days / YEAR
        if not -1.1 <= years - int(age[1]) < 2.1:
            yield Fact("age", "Its patient is of another age than the dates of birth and study give.")
    dated = uid_day(sheet)
    if study and dated and abs((dated - study).days) > 7:
        yield Fact("dated uid", f"The scanner dated its UIDs {_span(abs(dated - study))} "
                   f"{'after' if dated > study else 'before'} its study.")


def _span(time: timedelta) -> str:
    """`1 day`, `40 days` or `95 years`."""
    years = time.days / YEAR
    count, unit = (round(years), "year") if years >= 2 else (time.days, "day")
    return f"{count} {unit}{'' if count == 1 else 's'}"


def uid_day(sheet: Sheet) -> date | None:
    """The day that Siemens' scanners write into UIDs, the same in those of its study and its series."""
    days = set()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        uid = sheet.text(keyword)
        found = re.search(r"\.((?:19|20)\d{6})\d{4,}", uid)
        if uid.startswith("1.3.12.2.1107.5.") and found and (day := day_of(found[1])):
            days.add(day)
    return days.pop() if len(days) == 1 else None


def _sizes(sheet: Sheet) -> Iterator[Fact]:
    spacing, whole, rows = (sheet.numbers("PixelSpacing"), sheet.number("ReconstructionDiameter"),
                            sheet.number("Rows"))
    if len(spacing) == 2 and whole and rows and rows == sheet.number("Columns") and not derived(sheet) and \
            all(abs(spacing[0] * one / whole - 1) > _APART for one in (rows, *_MATRICES)):
        yield Fact("diameter", f"It was reconstructed over {whole:g} mm as it says, and its pixels span "
                   f"{spacing[0] * rows:.0f} mm.")
    padding, signed = sheet.number("PixelPaddingValue"), sheet.number("PixelRepresentation")
    if padding is not None and padding < 0 and signed == 0:
        yield Fact("padding", f"Its padding is {padding:g}, and its pixels are unsigned.", harmless=True)


def _missing(sheet: Sheet) -> Iterator[Fact]:
    """What every CT image and mammogram has, if only as an empty element (PS3.3, A.3 and A.26)."""
    gone = [keyword for keyword in _ALWAYS if tag_for_keyword(keyword) not in sheet.tags]
    if len(gone) >= BARE:
        yield Fact("bare", f"It lacks {len(gone)} elements that its kind of image always has, such as "
                   f"{' and '.join(gone[:2])}.")
    if sheet.text("SOPClassUID") == CAPTURE and sheet.text("Modality") == "CT":
        yield Fact("capture", "It is a Secondary Capture, a picture, and says that it is a CT.")


def _notes(sheet: Sheet) -> Iterator[Fact]:
    wrote = sheet.style["program"]
    if wrote:
        yield Fact("written by", f"It was written last by {wrote.split(' ', 1)[-1]}.", harmless=True)
    if nameless(sheet):
        yield Fact("nameless", "It says that its patient's identity was removed.", harmless=True)
    if sheet.text("SyntheticData").upper() == "YES":
        yield Fact("synthetic", "It says of itself that it is synthetic.", harmless=True)
    if sheet.text("ImageType").upper().startswith("DERIVED"):
        yield Fact("derived", "It says that it was derived from another image.", harmless=True)
    if sheet.text("LossyImageCompression") == "01":
        yield Fact("lossy", "It says that it was compressed with loss.", harmless=True)
