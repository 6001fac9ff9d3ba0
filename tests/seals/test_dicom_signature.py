"""DICOM digital signatures: copies that DCMTK verifies, and what is heard of signatures that DCMTK made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from outside import need
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from sealable import FILM, MG, made, rewritten, signing_pair

from scanward.formats.sources import Source, series_or_file
from scanward.seals.dicom_keys import read_dicom_certificate, read_dicom_signer
from scanward.seals.dicom_signature import hear, signed_copy

DCMSIGN = Path(__file__).parent / "dcmsign"
SYNTAXES = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian, "big": ExplicitVRBigEndian,
            "deflated": DeflatedExplicitVRLittleEndian, "rle": RLELossless}


def rich(path: Path, syntax: str = "explicit", **elements: object) -> Path:
    """A film with sequences in sequences, empty ones, private elements, and words that other byte orders turn."""
    data = made(FILM, "1.2.6", SOPClassUID=MG, Modality="MG", ImagerPixelSpacing=[0.1, 0.1], ImageLaterality="L",
                ViewPosition="MLO", SmallestImagePixelValue=3, **elements)
    inner, view = Dataset(), Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "R-2", "X", "modifier"
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "R-1", "X", "view"
    view.ViewModifierCodeSequence = [inner]
    data.ViewCodeSequence, data.AnatomicRegionSequence = [view], []
    block = data.private_block(0x0021, "ACME", create=True)
    block.add_new(1, "LO", "private")
    if syntax != "implicit":
        block.add_new(2, "UN", b"abcd")
    if syntax == "rle":
        data.compress(RLELossless)
    data.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    if syntax == "big":
        data["PixelData"].value = FILM.astype(">u2").tobytes()
    pydicom.dcmwrite(path, data, implicit_vr=syntax == "implicit", little_endian=syntax != "big",
                     enforce_file_format=True)
    return path


def file(path: Path) -> Source:
    return Source((path,), "file")


def signed(path: Path, kind: str = "2048", name: str = "Scanner") -> Path:
    """Signed in place; the certificate."""
    key, certificate = signing_pair(path.parent, kind, name)
    path.write_bytes(signed_copy(path, read_dicom_signer(key, certificate)))
    return certificate


def heard(path: Path, *certificates: Path, identity: str = "same"):
    return hear(file(path), [read_dicom_certificate(one) for one in certificates], identity)


def dcmsign(*arguments: object) -> str:
    need("dcmsign")
    done = subprocess.run(["dcmsign", "-v", *map(str, arguments)], capture_output=True, text=True, check=False)
    return f"{done.returncode}\n{done.stdout}{done.stderr}"


def mac(data: Dataset) -> Dataset:
    return data["MACParametersSequence"].value[0]


def own(data: Dataset) -> Dataset:
    return data["DigitalSignaturesSequence"].value[0]


@pytest.mark.parametrize("kind", ["2048", "p256", "p384"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_dcmsign_verifies_what_we_sign(tmp_path, syntax, kind):
    path = rich(tmp_path / "film.dcm", syntax)
    certificate = signed(path, kind)
    said = dcmsign("--verify", *(["+rc"] if kind == "2048" else ["+rg"]), "+cf", certificate, path)
    assert said.startswith("0\n") and "Signature Verification      : OK" in said
    assert heard(path, certificate).label == "authentic"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_signed_copy_differs_in_the_two_sequences_alone(tmp_path, syntax):
    path = rich(tmp_path / "film.dcm", syntax)
    before = pydicom.dcmread(path)
    head = path.read_bytes()[:132 + 12 + before.file_meta.FileMetaInformationGroupLength]
    signed(path)
    after = pydicom.dcmread(path)
    assert path.read_bytes().startswith(head)
    del after["MACParametersSequence"], after["DigitalSignaturesSequence"]
    assert after == before
    assert after.PixelData == before.PixelData


@pytest.mark.parametrize("mac_option", ["+m2", "+m3", "+m5"])
@pytest.mark.parametrize("kind", ["2048", "p256", "p384"])
def test_what_dcmsign_signs_is_heard(tmp_path, kind, mac_option):
    for syntax in ("explicit", "implicit", "big", "rle"):
        path = rich(tmp_path / f"{syntax}.dcm", syntax)
        key, certificate = signing_pair(tmp_path, kind)
        assert dcmsign("+s", key, certificate, mac_option, path, path).startswith("0\n")
        assert heard(path, certificate).label == "authentic", syntax
        rewritten(path, lambda data: setattr(data, "PatientID", "P18"))
        answer = heard(path, certificate)
        assert (answer.label, answer.reason) == ("tampered", "What 'Scanner' signed was altered since."), syntax


@pytest.mark.parametrize("profile", ["-pf", "+pb", "+pc", "+pa"])
def test_every_profile_of_dcmsign_is_heard(tmp_path, profile):
    path = rich(tmp_path / "film.dcm")
    key, certificate = signing_pair(tmp_path)
    assert dcmsign("+s", key, certificate, profile, "+m2", "+sp", "14", path, path).startswith("0\n")
    assert heard(path, certificate).label == "authentic"


@pytest.mark.parametrize(("option", "name"), [("+ms", "SHA1"), ("+mm", "MD5"), ("+mr", "RIPEMD160")])
def test_a_weak_algorithm_vouches_for_nothing(tmp_path, option, name):
    path = rich(tmp_path / "film.dcm")
    key, certificate = signing_pair(tmp_path)
    assert dcmsign("+s", key, certificate, option, path, path).startswith("0\n")
    answer = heard(path, certificate)
    assert (answer.label, name in answer.reason) == ("inconclusive", True)


def test_two_signatures_of_dcmsign(tmp_path):
    rsa, ec = DCMSIGN / "rsa.pem", DCMSIGN / "ec.pem"
    for certificates, signers in (([rsa], ("Scanner 1",)), ([ec], ("Scanner 2",)),
                                  ([rsa, ec], ("Scanner 1", "Scanner 2"))):
        answer = heard(DCMSIGN / "two.dcm", *certificates)
        assert (answer.label, answer.signers) == ("authentic", signers)
    assert "0021" in " ".join(answer.heard[0].signature.uncovered), "UN is never covered"
    stranger = heard(DCMSIGN / "two.dcm", signing_pair(tmp_path)[1])
    assert (stranger.label, stranger.trusted) == ("inconclusive", False)
    assert "whose certificate was not given" in stranger.reason
    copy = tmp_path / "copy.dcm"
    whole = (DCMSIGN / "two.dcm").read_bytes()
    copy.write_bytes(whole.replace(b"MLO ", b"CC  "))
    assert heard(copy, rsa).label == "tampered"


def test_dcmsigns_weak_item_and_jpeg_signatures():
    rsa, ec = DCMSIGN / "rsa.pem", DCMSIGN / "ec.pem"
    weak = heard(DCMSIGN / "weak.dcm", rsa)
    assert (weak.label, "RIPEMD160 is too weak" in weak.reason) == ("inconclusive", True)
    item = heard(DCMSIGN / "item.dcm", rsa)
    assert (item.label, item.reason) == ("inconclusive", "Its signatures cover items of sequences only, and vouch for "
                                                         "no pixel.")
    assert (item.heard[0].label, item.heard[0].signature.place) == ("authentic", "item 1 of ViewCodeSequence")
    jpeg = heard(DCMSIGN / "jpeg.dcm", ec)
    assert jpeg.label == "authentic"


def test_an_item_that_was_altered_under_its_signature(tmp_path):
    copy = tmp_path / "copy.dcm"
    copy.write_bytes((DCMSIGN / "item.dcm").read_bytes().replace(b"modifier", b"MODIFIER"))
    answer = heard(copy, DCMSIGN / "rsa.pem")
    assert (answer.label, "in item 1 of ViewCodeSequence was altered" in answer.reason) == ("tampered", True)


@pytest.mark.parametrize(("tags", "words"), [
    (["PixelData"], "does not cover its BitsAllocated, BitsStored, Columns"),
    (["Rows", "PatientID"], "does not cover the pixels"),
])
def test_what_dcmsign_covers_in_part_is_said(tmp_path, tags, words):
    path = rich(tmp_path / "film.dcm")
    key, certificate = signing_pair(tmp_path)
    assert dcmsign("+s", key, certificate, "+m2", *(part for tag in tags for part in ("-t", tag)), path,
                   path).startswith("0\n")
    answer = heard(path, certificate)
    assert (answer.label, words in answer.reason) == ("inconclusive", True)
    assert set(answer.heard[0].signature.names) == set(tags)
    assert "ViewPosition" in answer.heard[0].signature.uncovered


def test_every_signed_byte_counts(tmp_path):
    path = rich(tmp_path / "film.dcm")
    certificate = signed(path)
    whole = path.read_bytes()
    start = whole.index(b"\x08\0\x16\0UI")
    end = whole.index(b"\xfe\x4f\x01\0SQ")
    numbers = np.random.default_rng(5)
    pixels, unknown = whole.index(b"\xe0\x7f\x10\0OW") + 12, whole.index(b"\x21\0\x02\x10UN")
    for place in [*numbers.integers(start, end, 60), *numbers.integers(pixels, pixels + 38400, 20)]:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(numbers.integers(8))
        path.write_bytes(changed)
        try:
            answer = heard(path, certificate)
        except Exception as error:
            assert type(error).__name__ == "UnreadableError"
            continue
        assert answer.label != "authentic" or 0 <= place - unknown < 16, hex(place)


@pytest.mark.parametrize(("change", "label", "words"), [
    (lambda d: setattr(d, "PixelData", b"\0" + d.PixelData[1:-1] + b"\7"), "tampered", "was altered since"),
    (lambda d: delattr(d, "ViewPosition"), "tampered", "was altered since"),
    (lambda d: setattr(d.ViewCodeSequence[0], "CodeMeaning", "x"), "tampered", "was altered since"),
    (lambda d: setattr(d, "PatientOrientation", ["A", "F"]), "inconclusive", "does not cover its PatientOrientation"),
    (lambda d: setattr(d, "RescaleSlope", 2), "inconclusive", "does not cover its RescaleSlope"),
    (lambda d: setattr(d, "StudyID", "4"), "authentic", "bit for bit"),
    (lambda d: setattr(mac(d), "MACIDNumber", 9), "inconclusive", "no MAC parameters of its number"),
    (lambda d: d.MACParametersSequence.append(mac(d)), "inconclusive", "two MAC parameters have its number"),
    (lambda d: delattr(d, "MACParametersSequence"), "inconclusive", "no MAC parameters of its number"),
    (lambda d: delattr(own(d), "MACIDNumber"), "inconclusive", "no MAC parameters of its number"),
    (lambda d: setattr(mac(d), "DataElementsSigned", None), "inconclusive", "does not say which elements"),
    (lambda d: setattr(mac(d), "DataElementsSigned", [*mac(d).DataElementsSigned] * 9), "authentic", "bit for bit"),
    (lambda d: setattr(mac(d), "DataElementsSigned", [*mac(d).DataElementsSigned, 0x00104000]), "authentic", "bit"),
    (lambda d: setattr(mac(d), "DataElementsSigned", mac(d).DataElementsSigned[1:]), "tampered", "was altered"),
    (lambda d: setattr(mac(d), "MACAlgorithm", "SHA512"), "tampered", "was altered since"),
    (lambda d: setattr(mac(d), "MACAlgorithm", "CRC32"), "inconclusive", "CRC32 is unknown"),
    (lambda d: setattr(mac(d), "MACCalculationTransferSyntaxUID", "1.2.3"), "inconclusive", "another transfer syntax"),
    (lambda d: setattr(mac(d), "MACCalculationTransferSyntaxUID", ExplicitVRBigEndian), "inconclusive", "another tr"),
    (lambda d: setattr(own(d), "CertificateType", "NONE"), "inconclusive", "no certificate of a kind"),
    (lambda d: setattr(own(d), "DigitalSignatureDateTime", "20200101"), "tampered", "was altered since"),
    (lambda d: setattr(own(d), "Signature", b""), "tampered", "was altered since"),
    (lambda d: setattr(own(d), "Signature", b"\0" * 300), "tampered", "was altered since"),
    (lambda d: setattr(own(d), "CertificateOfSigner", b"0\x82\xff\xff" * 9), "inconclusive", "no certificate that can"),
    (lambda d: delattr(own(d), "CertificateOfSigner"), "inconclusive", "no certificate that can"),
])
def test_hostile_files(tmp_path, change, label, words):
    path = rich(tmp_path / "film.dcm")
    certificate = signed(path)
    rewritten(path, change)
    answer = heard(path, certificate)
    assert (answer.label, words in answer.reason) == (label, True), answer.reason


def test_too_many_signatures_and_an_element_said_twice(tmp_path, run):
    path = rich(tmp_path / "film.dcm")
    certificate = signed(path)
    whole = path.read_bytes()
    rewritten(path, lambda d: d.DigitalSignaturesSequence.extend([own(d)] * 40))
    code, _, err = run("verify", path, "--certificate", certificate)
    assert (code, "more than 32 digital signatures" in err) == (2, True)
    path.write_bytes(whole.replace(b"\x28\0\x10\0US\x02\0\xa0\0", b"\x28\0\x10\0US\x02\0\xa0\0" * 2))
    code, _, err = run("verify", path, "--certificate", certificate)
    assert (code, "says an element twice, or out of order (00280010)" in err) == (2, True)
    path.write_bytes(whole[:-20])
    assert run("verify", path, "--certificate", certificate)[0] == 2


def test_a_signature_holds_in_every_uncompressed_syntax_and_in_no_other(tmp_path):
    path = rich(tmp_path / "film.dcm")
    certificate = signed(path)
    private = tmp_path / "implicit.dcm"
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.save_as(private, implicit_vr=True)
    answer = heard(private, certificate)
    assert (answer.label, "representation this file does not say" in answer.reason) == ("inconclusive", True)
    rewritten(path, lambda d: d.compress(RLELossless, generate_instance_uid=False))
    answer = heard(path, certificate)
    assert (answer.label, "holds only for another transfer syntax" in answer.reason) == ("inconclusive", True)
    packed = rich(tmp_path / "rle.dcm", "rle")
    certificate = signed(packed)
    rewritten(packed, lambda d: d.decompress(generate_instance_uid=False))
    answer = heard(packed, certificate)
    assert (answer.label, "holds only for another transfer syntax" in answer.reason) == ("inconclusive", True)


def test_dcmconv_changes_no_signature(tmp_path):
    need("dcmconv")
    path = tmp_path / "film.dcm"
    made(FILM, "1.2.6", SOPClassUID=MG, Modality="MG", PixelRepresentation=1, SmallestImagePixelValue=-4).save_as(
        path, enforce_file_format=True)
    certificate = signed(path)
    for option in ("+ti", "+tb", "+td", "+te"):
        subprocess.run(["dcmconv", option, path, path], check=True)
        assert heard(path, certificate).label == "authentic", option


def test_a_table_of_frames_that_was_added_is_not_vouched_for(tmp_path):
    """It can name a part of the signed bytes as the frame that pydicom shows."""
    path = rich(tmp_path / "film.dcm", "rle")
    certificate = signed(path)
    assert heard(path, certificate).label == "authentic"
    rewritten(path, lambda d: (setattr(d, "ExtendedOffsetTable", bytes(8)),
                               setattr(d, "ExtendedOffsetTableLengths", (66).to_bytes(8, "little"))))
    answer = heard(path, certificate)
    assert (answer.label, "does not cover its ExtendedOffsetTable" in answer.reason) == ("inconclusive", True)


def test_a_second_signature_leaves_the_first_in_force(tmp_path):
    path = rich(tmp_path / "film.dcm")
    first, second = signed(path), signed(path, "p256", "Archive")
    assert [one.signer for one in heard(path, first).heard] == ["Scanner", "Archive"]
    assert heard(path, first).label == heard(path, second).label == "authentic"
    said = dcmsign("--verify", "+cf", first, "+cf", second, path)
    assert said.count("Signature Verification      : OK") == 2


def test_identity(tmp_path):
    path = rich(tmp_path / "film.dcm")
    key, certificate = signing_pair(tmp_path)
    assert dcmsign("+s", key, certificate, "+pc", "+m2", "-t", "PixelData", *(part for tag in (
        "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SamplesPerPixel",
        "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
        "PixelRepresentation", "ImagerPixelSpacing", "ImageLaterality", "ViewPosition") for part in ("-t", tag)),
        path, path).startswith("0\n")
    answer = heard(path, certificate)
    assert (answer.voxels.label, answer.geometry.label, answer.identity.label) == (
        "authentic", "authentic", "inconclusive")
    assert "PatientID, PatientName" in answer.reason
    assert heard(path, certificate, identity="any").label == "authentic"


def test_a_series_is_one_answer(tmp_path, series):
    key, certificate = signing_pair(tmp_path)
    signer, known = read_dicom_signer(key, certificate), [read_dicom_certificate(certificate)]
    source = series_or_file(series)
    assert hear(source, known) is None
    for path in source.paths[1:]:
        path.write_bytes(signed_copy(path, signer))
    answer = hear(source, known)
    assert (answer.label, answer.reason) == ("inconclusive", "Not signed are 0.dcm.")
    source.paths[0].write_bytes(signed_copy(source.paths[0], signer))
    answer = hear(source, known)
    assert (answer.label, "All 9 slices" in answer.reason) == ("authentic", True)
    other = read_dicom_certificate(signing_pair(tmp_path, "p256", "Other")[1])
    strange = hear(source, [other])
    assert (strange.label, strange.trusted) == ("inconclusive", False)
    whole = source.paths[4].read_bytes()
    rewritten(source.paths[4], lambda data: setattr(data, "RescaleIntercept", 0))
    answer = hear(source, known)
    assert (answer.label, answer.reason) == ("tampered", "What 'Scanner' signed was altered since: 4.dcm.")
    source.paths[4].write_bytes(whole)
    (series / "again.dcm").write_bytes(source.paths[4].read_bytes())
    answer = hear(series_or_file(series), known)
    assert (answer.label, "one and the same SOP instance" in answer.reason) == ("inconclusive", True)


def test_more_tags_than_a_list_can_have(tmp_path):
    path = rich(tmp_path / "film.dcm", "implicit")
    certificate = signed(path)
    rewritten(path, lambda data: setattr(mac(data), "DataElementsSigned", [0x00280010] * 20000))
    answer = heard(path, certificate)
    assert (answer.label, "lists more than there can be" in answer.reason) == ("inconclusive", True)


def test_a_character_set_that_nobody_signed_reads_other_names(tmp_path):
    """Bytes of older devices, which name none: with another set they are other letters."""
    path, told = rich(tmp_path / "film.dcm"), rich(tmp_path / "told.dcm", SpecificCharacterSet="ISO_IR 100")
    certificate = signed(path)
    assert heard(path, certificate).identity.label == "authentic"
    signed(told)
    assert heard(told, certificate).identity.label == "authentic"
    rewritten(path, lambda data: setattr(data, "SpecificCharacterSet", "ISO_IR 144"))
    vouched = heard(path, certificate)
    assert (vouched.voxels.label, vouched.identity.label) == ("authentic", "inconclusive")
    assert "SpecificCharacterSet" in vouched.identity.reason
    assert heard(path, certificate, identity="any").identity.label == "authentic"
