"""The pictures of a study, read again as a viewer reads them."""

from __future__ import annotations

import dataclasses
import math
import re

import cv2
import nibabel
import numpy as np
import pytest
import web_studies

from scanward.box import Box
from scanward.errors import ArgumentError
from scanward.image import Image, Provenance
from scanward.report import pictures
from scanward.report.heat import window
from scanward.verdict import Finding


def assembled(folder, name) -> np.ndarray:
    """The largest level of a pyramid, put together by Deep Zoom's rules."""
    text = (folder / f"{name}.dzi").read_text()
    facts = {k: int(v) for k, v in re.findall(r'(Overlap|TileSize|Width|Height)="(\d+)"', text)}
    suffix, tile, overlap = re.search(r'Format="(\w+)"', text)[1], facts["TileSize"], facts["Overlap"]
    levels = sorted((folder / f"{name}_files").iterdir(), key=lambda path: int(path.name))
    assert [path.name for path in levels] == [str(i) for i in range(len(levels))]
    assert len(levels) - 1 == math.ceil(math.log2(max(facts["Width"], facts["Height"])))
    assert cv2.imread(str(levels[0] / f"0_0.{suffix}"), cv2.IMREAD_GRAYSCALE).shape == (1, 1)
    whole = np.zeros((facts["Height"], facts["Width"]), np.uint8)
    for path in levels[-1].iterdir():
        column, row = map(int, path.stem.split("_"))
        part = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert part.ndim == 2, "grey"
        y, x = max(0, row * tile - overlap), max(0, column * tile - overlap)
        whole[y:y + part.shape[0], x:x + part.shape[1]] = part
    return whole


@pytest.mark.parametrize("shape", [(900, 700), (513, 512), (64, 1500)])
def test_a_film_and_its_heat(tmp_path, shape):
    image = web_studies.film(*shape)
    heat = web_studies.heat_in(image, Box(0, 30, 20, 1, 50, 60))
    pictures.draw(image, heat, (), "authentic", tmp_path / "p")
    assert {p.name for p in (tmp_path / "p").iterdir()} == {"thumb.jpg", "film.dzi", "film_files", "heat.dzi",
                                                            "heat_files"}
    film = assembled(tmp_path / "p", "film")
    assert film.shape == shape
    low, high = window(image)
    expected = np.clip((image.pixels[0] - low) / (high - low), 0, 1) * 255
    assert np.abs(film - expected).mean() < 8
    assert np.array_equal(assembled(tmp_path / "p", "heat"), np.rint(heat[0] * 255).astype(np.uint8))


def test_heat_is_coarser_than_a_large_film(tmp_path):
    image = Image(np.random.default_rng(0).normal(9000, 500, (1, 4200, 3000)).astype(np.float32), "MG")
    pictures.draw(image, web_studies.heat_in(image, Box(0, 2000, 1000, 1, 2400, 1400)), (), "tampered", tmp_path / "p")
    assert assembled(tmp_path / "p", "film").shape == (4200, 3000)
    heat = assembled(tmp_path / "p", "heat")
    assert heat.shape == (2048, 1463)
    y, x = np.nonzero(heat == heat.max())
    assert abs(y.mean() / 2048 - 2200 / 4200) < 0.001
    assert abs(x.mean() / 1463 - 1200 / 3000) < 0.001


def test_thumbnails_show_heat_only_where_something_was_found(tmp_path):
    image = web_studies.film()
    box = Box(0, 500, 150, 1, 580, 230)
    heat = web_studies.heat_in(image, box)
    for label in ("tampered", "authentic"):
        pictures.draw(image, heat, (Finding(box, 0.9),), label, tmp_path / label)
        thumb = cv2.imread(str(tmp_path / label / "thumb.jpg")).astype(int)
        assert max(thumb.shape) == 256
        assert thumb.std() > 20
        colourful = (thumb.max(axis=2) - thumb.min(axis=2) > 60).any()
        assert colourful == (label == "tampered")


def test_a_volume_lies_where_it_did(tmp_path):
    image = web_studies.chest()
    world = ((0.0, 0.8, 0.0, -10.0), (0.8, 0.0, 0.0, -20.0), (0.0, 0.0, 2.5, 30.0))
    image = dataclasses.replace(image, provenance=Provenance(to_world=world))
    box = Box(8, 26, 14, 16, 38, 26)
    heat = web_studies.heat_in(image, box)
    pictures.draw(image, heat, (Finding(box, 0.9),), "tampered", tmp_path / "p")
    assert {p.name for p in (tmp_path / "p").iterdir()} == {"thumb.jpg", "volume.nii.gz", "heat.nii.gz"}
    volume, layer = (nibabel.load(tmp_path / "p" / f"{name}.nii.gz") for name in ("volume", "heat"))
    assert volume.get_data_dtype() == np.int16
    assert layer.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(volume.dataobj).transpose(2, 1, 0), np.rint(image.pixels))
    assert np.array_equal(np.asarray(layer.dataobj).transpose(2, 1, 0), np.rint(heat * 255))
    assert np.array_equal(volume.affine, layer.affine)
    assert np.allclose(volume.affine @ [3, 5, 7, 1], [-(0.8 * 5 - 10), -(0.8 * 3 - 20), 2.5 * 7 + 30, 1])


def test_drawn_twice_is_drawn_once(tmp_path):
    image, folder = web_studies.film(200, 160), tmp_path / "pictures" / "p"
    heat = np.zeros(image.shape, np.float32)
    folder.mkdir(parents=True)
    (folder / "left-over.txt").write_text("of a scan that was interrupted")
    pictures.draw(image, heat, (), "authentic", folder)
    first = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    pictures.draw(image, heat, (), "authentic", folder)
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first
    assert "left-over.txt" not in {path.name for path in first}
    assert [path.name for path in folder.parent.iterdir()] == ["p"]


def test_nothing_is_left_of_what_failed(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures, "_tiles", broken)
    image = web_studies.film(200, 160)
    with pytest.raises(ArgumentError, match="No space left"):
        pictures.draw(image, np.zeros(image.shape, np.float32), (), "authentic", tmp_path / "p")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="the heat is"):
        pictures.draw(image, np.zeros((1, 2, 3), np.float32), (), "authentic", tmp_path / "p")
