"""A seal: what is the same is authentic whatever carried it, and whatever is another is not, and it says which."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outside import need
from PIL import Image as Pillow
from pydicom.uid import generate_uid
from sealable import VOLUME, ct_slice

from scanward.errors import ArgumentError, InputError, UnreadableError
from scanward.formats import Source, find
from scanward.seals.files import read_seal, seal_file, verify_seal
from scanward.seals.finding import named_seals
from scanward.seals.signing import signer_of


def source_of(path: Path) -> Source:
    (source,), errors = find([path])
    assert not errors
    return source


@pytest.fixture
def sealed(site):
    """Seals a file or folder, and answers with what holds others to that seal."""

    def seal(path: Path):
        made = read_seal(seal_file(source_of(path), site))

        def verify(other: Path, **options):
            return verify_seal(source_of(other), made, [site.certificate], **options)

        verify.seal = made
        return verify

    return seal


def labels(answer) -> tuple[str, str, str]:
    return answer.voxels.label, answer.geometry.label, answer.identity.label


SAME = ("authentic", "authentic", "authentic")
TRANSFERS = [["dcmcjpeg", "+e1"], ["dcmcjpls"], ["dcmcrle"], ["dcmconv", "+tb"], ["dcmconv", "+ti"], ["dcmconv", "+td"]]


def test_sealing_changes_no_byte_and_says_who_sealed(sealed, series, film, site):
    before = {path: path.read_bytes() for path in (*series.iterdir(), film)}
    for path in (series, film):
        answer = sealed(path)(path)
        assert (labels(answer), answer.label, answer.signer) == (SAME, "authentic", "General Hospital")
    assert {path: path.read_bytes() for path in before} == before
    assert named_seals(source_of(film)) == [film.with_name("film.dcm.seal")]


@pytest.mark.parametrize("command", TRANSFERS)
def test_every_lossless_transfer_syntax_is_exact(sealed, series, film, tmp_path, command):
    need(command[0])
    for path in (series, film):
        verify, other = sealed(path), tmp_path / "other"
        shutil.rmtree(other, ignore_errors=True)
        other.mkdir()
        for file in source_of(path).paths:
            subprocess.run([*command, str(file), str(other / f"{file.stem[::-1]}x")], check=True, capture_output=True)
        assert labels(verify(other)) == SAME


def test_uids_names_and_order_of_files_do_not_count(sealed, series, tmp_path):
    verify, other = sealed(series), tmp_path / "other"
    other.mkdir()
    for number, path in enumerate(sorted(series.iterdir(), reverse=True)):
        data = pydicom.dcmread(path)
        data.SOPInstanceUID, data.SeriesInstanceUID, data.StudyInstanceUID = generate_uid(), "1.9.8", "1.9.7"
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(other / f"IM{number}")
    assert labels(verify(other)) == SAME


def test_a_copy_in_another_format_has_the_voxels_and_the_place_but_no_name(sealed, series, tmp_path):
    verify = sealed(series)
    hu = VOLUME.astype(np.int16) - 1024
    affine = np.array([[-0.6, 0, 0, 20], [0, -0.7, 0, 30], [0, 0, 2.5, 0], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine), tmp_path / "a.nii.gz")
    image = SimpleITK.GetImageFromArray(hu)
    image.SetSpacing((0.6, 0.7, 2.5))
    image.SetOrigin((-20, -30, 0))
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    for name in ("a.nii.gz", "a.mha"):
        answer = verify(tmp_path / name, identity="any")
        assert answer.label == "authentic"
        assert verify(tmp_path / name).identity.label == "inconclusive"


def test_an_anonymised_copy_is_taken_where_that_is_asked_for(sealed, film, tmp_path):
    verify, data = sealed(film), pydicom.dcmread(film)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate"):
        delattr(data, keyword)
    data.save_as(tmp_path / "anonymous.dcm")
    assert verify(tmp_path / "anonymous.dcm").label == "inconclusive"
    answer = verify(tmp_path / "anonymous.dcm", identity="any")
    assert answer.label == "authentic"
    assert "Not looked at" in answer.identity.reason


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(z=st.integers(0, 8), y=st.integers(0, 63), x=st.integers(0, 79), by=st.sampled_from([-1, 1, 700]))
def test_one_stored_value_that_is_another_is_found_where_it_is(site, tmp_path_factory, z, y, x, by):
    folder = tmp_path_factory.mktemp("one")
    for number in range(9):
        ct_slice(number).save_as(folder / f"{number}.dcm", enforce_file_format=True)
    seal = read_seal(seal_file(source_of(folder), site))
    pixels = VOLUME[z].copy()
    pixels[y, x] = (int(pixels[y, x]) + by) % 4096
    ct_slice(z, pixels).save_as(folder / f"{z}.dcm", enforce_file_format=True)
    answer = verify_seal(source_of(folder), seal, [site.certificate])
    assert answer.label == answer.voxels.label == "tampered"
    (box,) = answer.boxes
    assert all(low <= place < high for low, place, high in zip(
        (box.z0, box.y0, box.x0), (z, y, x), (box.z1, box.y1, box.x1), strict=True))
    assert max(box.size[1] * 0.7, box.size[2] * 0.6) <= 4


@pytest.mark.parametrize(("element", "value", "part", "words"), [
    ("PatientName", "Roe^Jane", "identity", "another PatientName"),
    ("PatientID", "P18", "identity", "another PatientID"),
    ("StudyDate", "20260103", "identity", "another StudyDate"),
    ("ImageLaterality", "R", "geometry", "Its ImageLaterality is R, and was L"),
    ("PhotometricInterpretation", "MONOCHROME1", "geometry", "Its PhotometricInterpretation is MONOCHROME1"),
    ("ImagerPixelSpacing", [0.2, 0.2], "geometry", "Its spacing is another than was sealed: 0.2 x 0.2 mm, and was 0.1"),
])
def test_another_header_is_tampered_and_named(sealed, film, tmp_path, element, value, part, words):
    verify, data = sealed(film), pydicom.dcmread(film)
    setattr(data, element, value)
    data.save_as(tmp_path / "other.dcm")
    answer = verify(tmp_path / "other.dcm")
    assert (answer.label, getattr(answer, part).label) == ("tampered", "tampered")
    assert words in answer.reason


def test_names_that_differ_behind_the_120th_letter_are_others(site, film, tmp_path):
    data = pydicom.dcmread(film)
    data.PatientName = "A" * 60 + "=" + "B" * 60 + "=" + "C" * 20 + "1"
    data.save_as(tmp_path / "one.dcm")
    seal = read_seal(seal_file(source_of(tmp_path / "one.dcm"), site))
    data.PatientName = "A" * 60 + "=" + "B" * 60 + "=" + "C" * 20 + "2"
    data.save_as(tmp_path / "two.dcm")
    assert verify_seal(source_of(tmp_path / "two.dcm"), seal, [site.certificate]).identity.label == "tampered"


@pytest.mark.parametrize(("change", "label", "words"), [
    (lambda folder: (folder / "4.dcm").unlink(), "inconclusive", "1 are missing, and the others are voxel by voxel"),
    (lambda folder: ct_slice(4, VOLUME[5], ImagePositionPatient=[-20, -30, 22.5], SOPInstanceUID="1.7").save_as(
        folder / "more.dcm", enforce_file_format=True), "tampered", "some are there more than once"),
    (lambda folder: ct_slice(4, VOLUME[4] + np.uint16(1), SOPInstanceUID="1.7").save_as(
        folder / "forged.dcm", enforce_file_format=True), "tampered",
     "not sealed was forged.dcm (sealed at its place: 4.dcm)"),
    (lambda folder: [ct_slice(z, VOLUME[8 - z]).save_as(folder / f"{z}.dcm", enforce_file_format=True)
                     for z in range(9)], "tampered", "in another order"),
    (lambda folder: [ct_slice(z, VOLUME[z] + np.uint16(1)).save_as(folder / f"{z}.dcm", enforce_file_format=True)
                     for z in range(9)], "inconclusive", "processed as a whole"),
    (lambda folder: [ct_slice(z, RescaleSlope=2).save_as(folder / f"{z}.dcm", enforce_file_format=True)
                     for z in range(9)], "inconclusive", "processed as a whole"),
])
def test_slices_missing_added_swapped_or_all_changed(sealed, series, change, label, words):
    verify = sealed(series)
    change(series)
    answer = verify(series)
    assert answer.label == label
    assert words in answer.voxels.reason


def test_a_slice_more_at_a_place_and_another_gone_is_named(sealed, series):
    verify = sealed(series)
    (series / "8.dcm").unlink()
    ct_slice(4, VOLUME[4] + np.uint16(1), SOPInstanceUID="1.7").save_as(series / "x.dcm", enforce_file_format=True)
    answer = verify(series)
    assert answer.label == "tampered"
    assert "not sealed was x.dcm (sealed at its place: 4.dcm)" in answer.voxels.reason


def test_copies_of_slices_are_said(sealed, series):
    verify = sealed(series)
    (series / "copy.dcm").write_bytes((series / "4.dcm").read_bytes())
    answer = verify(series)
    assert answer.voxels.label == answer.label == "inconclusive"
    assert answer.voxels.reason.endswith("by which programs may show it otherwise: copy.dcm; take them away.")
    seal_file(source_of(series), signer_of(bytes(32)), series, said=(said := []))
    assert said == [f"{series} holds copies of slices (copy.dcm), which its seal leaves out; take them away, "
                    "as with them it is inconclusive."]
    (series / "copy.dcm").unlink()
    assert verify_seal(source_of(series), read_seal(series / "series.seal"),
                       [signer_of(bytes(32)).certificate]).label == "authentic"


def test_phases_at_one_place_are_all_sealed_and_that_is_said(site, series):
    ct_slice(4, VOLUME[4] + np.uint16(1), SOPInstanceUID="1.7").save_as(series / "more.dcm", enforce_file_format=True)
    path = seal_file(source_of(series), site, said=(said := []))
    (sentence,) = said
    assert "several slices with other voxels at one position (4.dcm, more.dcm); all are sealed" in sentence
    assert labels(verify_seal(source_of(series), read_seal(path), [site.certificate])) == SAME
    (series / "more.dcm").unlink()
    assert verify_seal(source_of(series), read_seal(path), [site.certificate]).label == "inconclusive"


def test_nobody_vouches_with_another_key_and_no_seal_can_be_edited(site, film, tmp_path):
    stranger = signer_of(bytes(32), "General Hospital")
    path = seal_file(source_of(film), stranger)
    answer = verify_seal(source_of(film), read_seal(path), [site.certificate])
    assert answer.label == "inconclusive"
    assert "whose certificate was not given" in answer.reason
    whole = json.loads(path.read_text())
    for key, value in whole["body"].items():
        other = json.loads(json.dumps(whole))
        other["body"][key] = {"a": "b"} if isinstance(value, dict) else [*value, 3] if isinstance(value, list) else \
            value + 1 if isinstance(value, int) else value[:-8] + "AAAAAAA="
        path.write_text(json.dumps(other))
        with pytest.raises(UnreadableError, match=r"film\.dcm\.seal"):
            read_seal(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"body": {}, "signature": ""}', "[" * 100_000, "\0" * 9])
def test_what_is_no_seal_is_one_sentence(tmp_path, text):
    (tmp_path / "x.seal").write_text(text)
    with pytest.raises(InputError, match=r"x\.seal is no seal"):
        read_seal(tmp_path / "x.seal")


def test_nothing_is_overwritten(site, film):
    seal_file(source_of(film), site)
    with pytest.raises(ArgumentError, match="exists already"):
        seal_file(source_of(film), site)


@pytest.mark.parametrize("kind", ["rgb", "palette", "wide", "float", "frames"])
def test_images_that_no_detector_reads_are_sealed_too(site, film, tmp_path, kind):
    data = pydicom.dcmread(film)
    data.SOPClassUID, data.Modality = "1.2.840.10008.5.1.4.1.1.6.1", "US"
    values = np.random.default_rng(2).integers(0, 255, (40, 48, 3)).astype(np.uint8)
    data.Rows, data.Columns = 40, 48
    if kind == "rgb":
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelData = 8, 8, 7, values.tobytes()
    elif kind == "palette":
        data.PhotometricInterpretation, data.BitsAllocated, data.BitsStored, data.HighBit = "PALETTE COLOR", 8, 8, 7
        data.PixelData = values[..., 0].tobytes()
        for colour in ("Red", "Green", "Blue"):
            setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            data[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
            setattr(data, f"{colour}PaletteColorLookupTableData", bytes(range(256)) * 2)
    elif kind == "wide":
        data.BitsAllocated = data.BitsStored = 32
        data.HighBit, data.PixelData = 31, (values[..., 0].astype(np.uint32) << 20).tobytes()
    elif kind == "float":
        del data.PixelData
        data.BitsAllocated, data.FloatPixelData = 32, (values[..., 0] / 7).astype("<f4").tobytes()
        del data.BitsStored, data.HighBit, data.PixelRepresentation
    else:
        data.NumberOfFrames, data.BitsAllocated, data.BitsStored, data.HighBit = 3, 8, 8, 7
        data.PixelData = values.transpose(2, 0, 1).tobytes()
    path = tmp_path / f"{kind}.dcm"
    data.save_as(path)
    seal = read_seal(seal_file(Source((path,), "file"), site))
    assert verify_seal(Source((path,), "file"), seal, [site.certificate]).label == "authentic"
    tag = "FloatPixelData" if kind == "float" else "PixelData"
    body = bytearray(data[tag].value)
    body[-3] ^= 1
    data[tag].value = bytes(body)
    data.save_as(path)
    assert verify_seal(Source((path,), "file"), seal, [site.certificate]).voxels.label == "tampered"
    if kind == "palette":
        body[-3] ^= 1
        data[tag].value, data.RedPaletteColorLookupTableData = bytes(body), bytes(512)
        data.save_as(path)
        assert verify_seal(Source((path,), "file"), seal, [site.certificate]).geometry.label == "tampered"


def test_rasters(site, tmp_path):
    values = np.random.default_rng(4).integers(0, 65536, (70, 50)).astype(np.uint16)
    Pillow.fromarray(values).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", values)
    seal = read_seal(seal_file(source_of(tmp_path / "a.png"), site))
    assert verify_seal(source_of(tmp_path / "a.npy"), seal, [site.certificate]).voxels.label == "authentic"
    values[3, 3] ^= 1
    Pillow.fromarray(values).save(tmp_path / "a.png")
    assert verify_seal(source_of(tmp_path / "a.png"), seal, [site.certificate]).label == "tampered"


@pytest.mark.parametrize(("elements", "part"), [
    ({"PatientName": "Other^X"}, "identity"), ({"PatientID": "999"}, "identity"),
    ({"StudyDate": "19990101"}, "identity"),
    ({"PhotometricInterpretation": "MONOCHROME1"}, "geometry"), ({"Laterality": "R"}, "geometry"),
    ({"PresentationLUTShape": "INVERSE"}, "geometry"), ({"RescaleSlope": "2"}, "voxels")])
def test_one_slice_that_says_something_else_is_enough(sealed, series, elements, part):
    verify = sealed(series)
    ct_slice(4, **elements).save_as(series / "4.dcm", enforce_file_format=True)
    answer = verify(series)
    assert answer.label != "authentic"
    assert getattr(answer, part).label != "authentic"


@pytest.mark.parametrize("elements", [{"PixelSpacing": [0.3, 0.3]}, {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}])
def test_a_slice_of_another_size_or_turned_is_no_part_of_a_series(sealed, series, elements):
    verify = sealed(series)
    ct_slice(4, **elements).save_as(series / "4.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="mixes"):
        verify(series)


def test_the_same_name_in_other_letters_is_the_same(sealed, film):
    verify, data = sealed(film), pydicom.dcmread(film)
    data.PatientName = "Doe^Jane^^^"
    data.save_as(film)
    assert verify(film).label == "authentic"


UNSIGNED = {
    "another value of the body": lambda text: text.replace('{"body": {', '{"body": {"more": 1, ', 1),
    "another value beside it": lambda text: text.replace('{"body"', '{"more": 1, "body"', 1),
    "a second name": lambda text: text.replace('"made"', '"made": "2001-01-01T00:00:00+00:00", "made"', 1),
    "a second body": lambda text: text.replace('{"body"', '{"body": {}, "body"', 1),
    "a space": lambda text: text.replace(", ", ",  ", 1),
    "another order": lambda text: json.dumps(json.loads(text), sort_keys=True, indent=1),
    "an escape": lambda text: text.replace('"name"', '"\\u006eame"', 1),
    "bits behind the signature": lambda text: re.sub(r'.(=+)"', lambda end: chr(ord(end[0][0]) + 1) + end[1] + '"',
                                                     text),
}


@pytest.mark.parametrize("change", list(UNSIGNED))
def test_what_is_not_signed_has_no_place_in_a_seal(site, film, change):
    path = seal_file(source_of(film), site)
    whole = path.read_text()
    changed = UNSIGNED[change](whole)
    assert changed != whole
    path.write_text(changed)
    with pytest.raises(UnreadableError, match="is damaged"):
        read_seal(path)
