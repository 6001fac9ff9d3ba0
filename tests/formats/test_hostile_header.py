"""Headers that no library takes: what is derived from such a film loses the odd value, and nothing else."""

import shutil
import struct
import subprocess
import warnings
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword

from scanward.box import Box
from scanward.errors import InputError
from scanward.formats import read
from scanward.formats.derived import write_dicom
from scanward.formats.reviewed import Opinion, write_review
from scanward.formats.write import write_altered
from scanward.verdict import Evidence, Finding, Verdict

MG = b"1.2.840.10008.5.1.4.1.1.1.2\0"
LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")
YAMADA = (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B")
"""PS3.5 annex H.3.1."""
HONG = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
"""PS3.5 annex I.2."""
SOUND = {"SpecificCharacterSet": (b"CS", b""), "SOPClassUID": (b"UI", MG), "SOPInstanceUID": (b"UI", b"1.2.3.4.5\0"),
         "StudyDate": (b"DA", b"20240229"), "StudyTime": (b"TM", b"101112"), "AccessionNumber": (b"SH", b"A9"),
         "Modality": (b"CS", b"MG"), "ReferringPhysicianName": (b"PN", b"Doe^John"),
         "StudyDescription": (b"LO", b"Screening"), "PatientName": (b"PN", b"Roe^Jane"), "PatientID": (b"LO", b"77"),
         "IssuerOfPatientID": (b"LO", b"Clinic"), "PatientBirthDate": (b"DA", b"19500131"),
         "PatientSex": (b"CS", b"F "), "PatientAge": (b"AS", b"074Y"), "StudyInstanceUID": (b"UI", b"1.2.3.4\0"),
         "SeriesInstanceUID": (b"UI", b"1.2.3.4.1\0"), "StudyID": (b"SH", b"S7"), "SeriesNumber": (b"IS", b"1 "),
         "PatientOrientation": (b"CS", b"A\\F"), "Laterality": (b"CS", b"L "),
         "ImageType": (b"CS", b"ORIGINAL\\PRIMARY"), "LossyImageCompression": (b"CS", b"01"),
         "LossyImageCompressionRatio": (b"DS", b"9.5 "), "LossyImageCompressionMethod": (b"CS", b"ISO_10918_1"),
         "SmallestImagePixelValue": (b"US", b"\0\0"), "DerivationDescription": (b"ST", b"none"),
         "SourceImageSequence": (b"SQ", b"")}
PIXELS = [("SamplesPerPixel", b"US", 1), ("PhotometricInterpretation", b"CS", b"MONOCHROME2 "), ("Rows", b"US", 48),
          ("Columns", b"US", 40), ("BitsAllocated", b"US", 16), ("BitsStored", b"US", 12), ("HighBit", b"US", 11),
          ("PixelRepresentation", b"US", 0),
          ("PixelData", b"OW", np.random.default_rng(0).integers(0, 4096, (48, 40), np.uint16).tobytes())]


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """In little-endian explicit VR, by hand: a library would refuse to write what these tests are about."""
    value += b" " * (len(value) % 2)
    length = b"\0\0" + struct.pack("<I", len(value)) if vr in LONG else struct.pack("<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + length + value


def film(path: Path, **odd: tuple[bytes, bytes]) -> Path:
    """A film whose elements are sound but those given, each as VR and bytes."""
    rest = {name: (vr, struct.pack("<H", v) if isinstance(v, int) else v) for name, vr, v in PIXELS}
    body = b"".join(element(*one) for one in sorted((tag_for_keyword(name), *one)
                                                    for name, one in (SOUND | rest | odd).items()))
    meta = element(0x00020002, b"UI", MG) + element(0x00020003, b"UI", b"1.2.3.4.5\0")
    meta += element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
    path.write_bytes(b"\0" * 128 + b"DICM" + element(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta + body)
    return path


def results(path: Path, folder: Path) -> dict[str, Path]:
    """SEG, SR and SC of a forged film."""
    image = read(path)
    heat = np.zeros(image.shape, np.float32)
    heat[0, 10:20, 5:15] = 0.9
    found = (Finding(Box(0, 10, 5, 1, 20, 15), 0.9, None, (), "self-reference"),)
    evidence = Evidence("self-reference", 0.9, 0.5, heat, 0.5, found)
    verdict = Verdict(0.9, 0.5, "tampered", heat, found, (evidence,), "default", "MG", image.provenance, "0.1.0")
    paths = write_dicom(image, verdict, folder, overlay=np.zeros((48, 40, 3), np.uint8))
    return {one.stem.rsplit("-", 1)[1]: one for one in paths}


def raw(path: Path, keyword: str) -> bytes:
    return bytes(pydicom.dcmread(path).get_item(keyword).value)


def complaints(path: Path) -> list[str]:
    """What the validator calls an error."""
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


ABROAD = {
    "japanese": ({"SpecificCharacterSet": (b"CS", b"\\ISO 2022 IR 87"), "PatientName": (b"PN", YAMADA)},
                 "Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
    "korean": ({"SpecificCharacterSet": (b"CS", b"\\ISO 2022 IR 149"), "PatientName": (b"PN", HONG)},
               "Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
    "slip": ({"SpecificCharacterSet": (b"CS", b"ISO IR 100"), "PatientName": (b"PN", b"M\xfcller^J\xfcrgen")},
             "Müller^Jürgen", "ISO_IR 100"),
    "unicode": ({"SpecificCharacterSet": (b"CS", b"ISO_IR 192"), "PatientName": (b"PN", "Müller^Zoë".encode())},
                "Müller^Zoë", "ISO_IR 192"),
}


@pytest.mark.needs("dciodvfy")
@pytest.mark.parametrize("case", ABROAD)
def test_a_name_in_any_script_is_right_in_results_and_reviews(tmp_path, case):
    odd, name, charset = ABROAD[case]
    path = film(tmp_path / "film.dcm", **odd)
    made = results(path, tmp_path / "out")
    assert set(made) == {"seg", "sr", "sc"}
    for one in made.values():
        data = pydicom.dcmread(one)
        assert (str(data.PatientName), data.PatientID, data.SpecificCharacterSet) == (name, "77", charset)
        assert raw(one, "PatientName").strip() == odd["PatientName"][1].strip()
        assert complaints(one) == []
    review = write_review([path], opinion(), tmp_path / "out")
    assert str(pydicom.dcmread(review).PatientName) == name
    assert complaints(review) == []


def opinion() -> Opinion:
    from datetime import UTC, datetime

    return Opinion("reader", datetime(2026, 1, 2, tzinfo=UTC), "accept", "", "tampered", 0.9)


def test_of_two_names_neither_is_taken_and_all_else_is(tmp_path):
    path = film(tmp_path / "film.dcm", PatientName=(b"PN", b"A^B\\C^D"))
    for one in results(path, tmp_path / "out").values():
        data = pydicom.dcmread(one)
        assert not data.PatientName
        assert (data.PatientID, data.StudyInstanceUID, data.AccessionNumber) == ("77", "1.2.3.4", "A9")


@pytest.mark.parametrize("keyword, odd", [
    ("AccessionNumber", (b"SH", b"A" * 40)), ("StudyDate", (b"DA", b"20240231")), ("PatientAge", (b"AS", b"old ")),
    ("PatientName", (b"SQ", b"")), ("PatientID", (b"US", b"77")), ("PatientSex", (b"CS", b"\xff\xfe")),
    ("StudyTime", (b"TM", b"101112-111111 ")), ("StudyDescription", (b"LO", b"a\x07\x1b$B")),
    ("LossyImageCompressionRatio", (b"DS", b"1e999999999999999999")), ("Laterality", (b"FD", b"\xff" * 8))])
def test_a_value_that_is_none_is_left_out_alone(tmp_path, keyword, odd):
    for one in results(film(tmp_path / "film.dcm", **{keyword: odd}), tmp_path / "out").values():
        data = pydicom.dcmread(one)
        assert not data.get(keyword)
        kept = {"PatientID": "77", "PatientName": "Roe^Jane", "StudyID": "S7"}
        assert {name: data.get(name) for name in kept if name != keyword} == {
            name: value for name, value in kept.items() if name != keyword}


def test_what_an_unknown_character_set_means_is_not_guessed(tmp_path):
    path = film(tmp_path / "film.dcm", SpecificCharacterSet=(b"CS", b"utf_16"), PatientName=(b"PN", b"M\xfcller"))
    for one in results(path, tmp_path / "out").values():
        data = pydicom.dcmread(one)
        assert (data.PatientID, str(data.PatientName)) == ("77", "")
        assert "SpecificCharacterSet" not in data


def test_an_image_that_cannot_be_referred_to_does_not_cost_the_review_of_another(tmp_path):
    good = film(tmp_path / "good.dcm")
    bad = film(tmp_path / "bad.dcm", SOPInstanceUID=(b"UI", b"1.2\\1.3 "))
    report = pydicom.dcmread(write_review([bad, good], opinion(), tmp_path / "out"))
    named = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in report.ContentSequence
             if item.ValueType == "IMAGE"]
    assert named == ["1.2.3.4.5"]


@pytest.mark.parametrize("case", ABROAD)
def test_such_a_film_is_altered_like_any_other(tmp_path, case):
    odd, name, _ = ABROAD[case]
    path = film(tmp_path / "film.dcm", **odd)
    image = read(path)
    brighter = image.with_plane(np.clip(image.plane + 1, 0, 4095))
    made = write_altered(brighter, tmp_path / "altered.dcm", description="Brighter.", synthetic=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the slip is the host's, and stays
        assert str(pydicom.dcmread(made).PatientName) == name
        assert raw(made, "PatientName").strip() == odd["PatientName"][1].strip()
    assert np.array_equal(read(made).plane, brighter.plane)


VRS = st.sampled_from([b"AE", b"AS", b"CS", b"DA", b"DS", b"FD", b"IS", b"LO", b"OB", b"PN", b"SH", b"SQ", b"ST",
                       b"TM", b"UI", b"UN", b"US", b"UT", b"ZZ"])
CHARSETS = st.sampled_from([b"ISO IR 100", b"ISO_IR 192", b"\\ISO 2022 IR 87", b"ISO_IR 13\\ISO 2022 IR 87", b"zlib",
                            b"GB18030", b"ISO_IR 192\\ISO 2022 IR 6", b"ISO_IR 999", b"undefined", b"idna", b"\\\\\\"])
VALUES = st.one_of(st.binary(max_size=90), st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")),
                   st.sampled_from([b"\\", b"=" * 9, b"^" * 70, b"9" * 70, b"-1", b"\x1b$B", b"\0" * 8, YAMADA]))
ODD = st.dictionaries(st.sampled_from(sorted(SOUND)), st.tuples(VRS, VALUES), min_size=1, max_size=4)


@settings(max_examples=15)
@given(odd=ODD, charset=CHARSETS)
@example(odd={"SOPInstanceUID": (b"UI", b"1.2\\1.3")}, charset=b"ISO_IR 100")
@example(odd={"SmallestImagePixelValue": (b"SS", b"\0\0"), "SourceImageSequence": (b"LO", b"x")}, charset=b"")
@example(odd={"ImageType": (b"US", b"\1\0")}, charset=b"")
@example(odd={"SpecificCharacterSet": (b"SQ", b"\0" * 8)}, charset=b"")
def test_no_header_breaks_a_writer(tmp_path_factory, odd, charset):
    """Valid objects or a sentence, from what scans, reviews, forges and protects."""
    folder = tmp_path_factory.mktemp("film")
    path = film(folder / "film.dcm", **({"SpecificCharacterSet": (b"CS", charset)} | odd))
    try:
        image = read(path)
    except InputError:
        return  # no verdict, and nothing to write
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one in _made(lambda: list(results(path, folder / "out").values())):
            _check(one)
        for one in _made(lambda: [write_review([path], opinion(), folder / "out")]):
            _check(one)
    for one in _made(lambda: [write_altered(image, folder / "altered.dcm", description="x", synthetic=True)]):
        again = read(one)
        assert np.array_equal(again.plane, image.plane) and again.provenance.synthetic
    assert [one.name for one in folder.rglob("*.part")] == []
    shutil.rmtree(folder)


def _made(write):
    try:
        return write()
    except InputError as error:
        assert "\n" not in str(error) and "film.dcm" in str(error)
        return []


def _check(path: Path) -> None:
    """It is read without a warning, by its kind's own reader too, and says what it refers to."""
    data = pydicom.dcmread(path)
    for item in data.iterall():
        assert item.value is not None or item.is_empty
    assert data.PatientID in ("", "77") or data.PatientID.isprintable()
    assert {len(data[name].value) > 0 for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")} == {True}
    if data.Modality == "SEG":
        hd.seg.segread(path)
    elif data.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33":
        hd.sr.srread(path)
