"""DICOM digital signatures from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sealable import FILM, MG, ct_slice, made, rewritten, signing_pair


def test_sign_and_verify_from_the_command_line(tmp_path, run, series, film):
    key, certificate = signing_pair(tmp_path)
    pair = ("--signing-key", key, "--certificate", certificate)
    (series / "below").mkdir()
    film.rename(series / "below" / "film.dcm")
    code, out, err = run("sign", series, *pair, "-o", tmp_path / "out")
    assert (code, err, len(out.splitlines())) == (0, "", 10)
    assert (tmp_path / "out" / "below" / "film.dcm").is_file()
    code, out, _ = run("verify", tmp_path / "out", "--certificate", certificate, "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert (code, [one["label"] for one in answers]) == (0, ["authentic"] * 2)
    assert "PixelData" in answers[1]["signatures"][0]["covered"]
    code, out, _ = run("verify", tmp_path / "out" / "below" / "film.dcm", "--certificate", certificate)
    assert (code, out.split(":")[0], "Signed by Scanner" in out) == (0, "authentic", True)
    assert run("verify", tmp_path / "out" / "below" / "film.dcm", "--certificate", certificate, "-o", tmp_path / "said",
               "-q")[0] == 0
    assert json.loads((tmp_path / "said" / "verified.json").read_text())["signers"] == ["Scanner"]
    assert run("sign", series, *pair, "-o", tmp_path / "out")[0] == 2, "nothing is overwritten"
    code, out, err = run("sign", series / "below", series, *pair, "-o", series)
    assert (code, out, err.count("\n")) == (2, "", 1) and "the very slices" in err
    other = signing_pair(tmp_path, name="Other")[1]
    assert run("verify", tmp_path / "out", "--certificate", other)[0] == 3


def test_seal_and_signature_the_worst_counts(tmp_path, run, film):
    key, certificate = signing_pair(tmp_path)
    assert run("key", tmp_path / "site.key")[0] == 0
    signed_film = tmp_path / "out" / "film.dcm"
    assert run("sign", film, "--signing-key", key, "--certificate", certificate, "-o", tmp_path / "out")[0] == 0
    assert run("seal", signed_film, "--key", tmp_path / "site.key")[0] == 0
    both = ("--key", tmp_path / "site.key", "--certificate", certificate)
    code, out, _ = run("verify", signed_film, *both)
    assert (code, out.count("authentic: ")) == (0, 2)
    rewritten(signed_film, lambda data: setattr(data, "SeriesTime", "1200"))
    assert run("verify", signed_film, *both)[0] == 0, "neither speaks of it"
    whole = signed_film.read_bytes()
    rewritten(signed_film, lambda data: setattr(data, "StudyInstanceUID", "1.2.99"))
    code, out, _ = run("verify", signed_film, *both, "--json")
    answer = json.loads(out)
    assert (code, answer["label"], answer["signature"]["label"]) == (1, "tampered", "tampered")
    assert answer["voxels"]["label"] == "authentic", "the seal does not hold UIDs"
    assert run("verify", signed_film, *both, "-o", tmp_path / "said")[0] == 1
    written = json.loads((tmp_path / "said" / "verified.json").read_text())
    assert (written["label"], written["signature"]["label"]) == ("tampered", "tampered")
    assert (tmp_path / "said" / "altered.png").is_file()
    signed_film.write_bytes(whole)
    code, out, _ = run("verify", signed_film, "--key", tmp_path / "site.key")
    assert (code, out.count("authentic: ")) == (0, 1), "a stranger's signature takes nothing from the site's seal"


@pytest.mark.parametrize(("given", "words"), [
    (("sign", "FILM", "--signing-key", "KEY", "--certificate", "OTHER"), "is not the certificate of"),
    (("sign", "FILM", "--signing-key", "WEAK", "--certificate", "OTHER"), "neither an RSA key of 2048"),
    (("sign", "FILM", "--signing-key", "P521", "--certificate", "OTHER"), "neither an RSA key of 2048"),
    (("sign", "FILM", "--signing-key", "CERT", "--certificate", "CERT"), "holds no private key in PEM"),
    (("sign", "FILM", "--signing-key", "KEY", "--certificate", "KEY"), "holds no certificate"),
    (("sign", "CERT", "--signing-key", "KEY", "--certificate", "CERT"), "is no DICOM file"),
    (("sign", "nowhere.dcm", "--signing-key", "KEY", "--certificate", "CERT"), "nowhere.dcm does not exist"),
])
def test_what_cannot_be_is_one_sentence(run, tmp_path, film, given, words):
    key, certificate = signing_pair(tmp_path)
    places = {"FILM": film, "KEY": key, "CERT": certificate, "OTHER": signing_pair(tmp_path, name="Other")[1],
              "WEAK": signing_pair(tmp_path, "1024")[0], "P521": signing_pair(tmp_path, "p521")[0]}
    code, out, err = run(*(places.get(word, word) for word in given), "-o", tmp_path / "out")
    assert (code, out, words in err, err.count("\n")) == (2, "", True, 1), err


def test_rsa_seals_nothing(run, tmp_path, film):
    key, certificate = signing_pair(tmp_path)
    code, _, err = run("seal", film, "--signing-key", key, "--certificate", certificate)
    assert (code, "neither an Ed25519 key nor an ECDSA key" in err) == (2, True)


def test_what_would_not_be_vouched_for_is_not_signed(run, tmp_path):
    path = tmp_path / "slice.dcm"
    data = ct_slice(0)
    data["RescaleSlope"].VR = "UN"
    data["RescaleSlope"].value = b"1 "
    data.save_as(path, enforce_file_format=True)
    key, certificate = signing_pair(tmp_path)
    code, _, err = run("sign", path, "--signing-key", key, "--certificate", certificate, "-o", tmp_path / "out")
    assert (code, "cannot be signed so that it is vouched for. Its signature does not cover its RescaleSlope" in err) \
        == (2, True)
    assert not (tmp_path / "out").exists()


def test_pixels_that_look_like_a_signature_hinder_no_seal(run, tmp_path):
    path = tmp_path / "film.dcm"
    made(np.full_like(FILM, 0xFFFA), "1.2.6", SOPClassUID=MG, Modality="MG", BitsStored=16, HighBit=15,
         PixelRepresentation=1).save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes() + bytes(8))
    assert run("key", tmp_path / "site.key")[0] == 0
    assert run("seal", path, "--key", tmp_path / "site.key")[0] == 0
    assert run("verify", path, "--key", tmp_path / "site.key")[0] == 0
