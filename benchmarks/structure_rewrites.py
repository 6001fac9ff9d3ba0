"""The scenarios of `benchmarks/structure.py` that archives and tools do every day, and that change no image."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from structure_scenarios import (
    Work,
    by_gdcm,
    by_orthanc,
    copied,
    dcmodify,
    edited,
    scenario,
    through,
    whole_by_orthanc,
)

HARMLESS = "harmless"


def _harmless(name: str, *options: str) -> None:
    scenario(name, HARMLESS, "harmless")(lambda work: through(name.split(maxsplit=1)[0], work.files, *options))


scenario("as it is", HARMLESS, "harmless")(lambda work: None)
_harmless("dcmconv implicit", "+ti")
_harmless("dcmconv explicit, group lengths", "+te", "+g")
_harmless("dcmconv big endian", "+tb")
_harmless("dcmconv deflated", "+td")
_harmless("dcmcrle")
_harmless("dcmcjpls lossless")
_harmless("dcmcjpeg lossless")
_harmless("dcmcjpeg lossy as it says", "+ee", "+q", "90")
for _syntax in ("ImplicitVRLittleEndian", "ExplicitVRLittleEndian", "JPEG2000Lossless", "RLELossless"):
    scenario(f"GDCM {_syntax}", HARMLESS, "harmless")(
        lambda work, syntax=_syntax: [by_gdcm(path, syntax) for path in work.files] and None)


@scenario("pydicom saved", HARMLESS, "harmless")
def _(work: Work) -> None:
    edited(work.files, lambda data: None)


@scenario("pydicom saved, file meta anew", HARMLESS, "harmless")
def _(work: Work) -> None:
    def act(data: Dataset) -> None:
        for keyword in ("ImplementationClassUID", "ImplementationVersionName"):
            if keyword in data.file_meta:
                del data.file_meta[keyword]
    edited(work.files, act, enforce_file_format=True)


@scenario("pydicom, private elements out", HARMLESS, "harmless")
def _(work: Work) -> None:
    edited(work.files, lambda data: data.remove_private_tags())


@scenario("pydicom, de-identified with new UIDs and dates", HARMLESS, "harmless")
def _(work: Work) -> None:
    _deidentified(work)


@scenario("pydicom, de-identified, and then once more with the first there", HARMLESS, "harmless")
def _(work: Work) -> None:
    _deidentified(work)
    copied(work.files, work.folder / "a")
    _deidentified(work, "ANON2")


@scenario("pydicom, de-identified, the original there", HARMLESS, "harmless")
def _(work: Work) -> None:
    copied(work.host, work.folder / "a")
    _deidentified(work)


def _deidentified(work: Work, name: str = "ANON") -> None:
    uids: dict[str, str] = {}

    def act(data: Dataset) -> None:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            if data.get(keyword):
                setattr(data, keyword, uids.setdefault(str(getattr(data, keyword)), generate_uid()))
        for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
            if data.get(keyword):
                setattr(data, keyword, "19000101")
        data.PatientName, data.PatientID, data.PatientBirthDate = name, name, ""
        data.PatientIdentityRemoved, data.DeidentificationMethod = "YES", "a script"
        data.file_meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID") or "1.2.3"
    edited(work.files, act)


@scenario("dcmconv implicit, last two slices", HARMLESS, "harmless")
def _(work: Work) -> None:
    through("dcmconv", work.files[-2:], "+ti")


@scenario("dcmodify, patient corrected", HARMLESS, "harmless")
def _(work: Work) -> None:
    dcmodify(work.files, "-i", "PatientName=CORRECTED^NAME", "-i", "InstitutionName=Elsewhere")


@scenario("dcmodify, coerced by an archive, references out", HARMLESS, "harmless")
def _(work: Work) -> None:
    dcmodify(work.files, "-i", "AccessionNumber=A1", "-i", "StudyDescription=CHEST", "-ea", "RequestAttributesSequence",
             "-ea", "ReferencedPerformedProcedureStepSequence", "-i", "RetrieveAETitle=PACS")


@scenario("dcmodify, patient's name corrected in half", HARMLESS, "harmless")
def _(work: Work) -> None:
    dcmodify(work.files[len(work.files) // 2:], "-i", "PatientName=CORRECTED^NAME")


@scenario("Orthanc stored and fetched", HARMLESS, "harmless")
def _(work: Work) -> None:
    by_orthanc(work, work.files, "file", "")


@scenario("Orthanc, patient corrected with UIDs kept", HARMLESS, "harmless")
def _(work: Work) -> None:
    by_orthanc(work, work.files, "modify", '{"Replace": {"PatientName": "CORRECTED"}, "Keep": ["StudyInstanceUID", '
               '"SeriesInstanceUID", "SOPInstanceUID"], "Force": true}')


@scenario("Orthanc anonymised", HARMLESS, "harmless")
def _(work: Work) -> None:
    whole_by_orthanc(work, "studies", "anonymize", "{}")


@scenario("half of the series, and the original there", HARMLESS, "harmless")
def _(work: Work) -> None:
    copied(work.host, work.folder / "a")
    for path in work.files[len(work.files) // 2:] if len(work.files) > 1 else []:
        path.unlink()


@scenario("Orthanc anonymised, the original there", HARMLESS, "harmless")
def _(work: Work) -> None:
    copied(work.host, work.folder / "a")
    whole_by_orthanc(work, "studies", "anonymize", "{}")
