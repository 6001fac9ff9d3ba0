"""Seals are found wherever an image was moved with them, and nothing that somebody lays beside them hides them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from sealable import FILM, MG, VOLUME, ct_slice, made
from small import altered

from scanward.errors import UnreadableError
from scanward.formats import Source, find
from scanward.seals.files import hold, read_seal, seal_file
from scanward.seals.signing import signer_of

STRANGER = signer_of(b"x" * 32, "General Hospital")


def sources_of(path: Path) -> list[Source]:
    found, errors = find([path])
    assert not errors
    return found


@pytest.fixture
def two(tmp_path) -> Path:
    """A folder with two series."""
    folder = tmp_path / "two"
    folder.mkdir()
    for z in range(len(VOLUME)):
        ct_slice(z).save_as(folder / f"a{z}.dcm", enforce_file_format=True)
        ct_slice(z, VOLUME[z] ^ 1, SeriesInstanceUID="1.2.9", SOPInstanceUID=f"1.2.9.{z}").save_as(
            folder / f"b{z}.dcm", enforce_file_format=True)
    return folder


def test_two_series_of_one_folder_have_a_seal_each(run, two, tmp_path):
    key = tmp_path / "site.key"
    run("key", key)
    code, out, err = run("seal", two, "--key", key)
    assert (code, err, len(set(out.split()))) == (0, "", 4), "two seals, and a reduced copy of each"
    assert run("seal", two, "--key", key, "-q") == (0, "", "")
    assert len(list(tmp_path.glob("*.seal"))) == 2
    code, out, err = run("verify", two, "--key", key)
    assert (code, err, out.count("authentic: ")) == (0, "", 2)
    assert "series 1.2.4\n" in out and "series 1.2.9\n" in out
    altered(two / "b4.dcm")
    code, out, _ = run("verify", two, "--key", key, "--json")
    labels = {one["study"]["SeriesInstanceUID"]: one["label"] for one in map(json.loads, out.splitlines())}
    assert (code, labels) == (1, {"1.2.4": "authentic", "1.2.9": "tampered"})


def test_a_series_without_a_seal_is_not_held_to_its_neighbours(run, bright, two, tmp_path):
    key = tmp_path / "site.key"
    run("key", key)
    kept = tmp_path / "kept"
    kept.mkdir()
    for path in two.glob("b*"):
        path.rename(kept / path.name)
    assert run("seal", two, "--key", key)[0] == 0
    for path in kept.iterdir():
        path.rename(two / path.name)
    code, out, err = run("verify", two, "--key", key)
    assert (code, out.count("authentic: "), "tampered" in out) == (2, 1, False)
    assert "No seal lies beside" in err or "names no evidence" in err
    lines = run("scan", two, "--key", key, "--json")[1].splitlines()
    assert ["Scanward site" in line for line in lines] == [True, False]
    (other,) = (one for one in sources_of(two) if one.paths[0].name[0] == "b")
    trusted = [read_seal(tmp_path / "two.seal").certificate]
    assert hold(other, trusted) is None
    assert hold(other, trusted, tmp_path / "two.seal").answer.label != "authentic"  # that seal itself was named


def test_a_forgery_with_other_uids_is_held_to_the_seal_of_its_name(site, film):
    source = Source((film,), "file")
    seal_file(source, site)
    altered(film)
    data = pydicom.dcmread(film)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.99"
    data.save_as(film)
    assert hold(source, [site.certificate]).answer.label == "tampered"


def test_scans_hear_the_seal_of_each_series(run, bright, two, tmp_path):
    key = tmp_path / "site.key"
    run("key", key)
    run("seal", two, "--key", key)
    altered(two / "b4.dcm")
    verdicts = [json.loads(line) for line in run("scan", two, "--key", key, "--json")[1].splitlines()]
    assert ["It was altered in one place." in json.dumps(one) for one in verdicts] == [False, True]


@pytest.mark.parametrize("move", ["renamed", "into", "files"])
def test_a_series_is_found_by_what_its_seal_says(site, series, tmp_path, move):
    (source,) = sources_of(series)
    path = seal_file(source, site)
    if move == "renamed":
        series = series.rename(tmp_path / "other")
    elif move == "into":
        path.rename(series / "any.seal")
    else:
        folder = tmp_path / "moved"
        folder.mkdir()
        for n, file in enumerate(sorted(series.iterdir())):
            file.rename(folder / f"x{9 - n}")
        shutil.move(path, folder)
        series = folder
    (source,) = sources_of(series)
    assert hold(source, [site.certificate]).answer.label == "authentic"
    altered(source.paths[4])
    assert hold(source, [site.certificate]).answer.label == "tampered"


def test_a_renamed_film_is_found(site, film):
    seal_file(Source((film,), "file"), site)
    film = film.rename(film.with_name("other.dcm"))
    assert hold(Source((film,), "file"), [site.certificate]).answer.label == "authentic"


@pytest.mark.parametrize("planted", ["stranger", "other image", "damaged", "no seal", "link"])
def test_what_is_laid_in_the_place_of_a_seal_hides_nothing(site, film, series, tmp_path, planted):
    source, (other,) = Source((film,), "file"), sources_of(series)
    path = seal_file(source, site)
    path.rename(tmp_path / "away.seal")
    if planted == "stranger":
        seal_file(source, STRANGER)
    elif planted == "other image":
        seal_file(other, site).rename(path)
    elif planted == "link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.write_bytes((tmp_path / "away.seal").read_bytes()[:-9] if planted == "damaged" else b"no")
    assert hold(source, [site.certificate]).answer.label == "authentic"
    altered(film)
    assert hold(source, [site.certificate]).answer.label == "tampered"


def test_a_damaged_seal_alone_is_no_pass_and_a_strangers_is_said(site, film):
    source = Source((film,), "file")
    path = seal_file(source, STRANGER)
    held = hold(source, [site.certificate])
    assert (held.answer.label, held.answer.trusted) == ("inconclusive", False)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UnreadableError, match=r"film\.dcm\.seal"):
        hold(source, [site.certificate])


def test_of_two_old_versions_the_altered_one_is_said(site, film):
    source = Source((film,), "file")
    seal_file(source, site)
    data = pydicom.dcmread(film)
    data.PixelData = bytes(255 & ~byte if n % 2 == 0 else byte for n, byte in enumerate(data.PixelData))
    data.save_as(film)
    seal_file(source, site, again=True)
    altered(film)
    held = hold(source, [site.certificate])
    assert (held.answer.label, held.seal.number, len(held.answer.boxes)) == ("tampered", 2, 1)


def test_seals_of_one_name_find_their_images_in_a_folder_of_seals(run, series, tmp_path):
    key, seals = tmp_path / "site.key", tmp_path / "seals"
    run("key", key)
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "series"
    other.mkdir()
    for z in range(len(VOLUME)):
        ct_slice(z, VOLUME[z] ^ 1, SeriesInstanceUID="1.2.9", SOPInstanceUID=f"1.2.9.{z}").save_as(
            other / f"{z}.dcm", enforce_file_format=True)
    assert run("seal", series, other, "--key", key, "-o", seals)[0] == 0
    assert len(list(seals.glob("*.seal"))) == 2
    assert run("verify", series, other, "--key", key, "--seal", seals)[0] == 0


def test_what_is_taken_away_is_said_and_what_was_renamed_is_not(run, film, tmp_path):
    key, folder = tmp_path / "site.key", tmp_path / "films"
    run("key", key)
    folder.mkdir()
    film.rename(folder / "a.dcm")
    data = pydicom.dcmread(folder / "a.dcm")
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.7"
    data.save_as(folder / "b.dcm")
    assert run("seal", folder, "--key", key)[0] == 0
    (folder / "a.dcm").rename(folder / "c.dcm")
    code, out, _ = run("verify", folder, "--key", key)
    assert (code, out.count("authentic: "), "not there any more" in out) == (0, 2, False)
    (folder / "c.dcm").unlink()
    code, out, _ = run("verify", folder, "--key", key)
    assert (code, "a.dcm\n  It is sealed, and is not there any more" in out) == (3, True)


def film_of(path: Path, number: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    made(FILM ^ number, f"1.2.{number}", SeriesInstanceUID=f"1.3.{number}", SOPClassUID=MG, Modality="MG").save_as(
        path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("how", ["file", "seal with it", "seal alone", "object alone"])
def test_a_sealed_film_that_another_took_the_place_of_is_said(run, key, tmp_path, how):
    folder = tmp_path / "films"
    one, two = film_of(folder / "a.dcm", 1), film_of(folder / "b.dcm", 2)
    assert run("seal", folder, "--key", key, "--dicom")[0] == 0
    assert run("verify", folder, "--key", key)[0] == 0
    gone = folder / "b.dcm.seal.dcm"
    if how in ("file", "seal with it"):
        gone.unlink()
        shutil.copy(one, two)
        if how == "seal with it":
            shutil.copy(folder / "a.dcm.seal", folder / "b.dcm.2.seal")
        for path in (folder, two):
            code, out, _ = run("verify", path, "--key", key)
            assert (code, "Another image was sealed in its place" in out) == (3, True)
        assert run("verify", one, "--key", key)[0] == 0
        return
    two.unlink()
    if how == "seal alone":
        gone.unlink()
        (folder / "b.dcm.seal").rename(folder / "a.dcm.2.seal")
        words = "a.dcm.2\n  It is sealed, and is not there any more"
    else:  # what an object refers to is not signed
        (folder / "b.dcm.seal").unlink()
        data = pydicom.dcmread(gone)
        (part,) = data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        part.SeriesInstanceUID, part.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.3.1", "1.2.1"
        data.save_as(gone)
        words = "b.dcm\n  It is sealed, and is not there any more"
    code, out, _ = run("verify", folder, "--key", key)
    assert (code, words in out) == (3, True)


def test_a_film_that_says_it_is_another_is_held_to_that_ones_seal(run, key, tmp_path):
    folder = tmp_path / "films"
    one, two = film_of(folder / "a.dcm", 1), film_of(folder / "b.dcm", 2)
    assert run("seal", folder, "--key", key)[0] == 0
    shutil.copy(one, two)
    shutil.copy(folder / "a.dcm.seal", folder / "b.dcm.2.seal")
    data = pydicom.dcmread(two)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.2"
    data.save_as(two)
    for path in (folder, two):
        code, out, _ = run("verify", path, "--key", key)
        assert (code, f"inconclusive: {two}" in out, f"authentic: {two}" in out) == (3, True, False)


def test_a_sealed_series_that_another_took_the_place_of_is_said(run, key, tmp_path):
    for number, name in enumerate(("one", "two")):
        (tmp_path / "all" / name).mkdir(parents=True)
        for z in range(4):
            uid = f"1.3.{number}"
            data = ct_slice(z, VOLUME[z + number], SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.{z}")
            data.save_as(tmp_path / "all" / name / f"{z}.dcm", enforce_file_format=True)
    assert run("seal", tmp_path / "all", "--key", key)[0] == 0
    shutil.copytree(tmp_path / "all" / "one", tmp_path / "all" / "two", dirs_exist_ok=True)
    for path in (tmp_path / "all", tmp_path / "all" / "two"):
        code, out, _ = run("verify", path, "--key", key)
        assert (code, "Another image was sealed in its place" in out) == (3, True)


def test_honest_moves_and_other_uids_are_no_replacement(run, key, tmp_path):
    folder = tmp_path / "films"
    one, two = film_of(folder / "a.dcm", 1), film_of(folder / "b.dcm", 2)
    assert run("seal", folder, "--key", key)[0] == 0
    one.rename(folder / "c.dcm")
    two.rename(one)
    (folder / "c.dcm").rename(two)
    for path in (folder, one, two):
        assert run("verify", path, "--key", key)[0] == 0, "two whose names were changed with one another"
    two.rename(folder / "c.dcm")
    one.rename(two)
    (folder / "c.dcm").rename(one)
    data = pydicom.dcmread(one)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.99"
    data.save_as(one)
    for path in (folder, one, two):
        assert run("verify", path, "--key", key)[0] == 0, "one has another UID, and every voxel that was sealed"


def test_what_is_no_seal_of_the_sites_is_no_lost_image(run, film, tmp_path):
    key, folder = tmp_path / "site.key", tmp_path / "films"
    run("key", key)
    folder.mkdir()
    film.rename(folder / "a.dcm")
    assert run("seal", folder, "--key", key)[0] == 0
    (folder / "folder.seal").mkdir()
    seal_file(Source((folder / "a.dcm",), "file"), STRANGER, tmp_path / "strange").rename(folder / "b.seal")
    assert run("verify", folder, "--key", key)[0] == 0
    (folder / "c.seal").write_text("[]")
    code, out, _ = run("verify", folder, "--key", key)
    assert (code, "c.seal is no seal" in out, "not there any more" in out) == (3, True, False)


def test_a_seals_own_name_is_the_images_and_each_has_its_own(site, two):
    made = {source: seal_file(source, site) for source in sources_of(two)}
    assert {read_seal(path).name for path in made.values()} == {"two"}
    assert {source: hold(source, [site.certificate]).seal.root for source in made} == \
        {source: read_seal(path).root for source, path in made.items()}


def test_pictures_whose_long_names_begin_alike_have_a_seal_each(run, key, tmp_path):
    names = [f"{'ü' * 123}{end}.png" for end in "ab"]  # 251 bytes of the 255 that a name may have
    for name, value in zip(names, (9, 200), strict=True):
        assert cv2.imwrite(str(tmp_path / name), np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8) + value)
    assert run("seal", *(tmp_path / name for name in names), "--key", key)[0] == 0
    for name in names:
        code, out, _ = run("verify", tmp_path / name, "--key", key)
        assert (code, out.startswith("authentic")) == (0, True)
    (tmp_path / names[1]).write_bytes((tmp_path / names[0]).read_bytes())
    code, out, _ = run("verify", tmp_path / names[1], "--key", key)
    assert (code, out.startswith("inconclusive")) == (3, True)
