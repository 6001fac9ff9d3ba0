"""Seals as DICOM objects, which a PACS keeps beside the study."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from sealable import FILM, MG, VOLUME, ct_slice, made, rewritten, signing_pair
from small import altered

import scanward
from scanward.formats import key_object
from scanward.formats.key_object import GROUP, SEAL, read_key_object, seal_in
from scanward.formats.sources import Source
from scanward.protectors.seal import read_key
from scanward.seals.files import hold, read_seal
from scanward.seals.finding import named_seals
from scanward.seals.objects import objects_of
from scanward.seals.signing import signer_of


@pytest.fixture
def other(run, tmp_path):
    assert run("key", tmp_path / "other.key")[0] == 0
    return tmp_path / "other.key"


def alone(run, path, key, *more) -> Path:
    """The object with the seal of an image, whose own file is taken away."""
    assert run("seal", path, "--key", key, "--dicom", *more)[0] == 0
    path.with_name(f"{path.name}.seal").unlink()
    return path.with_name(f"{path.name}.seal.dcm")


def label(run, *arguments) -> tuple[int, str, str]:
    code, out, err = run("verify", *arguments)
    return code, out.split(":")[0], out + err


def test_the_object_is_of_the_study_and_refers_to_every_slice(run, key, series):
    path = alone(run, series, key)
    data = pydicom.dcmread(path)
    assert (data.Modality, data.StudyInstanceUID, data.PatientID) == ("KO", "1.2.3", "P17")
    assert data.ConceptNameCodeSequence[0].CodeValue == "113034"
    (study,) = data.CurrentRequestedProcedureEvidenceSequence
    (part,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, part.SeriesInstanceUID) == ("1.2.3", "1.2.4")
    uids = {f"1.2.5.{z}" for z in range(9)}
    assert {one.ReferencedSOPInstanceUID for one in part.ReferencedSOPSequence} == uids
    assert {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in data.ContentSequence[1:]} == uids


@pytest.mark.needs("dciodvfy")
@pytest.mark.parametrize("kind", ["", "2048", "p256"])
def test_dciodvfy_finds_no_error(run, key, film, tmp_path, kind):
    private, certificate = signing_pair(tmp_path, kind or "2048")
    path = alone(run, film, key, *(("--signing-key", private, "--certificate", certificate) if kind else ()))
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    assert "KeyObjectSelectionDocument" in done.stderr + done.stdout
    assert "Error" not in done.stderr + done.stdout


@pytest.mark.needs("dcmsign")
def test_dcmsign_verifies_a_signed_object(run, key, film, tmp_path):
    for kind in ("2048", "p384"):
        private, certificate = signing_pair(tmp_path, kind)
        path = alone(run, film, key, "--signing-key", private, "--certificate", certificate)
        data = pydicom.dcmread(path)
        assert data.ConceptNameCodeSequence[0].CodeValue == "113035"
        need_report = ["+rs"] if kind == "2048" else ["+rg"]
        done = subprocess.run(["dcmsign", "--verify", *need_report, "+cf", certificate, path], check=False)
        assert done.returncode == 0
        path.unlink()
    private, certificate = signing_pair(tmp_path, "p256")
    assert run("seal", film, "--signing-key", private, "--certificate", certificate, "--dicom")[0] == 0
    done = subprocess.run(["dcmsign", "--verify", "+rg", "+cf", certificate, f"{film}.seal.dcm"], check=False)
    assert done.returncode == 0
    film.with_name("film.dcm.seal").unlink()
    assert label(run, film, "--certificate", certificate)[:2] == (0, "authentic")


@pytest.mark.needs("dcmsign")
@pytest.mark.parametrize("packed", [False, True])
def test_its_macs_are_of_what_dcmsign_would_sign(run, key, film, tmp_path, packed):
    if packed:
        data = pydicom.dcmread(film)
        data.compress(RLELossless, generate_instance_uid=False)
        data.save_as(film)
    private, certificate = signing_pair(tmp_path)
    data = pydicom.dcmread(alone(run, film, key))
    (one,) = data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    (mac,) = one.ReferencedSOPInstanceMACSequence
    subprocess.run(["dcmsign", "+s", private, certificate, "+m2", film, tmp_path / "x", "+d", tmp_path / "dump"],
                   check=True)
    stream, signed = (tmp_path / "dump").read_bytes(), pydicom.dcmread(tmp_path / "x").MACParametersSequence[0]
    own = stream.rindex(b"\0\x04\x05\0US")  # where the signature's own elements begin
    assert hashlib.sha256(stream[:own]).digest() == mac.MAC
    assert list(mac.DataElementsSigned) == list(signed.DataElementsSigned)
    assert mac.MACCalculationTransferSyntaxUID == signed.MACCalculationTransferSyntaxUID


def test_it_is_found_wherever_it_lies(run, key, series, film, tmp_path):
    path = alone(run, series, key)
    assert label(run, series, "--key", key)[:2] == (0, "authentic"), "beside the folder"
    path.rename(series / "x")
    assert label(run, series, "--key", key)[:2] == (0, "authentic"), "among the slices, under another name"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (series / "x").rename(elsewhere / "x.dcm")
    assert label(run, series, "--key", key)[0] == 2, "it is not there"
    assert label(run, series, elsewhere / "x.dcm", "--key", key)[:2] == (0, "authentic"), "named"
    assert label(run, series, "--seal", elsewhere, "--key", key)[:2] == (0, "authentic"), "in a folder of seals"
    assert label(run, series, "--seal", elsewhere / "x.dcm", "--key", key)[:2] == (0, "authentic")
    (tmp_path / "case" / "a").mkdir(parents=True)
    elsewhere.rename(tmp_path / "case" / "b")
    series.rename(tmp_path / "case" / "a" / "c")
    code, word, said = label(run, tmp_path / "case", "--key", key)
    assert (code, word, "Passed over" in said) == (0, "authentic", False), "below the folder that was named"
    altered(tmp_path / "case" / "a" / "c" / "4.dcm")
    assert label(run, tmp_path / "case", "--key", key)[:2] == (1, "tampered")


def test_links_and_pipes_beside_it_hide_it_not(run, key, film):
    alone(run, film, key)
    film.with_name("a").symlink_to("a")
    film.with_name("b").symlink_to("nowhere")
    os.mkfifo(film.with_name("c"))
    assert label(run, film, "--key", key)[:2] == (0, "authentic")


def test_it_is_found_from_python(run, key, other, film):
    own, source = alone(run, film, key), Source((film,), "file")
    assert (named_seals(source), objects_of(source, None)) == ([], [own])
    assert run("seal", film, "--key", other)[0] == 0
    assert named_seals(source) == [film.with_name("film.dcm.2.seal")]
    assert hold(source, [signer_of(read_key(key)).certificate]).seal.root == read_seal(own).root
    assert scanward.verify(film, key).label == "authentic"


def test_a_renumbered_series_and_a_slice_of_it(run, key, series):
    alone(run, series, key)
    for z in range(9):
        data = pydicom.dcmread(series / f"{z}.dcm")
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.9.{z}"
        data.save_as(series / f"{z}.dcm")
    assert label(run, series, "--key", key)[:2] == (0, "authentic"), "by the series"
    for z in range(8):
        (series / f"{z}.dcm").unlink()
    assert label(run, series, "--key", key)[0] == 2, "one file has to be named itself"


def test_of_a_film_each_has_its_own(run, key, tmp_path):
    """Four views of one series."""
    folder = tmp_path / "study"
    folder.mkdir()
    for n in range(4):
        made(np.roll(FILM, n), f"1.2.6.{n}", SOPClassUID=MG, Modality="MG").save_as(folder / f"{n}.dcm",
                                                                                   enforce_file_format=True)
    assert run("seal", folder, "--key", key, "--dicom")[0] == 0
    for n in range(4):
        (folder / f"{n}.dcm.seal").unlink()
    code, out, err = run("verify", folder, "--key", key)
    assert (code, out.count("authentic: "), err) == (0, 4, "")
    (folder / "2.dcm").unlink()
    code, out, _ = run("verify", folder, "--key", key)
    assert (code, out.count("authentic: "), "inconclusive: 2.dcm\n  It is sealed, and is not there" in out) == (
        3, 3, True)


def test_a_strangers_object_hides_nothing(run, key, other, film):
    own = alone(run, film, key)
    kept = own.read_bytes()
    own.unlink()
    planted = alone(run, film, other)
    planted.rename(film.with_name("a.dcm"))
    code, word, said = label(run, film, "--key", key)
    assert (code, word, "whose certificate was not given" in said) == (3, "inconclusive", True)
    own.write_bytes(kept)
    assert label(run, film, "--key", key)[:2] == (0, "authentic")
    altered(film)
    assert label(run, film, "--key", key)[:2] == (1, "tampered")
    assert run("seal", film, "--key", other)[0] == 0, "a stranger's seal of the forgery, beside it"
    assert label(run, film, "--key", key)[:2] == (1, "tampered")


def test_an_object_of_another_image_that_was_made_to_refer_to_this_one(run, key, film, series):
    _, other = alone(run, film, key), alone(run, series, key)
    data = pydicom.dcmread(other)
    part = data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    part.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.6"
    data.save_as(other)
    assert label(run, film, "--key", key)[:2] == (0, "authentic")
    rewritten(film, lambda data: setattr(data, "SeriesInstanceUID", "1.2.45"))
    assert label(run, film, "--key", key)[0] == 2, "no seal says that it is of this series"


def test_a_damaged_object_is_an_error_and_hides_no_other(run, key, film):
    own = alone(run, film, key)
    whole = own.read_bytes()
    data = pydicom.dcmread(own)
    packed = data[GROUP, 0x1000 | SEAL]
    bomb = gzip.compress(bytes(1 << 27))
    for value in (b"", bomb, b"\x1f\x8b" + b"\0" * 40, packed.value[:-20], b"\x1f\x8b\x08\0" + packed.value[30:]):
        packed.value = value
        data.save_as(own)
        code, word, said = label(run, film, "--key", key)
        assert (code, word) == (2, ""), said
    film.with_name("z.dcm").write_bytes(whole)
    assert label(run, film, "--key", key)[:2] == (0, "authentic")
    film.with_name("z.dcm").write_bytes(whole[:700])
    assert label(run, film, "--key", key)[0] == 2


def test_an_object_unpacks_to_no_more_than_a_seals_file_may_hold(run, key, film):
    """A few kB of gzip would otherwise take the parser of JSON gigabytes."""
    own = alone(run, film, key)
    data = pydicom.dcmread(own)
    data[GROUP, 0x1000 | SEAL].value = gzip.compress(b"[" + b"[]," * 3_000_000 + b"0]")
    data.save_as(own)
    code, _, said = label(run, film, "--key", key)
    assert (code, "holds a damaged seal" in said) == (2, True)


def test_of_two_versions_the_newer_counts(run, key, film):
    first = alone(run, film, key).rename(film.with_name("first.dcm"))
    altered(film)
    assert label(run, film, "--key", key)[:2] == (1, "tampered")
    assert json.loads(seal_in(alone(run, film, key, "--again")))["body"]["version"] == 2
    assert label(run, film, "--key", key)[:2] == (0, "authentic")
    altered(film)  # as it was at first
    code, word, said = label(run, film, "--key", key)
    assert (code, word, "and a newer version on" in said) == (3, "inconclusive", True)
    film.with_name("film.dcm.seal.dcm").unlink()
    assert label(run, film, "--key", key)[:2] == (0, "authentic"), "nobody knows of the second but a log"
    assert first.exists()


def test_a_scan_hears_it(run, bright, key, film, tmp_path):
    alone(run, film, key).rename(film.with_name("k.dcm"))
    code, out, _ = run("scan", film, "--key", key, "--json", "-o", tmp_path / "out")
    assert (code, "voxel by voxel what was sealed" in out) in ((0, True), (1, True))
    altered(film)
    code, out, _ = run("scan", film, "--key", key, "--json", "-o", tmp_path / "out")
    assert (code, json.loads(out)["label"], "It was altered in one place." in out) == (1, "tampered", True)
    (tmp_path / "b").mkdir()
    film.with_name("k.dcm").rename(tmp_path / "b" / "k.dcm")
    (tmp_path / "a").mkdir()
    film.rename(tmp_path / "a" / "film.dcm")
    code, out, _ = run("scan", tmp_path / "a", tmp_path / "b" / "k.dcm", "--key", key, "--json")
    assert "It was altered in one place." in out


@pytest.mark.parametrize("suffix", [".seal", ".seal.dcm"])
def test_a_seal_that_comes_later_is_heard_by_the_same_scan(run, bright, key, film, tmp_path, suffix):
    assert run("seal", film, "--key", key, "--dicom")[0] == 0
    aside = film.with_name(f"film.dcm{suffix}").rename(tmp_path / f"later{suffix[:5]}x")
    for left in film.parent.glob("film.dcm.seal*"):
        left.unlink()
    altered(film)
    hold = tmp_path / "hold"
    hold.mkdir()
    aside = aside.rename(hold / "aside")
    before = run("scan", film, "--key", key, "--json", "-o", tmp_path / "out")[1]
    assert "altered in one place" not in before
    aside.rename(film.with_name(f"film.dcm{suffix}"))
    again = run("scan", film, "--key", key, "--json", "-o", tmp_path / "out")[1]
    assert "altered in one place" in again


def test_several_frames_and_colour(run, key, tmp_path):
    frames, colour = tmp_path / "frames.dcm", tmp_path / "colour.dcm"
    made(VOLUME[0], "1.7", SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3", Modality="OT", NumberOfFrames=9,
         PixelData=VOLUME.tobytes()).save_as(frames, enforce_file_format=True)
    made(VOLUME[0], "1.8", SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT", SamplesPerPixel=3,
         PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7,
         PixelData=VOLUME[:3].astype(np.uint8).tobytes()).save_as(colour, enforce_file_format=True)
    for path in (frames, colour):
        alone(run, path, key)
        assert label(run, path, "--key", key)[:2] == (0, "authentic")


def test_an_object_that_an_interruption_kept_out_is_made_by_the_next_run(run, key, film, tmp_path):
    assert run("seal", film, "--key", key)[0] == 0
    for folder in ((), ("-o", tmp_path / "seals")):
        run("seal", film, "--key", key, *folder)
        code, out, _ = run("seal", film, "--key", key, "--dicom", *folder)
        place = tmp_path / "seals" if folder else tmp_path
        assert (code, out) == (0, f"{place / 'film.dcm.seal.dcm'}\n")
        assert run("seal", film, "--key", key, "--dicom", "-q", *folder) == (0, "", "")


def test_a_version_that_follows_an_object_has_a_name_of_its_own(run, key, film):
    assert run("seal", film, "--key", key, "--dicom")[0] == 0
    film.with_name("film.dcm.seal").unlink()
    first = film.with_name("film.dcm.seal.dcm").read_bytes()
    altered(film)
    code, out, _ = run("seal", film, "--key", key, "--dicom", "--again")
    assert (code, [Path(line).name for line in out.splitlines()]) == (
        0, ["film.dcm.2.seal", "film.dcm.2.seal.copy", "film.dcm.2.seal.dcm"])
    assert film.with_name("film.dcm.seal.dcm").read_bytes() == first
    code, out, _ = run("verify", film, "--key", key)
    assert (code, ", version 2, " in out) == (0, True)


def test_a_header_that_a_library_refuses_costs_the_object_and_no_traceback(run, key, tmp_path, monkeypatch):
    monkeypatch.setattr(key_object, "identify", lambda *_: 1 / 0)
    ct_slice(0).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    code, _, err = run("seal", tmp_path / "a.dcm", "--key", key, "--dicom")
    assert (code, err.count("\n")) == (2, 1) and "keep the seal's file" in err and "Internal" not in err
    assert (tmp_path / "a.dcm.seal").exists()


def test_what_no_object_can_refer_to(run, key, tmp_path, series):
    bare = tmp_path / "bare.dcm"
    ct_slice(0, StudyInstanceUID=None).save_as(bare, enforce_file_format=True)
    code, out, err = run("seal", bare, "--key", key, "--dicom")
    assert (code, out.count("\n"), "has no usable StudyInstanceUID" in err) == (2, 2, True)
    assert (tmp_path / "bare.dcm.seal").exists() and not (tmp_path / "bare.dcm.seal.dcm").exists()
    ct_slice(3, StudyInstanceUID="1.2.99").save_as(series / "3.dcm", enforce_file_format=True)
    code, _, err = run("seal", series, "--key", key, "--dicom")
    assert (code, "mixes images of several studies" in err) == (2, True)
    np.save(tmp_path / "film.npy", FILM)
    code, out, err = run("seal", tmp_path / "film.npy", "--key", key, "--dicom")
    assert (code, err, out.count("\n")) == (0, "", 2), "a file of another format keeps its seal beside it"


def test_an_object_alone_is_no_image(run, key, film):
    path = alone(run, film, key)
    code, _, err = run("verify", path, "--key", key)
    assert (code, "holds a seal and no image" in err) == (2, True)


def test_a_pacs_that_keeps_no_explicit_representation(run, key, film):
    path = alone(run, film, key)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.save_as(path, implicit_vr=True)
    assert read_key_object(path) is not None
    assert label(run, film, "--key", key)[:2] == (0, "authentic")


def test_a_key_without_its_certificate_signs_no_object(run, key, film, tmp_path):
    private, certificate = signing_pair(tmp_path)
    for half in (("--signing-key", private), ("--certificate", certificate)):
        code, _, err = run("seal", film, "--key", key, "--dicom", *half)
        assert (code, "belong together" in err, film.with_name("film.dcm.seal").exists()) == (2, True, False)
    code, _, err = run("seal", film, "--key", key, "--signing-key", private, "--certificate", certificate)
    assert (code, "belong together" in err) == (2, True), "without an object nothing is for it to sign"
