"""`scanward key`, `protect` without a method, and what `verify` makes of several images, folders and patterns."""

import json
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
from woven import grain

from scanward.errors import ArgumentError, UnreadableError
from scanward.protectors.seal import make_key, read_key
from scanward.report.heat import png


@pytest.fixture
def key(tmp_path, run):
    path = tmp_path / "site.key"
    code, printed, err = run("key", path)
    assert (code, err) == (0, "") and "secret" in printed
    return path


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    for number, name in enumerate(("a.png", "b.png", "sub/c.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / name), 1500 + grain((number + 1, 300, 220), 64)[number].astype(np.uint16))
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def without_chance(seal):
    """What two seals of one image have in common: time, salt and certificate are new each time."""
    body = json.loads(seal.read_text())["body"]
    return {name: value for name, value in body.items() if name not in ("made", "salt", "certificate", "identity")}


@pytest.mark.parametrize("given", ["films/a.png", "films", "films/*.png", "nowhere.png", "site.key"])
def test_without_a_method_it_is_another_name_of_seal(run, films, key, tmp_path, given, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = contents(films)
    answers = [run(command, given, "--key", key, "-o", command) for command in ("protect", "seal")]
    assert answers[0] == tuple(part.replace("seal/", "protect/") if isinstance(part, str) else part
                               for part in answers[1])
    made = [sorted(path.name for path in Path(command).glob("*")) for command in ("protect", "seal")]
    assert made[0] == made[1] and len(made[0]) == {"films/a.png": 2, "films": 6, "films/*.png": 4}.get(given, 0)
    for name in (name for name in made[0] if name.endswith(".seal")):
        assert without_chance(Path("protect") / name) == without_chance(Path("seal") / name)
    assert contents(films) == before
    if len(made[0]) == 3:
        code, out, err = run("verify", films, "--key", key, "--seal", "protect")
        assert (code, err, out.count("authentic: ")) == (0, "", 3)
    kept = {path.name: path.read_bytes() for path in Path("protect").glob("*")}
    assert run("protect", given, "--key", key, "-o", "protect")[0] == answers[0][0]
    assert {path.name: path.read_bytes() for path in Path("protect").glob("*")} == kept  # nothing is overwritten


def test_a_changed_film_is_found_by_its_seal_and_one_without_stops_no_other(run, films, key):
    two = films / "b.png"
    assert run("protect", films / "*.png", "--key", key, "-o", films)[0] == 0
    pixels = cv2.imread(str(two), cv2.IMREAD_UNCHANGED)
    pixels[150:170, 100:120] += 20
    assert cv2.imwrite(str(two), pixels)
    code, out, err = run("verify", films / "*.png", films / "sub" / "c.png", "--key", key, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, [line["label"] for line in lines]) == (2, ["authentic", "tampered", "inconclusive"])
    assert "sub/c.png" in err and "--seal" in err and "--record" in err and err.count("\n") == 1
    x0, y0, _, x1, y1, _ = lines[1]["findings"][0]["box"]
    assert 80 <= x0 <= 100 and 120 <= x1 <= 140 and 130 <= y0 <= 150 and 170 <= y1 <= 190


def test_a_pattern_that_names_nothing_and_a_record_for_several(run, films, key, tmp_path):
    for command in (("protect", "--method", "tafim", "-o", tmp_path / "out"), ("verify",)):
        code, _, err = run(command[0], films / "*.tif", "--key", key, *command[1:])
        assert code == 2 and "No file matches" in err and err.count("\n") == 1
    code, _, err = run("verify", films / "*.png", "--key", key, "--record", films / "a.png")
    assert code == 2 and "--record" in err and err.count("\n") == 1


def test_of_a_folder_the_image_that_was_verified_is_named(run, films, key):
    film = films / "sub" / "c.png"
    assert run("seal", film, "--key", key)[0] == 0
    (films / "sub" / "drawn.png").write_bytes(png(np.zeros((64, 64), np.uint8)))
    assert run("verify", films / "sub", "--key", key)[1].startswith(f"authentic: {film}\n")
    assert json.loads(run("verify", films / "sub", "--key", key, "--json")[1])["path"] == str(film)


def test_a_key_file_is_new_private_and_whole(tmp_path):
    path = tmp_path / "site.key"
    make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_key(path)) == 32
    with pytest.raises(ArgumentError, match="exists"):
        make_key(path)
    for text in ("", "scanward-key-1 abcd", "0" * 64, "scanward-key-1 " + "g" * 64):
        (tmp_path / "no.key").write_text(text)
        with pytest.raises(UnreadableError, match="no key"):
            read_key(tmp_path / "no.key")
    for path in (tmp_path / "absent.key", tmp_path, Path("/dev/zero")):
        with pytest.raises(UnreadableError, match="no key"):
            read_key(path)
    with pytest.raises(ArgumentError, match="cannot be written"):
        make_key(tmp_path / "nowhere" / "new.key")
