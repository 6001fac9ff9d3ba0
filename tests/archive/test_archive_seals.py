"""An archive hears the seals that lie beside its images, and keeps no key."""

import json

import pydicom
import pytest
from archives import rows
from objects import dicom_file

METHOD = ("--method", "copy-move", "--workers", 1)


@pytest.fixture
def sealed(tmp_path, run):
    """Two sealed films, one of which was altered since, and one that nobody sealed; and the key."""
    key = tmp_path / "site.key"
    assert run("key", key)[0] == 0
    films = tmp_path / "films"
    paths = [dicom_file(films / f"{number}.dcm", seed=number) for number in range(3)]
    assert run("seal", *paths[:2], "--key", key)[0] == 0
    data = pydicom.dcmread(paths[1])
    pixels = data.pixel_array.copy()
    pixels[40:60, 40:60] //= 2
    data.PixelData = pixels.tobytes()
    data.save_as(paths[1])
    return films, key


def test_a_seal_is_heard_with_the_key_and_the_key_is_kept_nowhere(sealed, tmp_path, run):
    films, key = sealed
    out = tmp_path / "out"
    assert run("archive", films, "-o", out, *METHOD, "--key", key)[0] == 1
    found = {name: row for name, row in rows(out).items() if name.endswith(".dcm")}
    said = [{one["method"]: one["label"] for one in json.loads(found[f"films/{n}.dcm"]["evidence"])} for n in range(3)]
    assert [one.get("seal") for one in said] == ["authentic", "tampered", None]
    assert (found["films/1.dcm"]["label"], found["films/1.dcm"]["kinds"]) == ("tampered", ["seal"])
    secret = key.read_text().split()[1]
    for path in out.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert secret.encode() not in data and bytes.fromhex(secret) not in data and str(key).encode() not in data
    assert run("archive", films, "-o", out, *METHOD)[2].count("differs in its key") == 1


def test_a_certificate_takes_the_place_of_the_key(sealed, tmp_path, run):
    films, key = sealed
    assert run("certificate", "--key", key, "-o", tmp_path / "site.crt")[0] == 0
    asked = ("archive", films, "-o", tmp_path / "out", *METHOD, "--certificate", tmp_path / "site.crt")
    code, _, err = run(*asked)
    assert code == 1, err
    assert rows(tmp_path / "out")["films/1.dcm"]["kinds"] == ["seal"]


@pytest.mark.parametrize(("source", "more", "words"), [
    ("file://{films}", ("--key", "{key}"), "are for folders and lists"),
    ("{films}", ("--key", "{films}/0.dcm"), "0.dcm"), ("{films}", ("--key", "gone"), "gone")])
def test_what_cannot_be_is_said_before_anything_is_written(sealed, tmp_path, run, source, more, words):
    names = {"films": sealed[0], "key": sealed[1]}
    code, _, err = run("archive", source.format(**names), "-o", tmp_path / "out", *METHOD,
                       *(one.format(**names) for one in more))
    assert code == 2 and words in err and err.count("\n") == 1 and not (tmp_path / "out").exists()
