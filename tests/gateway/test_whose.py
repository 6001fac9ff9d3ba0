"""Whose study it is: two patients whose IDs differ are two, whatever their IDs are made of."""

import pydicom
import pytest

from scanward.formats.identity import identity_of


@pytest.mark.parametrize(("one", "other"), [
    ("4711", "4711\x01"), ("A B", "A  B"), ("A B", "A\tB"), ("9" * 150 + "1", "9" * 150 + "2"), ("P\u202e1", "P 1"),
    ("A\\B", "['A', 'B']"),
])
def test_two_ids_that_look_alike_on_one_line_are_two(dicom, tmp_path, one, other):
    found = []
    for name, said in (("one.dcm", one), ("other.dcm", other)):
        path = dicom.file(tmp_path / name)
        header = pydicom.dcmread(path)
        header.SpecificCharacterSet = "ISO_IR 192"
        with pydicom.config.disable_value_validation():
            header.PatientID = header.IssuerOfPatientID = said
            header.save_as(path)
        found.append(identity_of(path))
    assert len({who.patient_id for who in found}) == len({who.issuer for who in found}) == 2
    assert all(who.patient_id.isprintable() and len(who.patient_id) <= 120 for who in found)


def test_an_ordinary_id_stays_as_it_is(dicom, tmp_path):
    path = dicom.file(tmp_path / "a.dcm")
    header = pydicom.dcmread(path)
    header.PatientID = "PAT 4711 "
    header.save_as(path)
    assert identity_of(path).patient_id == "PAT 4711"
