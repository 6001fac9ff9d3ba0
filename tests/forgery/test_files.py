"""`scanward inject` and `remove` as their users meet them: files, marks, sentences, exit codes."""

import json
import os

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow

import scanward
from scanward.errors import ArgumentError, UnsupportedError

MASS = ("--method", "composed-mass")


def test_the_mark_is_in_the_file_and_beside_it(png, tmp_path, inject):
    inject(png, tmp_path / "out")
    with Pillow.open(tmp_path / "out" / "a füm-forged.png") as image:
        assert "synthetic" in image.text["Scanward"]
    assert json.loads((tmp_path / "out" / "a füm-forged.png.scanward.json").read_text())["synthetic"] is True


def test_a_dicom_forgery_is_marked_and_says_how_it_was_made(dicom, tmp_path, run):
    code, _, err = run("inject", dicom, "-o", tmp_path / "out", "--size", 8, *MASS)
    assert (code, err) == (0, "")
    host, forged = pydicom.dcmread(dicom), pydicom.dcmread(tmp_path / "out" / "film-forged.dcm")
    assert forged[0x0008001C].value == "YES"
    assert forged.ImageType[0] == "DERIVED"
    assert "composed-mass" in forged.DerivationDescription
    assert forged.SourceImageSequence[0].ReferencedSOPInstanceUID == host.SOPInstanceUID
    assert forged.SOPInstanceUID != host.SOPInstanceUID
    assert (forged.BitsStored, forged.PatientName) == (12, host.PatientName)


def test_nothing_is_overwritten(png, tmp_path, inject):
    out = tmp_path / "out"
    inject(png, out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    host = png.read_bytes()
    code, _, err = inject(png, out, "--seed", 1)
    assert code == 2 and "exists already" in err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert png.read_bytes() == host


def test_a_forgery_beside_its_host_leaves_it_alone(png, inject):
    host = png.read_bytes()
    assert inject(png, png.parent)[0] == 0
    assert png.read_bytes() == host


@pytest.mark.parametrize(("options", "word"), [
    (("--at", "5000,10"), "outside"), (("--at", "290,10"), "breast"), (("--at", "here"), "--at"),
    (("--at", "1,2,3"), "--at"), (("--at", "nan,2"), "no place"), (("--strength", "0"), "strength"),
    (("--strength", "1.5"), "strength"), (("--method", "inpaint-telea"), "inject"), (("--sigma", "3"), "--sigma"),
    (("--stages",), "--stages"), (("--count", "0"), "--count"), (("--seed", "-1"), "--seed"),
    (("--world",), "leave --world out"), (("--world", "--at", "auto", "--count", "2"), "leave --world out"),
    (("--world", "--at", "90,200"), "is a mammogram, whose places are in pixels; leave --world out"),
    (("--sigma", "3", "--grain", "host"), "leave one of them out"),
], ids=str)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(options, word, png, tmp_path, inject):
    code, out, err = inject(png, tmp_path / "out", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert word in err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".scanward-*"))


@pytest.mark.parametrize(("size", "word"), [("2.9", "from 3 mm"), ("nan", "is no size"), ("big", "is no size"),
                                            ("58", "A lesion of 58 mm is larger than the breast"),
                                            ("90", "90 mm does not suit"), ("90", "choose one up to 60 mm"),
                                            ("9-4", "is no size"), ("1e9", "does not suit"), ("5-inf", "5 to inf mm")])
def test_sizes_that_cannot_be(size, word, png, tmp_path, inject):
    code, out, err = inject(png, tmp_path / "out", "--at", "90,200", size=size)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert word in err
    assert not (tmp_path / "out").exists()


def test_a_host_that_does_not_say_its_spacing_is_asked_for_it(png, tmp_path, run):
    code, _, err = run("inject", png, "-o", tmp_path / "out", "--size", 8, "--modality", "MG", *MASS)
    assert code == 2 and "--spacing" in err


def test_a_host_of_another_modality_is_refused(png, tmp_path, run):
    code, _, err = run("inject", png, "-o", tmp_path / "out", "--size", 8, "--modality", "CT", *MASS)
    assert code == 2 and "CT" in err and err.count("\n") == 1


def test_hosts_that_are_none(tmp_path, inject):
    (tmp_path / "empty").mkdir()
    (tmp_path / "short.dcm").write_bytes(b"\0" * 128 + b"DICM\x02")
    tiny = tmp_path / "tiny.png"
    assert cv2.imwrite(str(tiny), np.zeros((1, 1), np.uint8))
    (tmp_path / "forged").mkdir()
    (tmp_path / "forged" / "a.png").write_bytes(tiny.read_bytes())
    (tmp_path / "forged" / "a.png.scanward.json").write_text("{}")
    for host in ("absent.png", "empty", "short.dcm", "tiny.png", "forged"):
        code, _, err = inject(tmp_path / host, tmp_path / "out")
        assert code == 2 and err.count("\n") == 1 and host in err, err
        assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(png, tmp_path, inject):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    code, _, err = inject(png, closed / "out")
    assert code == 2 and err.count("\n") == 1


def test_one_host_of_two_that_is_missing_is_an_error(png, tmp_path, run):
    code, out, err = run("inject", png, tmp_path / "absent.png", "-o", tmp_path / "out", "--size", 10,
                         "--spacing", 0.2, "--modality", "MG", *MASS)
    assert code == 2 and "absent.png" in err and "record.json" in out


@pytest.mark.parametrize("strength", ["1e-9", "1e-3"])
def test_a_forgery_that_changes_nothing_beyond_noise_is_refused(strength, png, tmp_path, inject):
    """With the second strength some hundred pixels change, by some of 65,536 levels, where noise has 655."""
    code, _, err = inject(png, tmp_path / "out", "--strength", strength)
    assert code == 2 and "change nothing" in err and "stands out from its noise" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_changes_of_one_level_are_refused_where_there_is_no_noise(tmp_path, pixels, inject):
    host = tmp_path / "flat.npy"
    np.save(host, np.where(pixels() > 400, 2000, 20).astype(np.uint16))
    code, _, err = inject(host, tmp_path / "out", "--at", "100,210", "--strength", "0.003", "--method", "faithful-mass")
    assert code == 2 and "change nothing" in err
    assert inject(host, tmp_path / "out", "--at", "100,210", "--method", "faithful-mass")[0] == 0


def test_pixels_that_are_no_squares_are_refused(png, tmp_path, run):
    code, _, err = run("inject", png, "-o", tmp_path / "out", "--size", 10, "--spacing", "0.2x0.4",
                       "--modality", "MG", *MASS)
    assert code == 2 and "square" in err


def test_a_host_named_after_another_format_keeps_its_own(png, dicom, tmp_path, inject):
    for host, name, forged in ((png, "x.dcm", "x-forged.png"), (png, "bare", "bare-forged.png"),
                               (dicom, "film.png", "film-forged.dcm"), (dicom, "1.2.840.7", "1.2.840-forged.7")):
        odd = tmp_path / "odd" / name
        odd.parent.mkdir(exist_ok=True)
        odd.write_bytes(host.read_bytes())
        code, _, err = inject(odd, tmp_path / ("out " + name))
        assert (code, err) == (0, "")
        assert (tmp_path / ("out " + name) / forged).is_file()


def test_signed_values_never_wrap_round(tmp_path, inject, pixels):
    host = tmp_path / "signed.npy"
    np.save(host, np.clip(pixels(bits=16).astype(np.int64), 0, 32700).astype(np.int16))
    for seed in range(4):
        out = tmp_path / str(seed)
        assert inject(host, out, "--at", "100,210", "--seed", seed)[0] == 0
        assert np.load(out / "signed-forged.npy").min() >= 0


def test_long_names_are_cut(png, tmp_path, inject):
    host = tmp_path / ("n" * 240 + ".png")
    host.write_bytes(png.read_bytes())
    assert inject(host, tmp_path / "out")[0] == 0
    code, _, err = inject(png, tmp_path / ("o" * 300))
    assert code == 2 and err.count("\n") == 1 and "internal" not in err.lower()


def test_the_same_from_python(png):
    host = scanward.load(png, modality="MG", spacing=(0.2, 0.2))
    tamper = scanward.inject(host, size_mm=10, at=(100, 210), method="composed-mass", seed=4)
    again = scanward.inject(png, size_mm=10, at=(100, 210), method="composed-mass", seed=4, spacing=(0.2, 0.2))
    assert np.array_equal(tamper.image.pixels, again.image.pixels)
    assert tamper.mask.shape == host.shape
    removed = scanward.remove(host, size_mm=10, method="inpaint-telea")
    assert removed.record.method == "inpaint-telea"
    with pytest.raises(ArgumentError, match="inpaint-telea"):
        scanward.inject(host, size_mm=10, method="inpaint-telea")
    with pytest.raises(UnsupportedError):
        scanward.inject(scanward.load(png, modality="CT", spacing=(1, 1)), size_mm=10, method="composed-mass")


@pytest.mark.parametrize(("options", "given", "said"), [
    (("--world",), {"world": True}, "write --at X,Y,Z, or leave --world out."),
    (("--sigma", "3", "--grain", "host"), {"sigma": 3, "grain": "host"}, "with --grain host, which adds none;"),
], ids=str)
def test_what_says_nothing_beside_another_is_refused_in_one_wording(options, given, said, png, tmp_path, inject):
    code, _, err = inject(png, tmp_path / "out", *options)
    assert code == 2 and said in err
    for act in (scanward.inject, scanward.remove):
        with pytest.raises(ArgumentError) as caught:
            act(png, size_mm=10, **given)
        assert f"scanward: {caught.value}" == err.strip().replace("--at X,Y,Z", "at=(x, y, z)").replace("--", "")


@pytest.mark.parametrize(("given", "said"), [
    ({"size_mm": 55}, "choose a smaller size_mm, or a place with at=(x, y)."),
    ({"size_mm": 10, "at": (290, 10)}, "choose one inside, or at=None."),
    ({"size_mm": 10, "sigma": 3}, "has no option sigma; it has no options."),
    ({"size_mm": 10, "spacing": None}, "does not say how large its pixels are; give spacing."),
], ids=str)
def test_errors_in_python_name_its_arguments(given, said, png, tmp_path):
    host = tmp_path / "a --size.png"
    host.write_bytes(png.read_bytes())
    with pytest.raises(ArgumentError) as caught:
        scanward.inject(host, **{"method": "composed-mass", "spacing": (0.2, 0.2), **given})
    assert str(caught.value).endswith(said)
    assert "method composed-mass" in str(caught.value) or "a --size.png" in str(caught.value)


def test_mammo_cgans_constants_can_be_given(dicom, tmp_path, run):
    code, _, err = run("inject", dicom, "-o", tmp_path / "out", "--at", "100,210", "--size", 12, "--sigma", 12,
                       "--threshold", 440, "--alpha", 40, "--power", 12)
    assert (code, err) == (0, "")
    used = json.loads((tmp_path / "out" / "record.json").read_text())["params"]["intensities"]
    assert [used[name] for name in ("sigma", "threshold", "alpha", "power")] == [12, 440, 40, 12]


@pytest.mark.parametrize("option", [("--sigma", "-1"), ("--sigma", "nan"), ("--sigma", "1e39"), ("--alpha", "0"),
                                    ("--power", "inf"), ("--grain", "sand")], ids=str)
def test_constants_that_make_no_sense(option, dicom, tmp_path, run):
    code, out, err = run("inject", dicom, "-o", tmp_path / "out", "--at", "100,210", "--size", 12, *option)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert option[0] in err
