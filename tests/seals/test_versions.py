"""Several seals of one image: an older version in a newer one's place is found; seals of the first format are read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pydicom
import pytest
from sealable import FILM, MG, made

from scanward.errors import ArgumentError, UnreadableError
from scanward.formats import Source, find
from scanward.seals.files import hold, read_seal, seal_file, verify_seal
from scanward.seals.finding import lost_seals
from scanward.seals.log import Log

FIRST = Path(__file__).with_name("first")
"""Two seals and a log as they were written before seals had versions."""


def source_of(path: Path) -> Source:
    (source,), errors = find([path])
    assert not errors
    return source


def write(path: Path, by: int) -> None:
    made(FILM ^ by, "1.2.6", SOPClassUID=MG, Modality="MG", ImagerPixelSpacing=[0.1, 0.1], ImageLaterality="L",
         ViewPosition="MLO").save_as(path, enforce_file_format=True)


@pytest.fixture
def kept(film) -> Source:
    return Source((film,), "file")


def test_seals_and_logs_of_before_are_read_and_hold(site, series, film):
    for path, name in ((series, "series.seal"), (film, "film.dcm.seal")):
        seal = read_seal(FIRST / name)
        assert (seal.version, seal.number) == (None, 1)
        assert json.loads(seal.to_json(site))["body"] == json.loads((FIRST / name).read_text())["body"]
        assert verify_seal(source_of(path), seal, [site.certificate], log=Log(FIRST / "log")).label == "authentic"
    write(film, 1)
    answer = verify_seal(source_of(film), read_seal(FIRST / "film.dcm.seal"), [site.certificate])
    assert answer.label != "authentic"


def test_a_seal_of_before_is_followed(site, film, kept, tmp_path):
    path = tmp_path / "film.dcm.seal"
    path.write_bytes((FIRST / "film.dcm.seal").read_bytes())
    new = read_seal(seal_file(kept, site, again=True))
    assert (new.version.number, new.version.follows) == (2, read_seal(path).root.hex())


def test_a_first_seal_says_so_and_what_is_sealed_again_says_what_it_follows(site, film, kept):
    one = seal_file(kept, site)
    with pytest.raises(ArgumentError, match=r"exists already and is not overwritten; .*--again"):
        seal_file(kept, site)
    first = one.read_bytes()
    two, three = (seal_file(kept, site, again=True) for _ in range(2))
    assert one.read_bytes() == first and len({one, two, three}) == 3
    seals = [read_seal(path) for path in (one, two, three)]
    assert [seal.version.number for seal in seals] == [1, 2, 3]
    assert [seal.version.follows for seal in seals] == ["", *(seal.root.hex() for seal in seals[:2])]
    whole = json.loads(two.read_text())
    whole["body"]["version"] = 9
    two.write_text(json.dumps(whole))
    with pytest.raises(UnreadableError, match="was altered"):
        read_seal(two)


def test_an_older_version_in_a_newer_ones_place_is_found_by_the_seals_beside_it(site, film, kept):
    before = film.read_bytes()
    old = read_seal(seal_file(kept, site))
    write(film, 1)
    new = read_seal(seal_file(kept, site, again=True))
    held = hold(kept, [site.certificate])
    assert (held.answer.label, held.seal.root) == ("authentic", new.root)
    film.write_bytes(before)
    held = hold(kept, [site.certificate])
    assert (held.answer.label, held.seal.root, held.answer.voxels.label) == ("inconclusive", old.root, "authentic")
    assert held.answer.reason == f"It was sealed on {old.made}, and a newer version on {new.made}."


def test_what_is_the_same_still_and_was_sealed_twice_is_authentic(site, film, kept, tmp_path):
    log = Log(tmp_path / "log")
    seal_file(kept, site, log=log)
    seal_file(kept, site, log=log, again=True)
    held = hold(kept, [site.certificate], history=log.history([site.certificate]))
    assert (held.answer.label, held.seal.number) == ("authentic", 2)


def test_the_log_says_what_a_seal_follows_where_no_seal_is_left(site, film, kept, tmp_path):
    log = Log(tmp_path / "log")
    one = read_seal(seal_file(kept, site, log=log))
    (tmp_path / "film.dcm.seal").unlink()
    two = read_seal(seal_file(kept, site, log=log))
    assert (two.version.number, two.version.follows) == (2, one.root.hex())
    assert [entry.version.number for entry in log.entries()] == [1, 2]


def test_pictures_of_one_name_are_no_versions_of_one_another(site, tmp_path):
    """They have no UIDs: two films of different patients may be IM1.png, each in its own folder."""
    import cv2

    log, answers = Log(tmp_path / "log"), []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "IM1.png"), FILM + ord(folder))
        seal_file(Source((tmp_path / folder / "IM1.png",), "file"), site, log=log)
    history = log.history([site.certificate])
    for folder in ("a", "b"):
        source = Source((tmp_path / folder / "IM1.png",), "file")
        answers.append(hold(source, [site.certificate], history=history).answer.label)
    assert answers == ["authentic", "authentic"]
    before = (tmp_path / "a" / "IM1.png").read_bytes()
    source = Source((tmp_path / "a" / "IM1.png",), "file")
    cv2.imwrite(str(tmp_path / "a" / "IM1.png"), FILM)
    seal_file(source, site, log=log, again=True).unlink()
    (tmp_path / "a" / "IM1.png").write_bytes(before)
    answer = hold(source, [site.certificate], history=log.history([site.certificate])).answer
    assert (answer.label, "a newer version on" in answer.reason) == ("inconclusive", True)


def test_commands_seal_again_and_say_which_version(run, film, tmp_path):
    key, log = tmp_path / "site.key", tmp_path / "log"
    assert run("key", key)[0] == 0
    before = film.read_bytes()
    assert run("seal", film, "--key", key, "--log", log)[0] == 0
    write(film, 1)
    assert run("seal", film, "--key", key, "--log", log)[0] == 2
    assert run("seal", film, "--key", key, "--log", log, "--again")[0] == 0
    code, out, _ = run("verify", film, "--key", key, "--log", log)
    assert (code, ", version 2, " in out) == (0, True)
    assert json.loads(run("verify", film, "--key", key, "--json")[1])["version"] == 2
    film.write_bytes(before)
    code, out, _ = run("verify", film, "--key", key)
    assert (code, "a newer version on" in out) == (3, True)
    assert run("verify", tmp_path, "--key", key)[1].count("It is sealed, and is not there") == 0
    lines = run("log", "list", log)[1].splitlines()
    assert [json.loads(line)["version"] for line in lines] == [1, 2]


def test_an_older_version_is_found_by_a_seal_of_another_name(site, film, tmp_path):
    before = film.read_bytes()
    old = read_seal(seal_file(source_of(film), site))
    film.unlink()
    renamed = tmp_path / "renamed.dcm"
    data = pydicom.dcmread(io.BytesIO(before))
    data.PixelData = bytes([data.PixelData[0] ^ 1]) + data.PixelData[1:]
    data.save_as(renamed)
    new = read_seal(seal_file(source_of(renamed), site, again=True))
    assert hold(source_of(renamed), [site.certificate]).answer.label == "authentic"
    renamed.unlink()
    film.write_bytes(before)
    for where in (None, tmp_path):
        answer = hold(source_of(film), [site.certificate], where).answer
        assert (answer.label, answer.voxels.label) == ("inconclusive", "authentic")
        assert answer.reason == f"It was sealed on {old.made}, and a newer version on {new.made}."


def test_versions_go_on_in_another_folder(site, film, tmp_path):
    one = read_seal(seal_file(source_of(film), site))
    two = read_seal(seal_file(source_of(film), site, tmp_path / "new", again=True))
    assert (two.version.number, two.version.follows) == (2, one.root.hex())


def test_versions_of_a_series_are_found_beside_its_folder_and_in_it(site, series):
    slices = {path: path.read_bytes() for path in series.iterdir()}
    seal_file(source_of(series), site)
    first = sorted(slices)[0]
    data = pydicom.dcmread(first)
    data.PixelData = bytes([data.PixelData[0] ^ 1]) + data.PixelData[1:]
    data.save_as(first)
    new = read_seal(seal_file(source_of(series), site, series, again=True))
    held = hold(source_of(series), [site.certificate])
    assert (held.answer.label, held.seal.root) == ("authentic", new.root)
    assert lost_seals(series.parent, [source_of(series)]) == []
    first.write_bytes(slices[first])
    assert hold(source_of(series), [site.certificate]).answer.label == "inconclusive"


def test_an_older_picture_is_found_though_the_seal_between_is_gone(site, tmp_path):
    import cv2

    path, seals = tmp_path / "IM1.png", []
    for by in (0, 1, 2):
        cv2.imwrite(str(path), FILM ^ by)
        seals.append(seal_file(Source((path,), "file"), site, again=by > 0))
    seals[1].unlink()
    assert hold(Source((path,), "file"), [site.certificate]).answer.label == "authentic"
    cv2.imwrite(str(path), FILM)
    assert hold(Source((path,), "file"), [site.certificate]).answer.label == "inconclusive"
