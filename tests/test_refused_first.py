"""What will be refused is refused before any long work, and nothing is written."""

import cv2
import numpy as np
import pytest
from objects import ct_files
from scipy import ndimage

from scanward.forgery import files as forging
from scanward.protection import files as protecting
from scanward.protection import verifying


def never(*_, **__):
    pytest.fail("the long work was begun")


@pytest.fixture
def film(tmp_path):
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((300, 220)), 0.6)
    path = tmp_path / "film.png"
    assert cv2.imwrite(str(path), np.rint(1500 + 40 * noise / noise.std()).astype(np.uint16))
    return path


@pytest.fixture
def key(old):
    return old / "site.key"


@pytest.fixture
def kept(old):
    """A film that an earlier version protected with `key`."""
    return old / "film" / "film-protected.png"


def refused(answer, *words):
    code, out, err = answer
    assert (code, out) == (2, "") and err.count("\n") == 1 and err.startswith("scanward: ")
    assert "internal" not in err.lower()
    for word in words:
        assert word in err


def state(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def no_folder(path):
    path.write_text("mine")
    return path


TAKEN = ["record.json", "mask.png", "mask.nii.gz", "film-forged.png", "film-forged.png.scanward.json"]


@pytest.mark.parametrize("taken", TAKEN)
@pytest.mark.parametrize("command", ["inject", "remove"])
def test_a_forgery_that_has_no_place_is_not_made(command, taken, film, run, tmp_path, monkeypatch):
    monkeypatch.setattr(forging, "forge_image", never)
    out = tmp_path / "out"
    out.mkdir()
    (out / taken).write_text("mine")
    method = {"inject": "composed-mass", "remove": "inpaint-telea"}[command]
    refused(run(command, film, "-o", out, "--size", 10, "--modality", "MG", "--spacing", 0.2, "--method", method),
            taken)
    assert state(out) == {out / taken: b"mine"}


def test_an_output_that_is_a_file_is_refused_before_hosts_are_looked_for(film, run, tmp_path, monkeypatch):
    from scanward import formats

    monkeypatch.setattr(formats, "find", never, raising=False)
    taken = no_folder(tmp_path / "taken")
    for more in ((), ("--count", 3)):
        refused(run("inject", film, "-o", taken, "--size", 10, *more), "taken")
        refused(run("inject", film, "-o", taken / "below", "--size", 10, *more), "taken")


def test_a_replay_into_a_taken_folder_is_refused_first(film, run, tmp_path, monkeypatch):
    from scanward.forgery import replay

    out = tmp_path / "out"
    more = ("--size", 10, "--modality", "MG", "--spacing", 0.2, "--method", "composed-mass", "--at", "100,150")
    assert run("inject", film, "-o", out, *more)[0] == 0
    monkeypatch.setitem(replay.__globals__, "carried_out", never)
    refused(run("replay", out / "record.json", "-o", out), "overwritten")


@pytest.mark.parametrize("taken", ["evidence.json", "protected.png", "perturbation.json", "film-protected.png"])
def test_a_protection_that_has_no_place_is_not_made(taken, film, key, run, tmp_path, monkeypatch):
    monkeypatch.setattr(protecting, "perturbed", never)
    out = tmp_path / "out"
    out.mkdir()
    (out / taken).write_text("mine")
    refused(run("protect", film, "--method", "tafim", "--key", key, "-o", out), taken)
    assert state(out) == {out / taken: b"mine"}


def test_a_wrong_key_is_refused_before_an_image_is_perturbed(film, run, tmp_path, monkeypatch):
    monkeypatch.setattr(protecting, "perturbed", never)
    refused(run("protect", film, "--method", "tafim", "--key", film, "-o", tmp_path / "out"), "holds no key")


@pytest.mark.parametrize("command", [
    "protect SERIES --method mits-gan --around 30,30,10:8", "inject SERIES --size 9", "remove SERIES --size 9",
    "inject SERIES --size 9 --count 2", "inject SERIES --size 9 --count 2 --dry-run",
    "unprotect SEALED --key KEY"])
def test_no_copies_are_laid_among_the_slices_they_are_made_of(command, old, run, tmp_path, monkeypatch):
    monkeypatch.setattr(protecting, "perturbed", never)
    monkeypatch.setattr(protecting, "unweave", never)
    monkeypatch.setattr(forging, "forge_image", never)
    series, sealed = tmp_path / "series", old / "series" / "ct-protected"
    ct_files(series, 3)
    places = {"SERIES": series, "SEALED": sealed, "KEY": old / "site.key"}
    words = [places.get(word, word) for word in command.split()]
    (tmp_path / "link").symlink_to(words[1])
    before = state(words[1])
    for folder in (words[1], tmp_path / "link"):
        refused(run(*words, "-o", folder), folder.name, "the very slices", "choose another folder")
    assert state(words[1]) == before


@pytest.mark.parametrize("spoil", ["missing", "no key", "other key"])
@pytest.mark.parametrize("command", ["verify", "unprotect"])
def test_a_wrong_key_is_refused_before_the_image_is_read(command, spoil, kept, run, tmp_path, monkeypatch):
    wrong = tmp_path / "wrong.key"
    if spoil == "no key":
        wrong.write_text("scanward-key-1 00")
    elif spoil == "other key":
        run("key", wrong)
    monkeypatch.setattr(protecting, "image_in", never)
    monkeypatch.setattr(verifying, "image_in", never)
    refused(run(command, kept, "--key", wrong, "-o", tmp_path / "out"), "key")
    assert not (tmp_path / "out").exists()


def test_without_a_record_the_image_itself_says_that_the_key_is_another(kept, key, run, tmp_path, monkeypatch):
    (kept.parent / "evidence.json").unlink()
    assert run("verify", kept, "--key", key)[0] == 3
    run("key", tmp_path / "other.key")
    monkeypatch.setattr(verifying, "image_in", never)
    refused(run("verify", kept, "--key", tmp_path / "other.key"), "another key", kept.name)


@pytest.mark.parametrize("command", ["verify", "unprotect"])
def test_an_output_that_is_taken_is_refused_first(command, kept, key, run, tmp_path, monkeypatch):
    monkeypatch.setattr(protecting, "image_in", never)
    monkeypatch.setattr(verifying, "image_in", never)
    refused(run(command, kept, "--key", key, "-o", no_folder(tmp_path / "taken")), "taken")
    out = tmp_path / "out"
    out.mkdir()
    (out / {"verify": "verified.json", "unprotect": "unprotected.json"}[command]).write_text("mine")
    refused(run(command, kept, "--key", key, "-o", out), "overwritten")


def test_nothing_is_undone_into_a_folder_that_has_an_image_of_that_name(kept, key, run, tmp_path, monkeypatch):
    monkeypatch.setattr(protecting, "unweave", never)
    out = tmp_path / "out"
    out.mkdir()
    (out / "film-protected-unprotected.png").write_text("mine")
    refused(run("unprotect", kept, "--key", key, "-o", out), "overwritten")


def test_a_missing_record_is_told_before_the_image_is_read(film, key, run, tmp_path, monkeypatch):
    monkeypatch.setattr(protecting, "image_in", never)
    refused(run("verify", film, "--key", key), "--record")
    refused(run("unprotect", film, "--key", key, "-o", tmp_path / "out"), "--record")


def test_a_site_file_is_not_written_over_anything(bright, film, run, tmp_path, monkeypatch):
    from scanward.cli import calibrating

    monkeypatch.setattr(calibrating, "one_result", never)
    films = tmp_path / "films"
    films.mkdir()
    for number in range(10):
        (films / f"{number}.png").write_bytes(film.read_bytes())
    before = film.read_bytes()
    refused(run("calibrate", films, "-o", film), "film.png")
    assert film.read_bytes() == before
    refused(run("calibrate", films, "-o", tmp_path), "choose")
    refused(run("calibrate", films, "-o", film / "below" / "site.json"), "choose")


@pytest.mark.parametrize("command", [
    "verify LONG --key KEY", "verify FILM --key KEY --log LONG", "verify FILM --key KEY --seal LONG",
    "verify FILM --key KEY -o LONG", "seal LONG --key KEY", "seal FILM --key KEY -o LONG",
    "seal FILM --key KEY --log LONG",
    "key LONG", "certificate --key KEY -o LONG", "scan LONG", "scan FILM -o LONG", "scan FILM --csv LONG",
    "scan FILM --dicom LONG", "scan FILM --site LONG", "inject FILM --size 9 -o LONG", "remove FILM --size 9 -o LONG",
    "protect FILM --method tafim -o LONG", "unprotect LONG --key KEY -o x", "calibrate FILM -o LONG/x", "demo -o LONG",
    "replay LONG", "log list LONG", "log check LONG --key KEY", "log head LONG --key KEY", "serve --config LONG",
    "study serve LONG",
])
def test_a_name_that_no_file_can_have_is_one_sentence(command, film, key, run):
    places = {"FILM": film, "KEY": key}
    code, _, err = run(*(places.get(word, word.replace("LONG", "n" * 300)) for word in command.split()))
    assert (code, "n" * 300 in err, "Internal error" in err) == (2, True, False), err
    assert err.splitlines()[0].endswith(".")
