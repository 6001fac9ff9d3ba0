"""The breast is found; labels, wedges, tape and scanner borders are not taken for it."""

import csv

import cv2
import numpy as np
import pytest
from outside import DATA

from scanward.anatomy.breast import breast_mask, chest_wall


def phantom(height: int = 512, width: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """A film (y, x) with a breast at its left, a label, a wedge, a bright border; and the breast's truth."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    r = np.hypot((y - height / 2) / (0.42 * height), x / (0.7 * width))
    truth = r < 1
    film = np.where(truth, 60 + 120 * np.sqrt(np.clip(1 - r, 0, 1)), 4) + rng.normal(0, 1.5, (height, width))
    film[20:70, width - 90:width - 30] = 230
    film[:, width - 8:] = 250
    film[height - 40:height - 10, width - 120:width - 40] = np.linspace(20, 240, 80)
    return np.clip(film, 0, 255).astype(np.float32), truth


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_only_the_breast_is_found() -> None:
    film, truth = phantom()
    found = breast_mask(film)
    assert found.shape == film.shape and found.dtype == np.bool_
    assert overlap(found, truth) > 0.95
    assert not found[20:70, 310:370].any(), "the label"
    assert not found[:, 395:].any(), "the border"
    assert not found[472:502, 280:360].any(), "the wedge"


def test_a_label_that_glows_into_the_breast_is_left_out() -> None:
    film, truth = phantom()
    label = np.zeros(film.shape, np.float32)
    label[70:130, 215:275] = 240
    film = np.maximum(film, np.maximum(label, 0.15 * cv2.GaussianBlur(label, (0, 0), 15)))
    found = breast_mask(film)
    assert not found[70:130, 215:275].any()
    assert overlap(found, truth) > 0.9


def test_a_dense_mass_by_the_skin_stays_in_the_breast() -> None:
    film, truth = phantom()
    y, x = np.mgrid[:512, :400]
    mass = 230 * np.exp(-((y - 256) ** 2 + (x - 255) ** 2) / (2 * 12**2))
    assert truth[256, 255]
    assert breast_mask(np.maximum(film, mass).astype(np.float32))[246:266, 245:265].all()


def test_a_white_mass_beside_the_digitisers_frame_stays_in_the_breast() -> None:
    film, _ = phantom()
    film = np.ascontiguousarray(film[:, ::-1])
    film[:, -5:] = 255
    y, x = np.mgrid[:512, :400]
    mass = np.where(np.hypot(y - 256, x - 374) < 16, 250, 0)
    found = breast_mask(np.maximum(film, mass).astype(np.float32))
    assert found[mass > 0].all()
    assert not found[200:300, -5:].any(), "the frame"


@pytest.mark.parametrize(("scale", "offset"), [(257, 0), (16, 900), (0.004, 0)])
def test_depth_does_not_matter(scale: float, offset: float) -> None:
    film, _ = phantom()
    assert overlap(breast_mask((film * scale + offset).astype(np.float32)), breast_mask(film)) > 0.99


@pytest.mark.parametrize("factor", [0.5, 3])
def test_size_does_not_matter(factor: float) -> None:
    film, truth = phantom()
    size = (round(400 * factor), round(512 * factor))
    found = breast_mask(cv2.resize(film, size, interpolation=cv2.INTER_LINEAR))
    assert overlap(found, cv2.resize(truth.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0) > 0.94


def test_mirror_images_have_mirrored_masks() -> None:
    film, _ = phantom()
    assert overlap(breast_mask(np.ascontiguousarray(film[:, ::-1]))[:, ::-1], breast_mask(film)) > 0.99


def test_margin_peels_the_skin_but_not_the_chest_wall() -> None:
    film, _ = phantom()
    whole, inner = breast_mask(film), breast_mask(film, margin=20)
    row = 256
    assert whole[row].sum() - inner[row].sum() == pytest.approx(20, abs=3)
    assert inner[row, 0]
    assert not (inner & ~whole).any()


def test_a_crop_of_tissue_is_all_tissue() -> None:
    film, _ = phantom()
    assert breast_mask(np.ascontiguousarray(film[180:330, 10:160])).all()


@pytest.mark.parametrize("film", [np.zeros((64, 64)), np.full((40, 90), 7.0), np.ones((1, 1)), np.eye(5)],
                         ids=["zeros", "flat", "1x1", "5x5"])
def test_nothing_to_see_is_all_tissue(film: np.ndarray) -> None:
    assert breast_mask(film.astype(np.float32)).all()


@pytest.mark.data("mias/images")
def test_every_annotated_lesion_of_mini_mias_lies_in_the_breast() -> None:
    root = DATA / "mias"
    with (root / "annotations.csv").open(encoding="utf-8") as table:
        # mdb212's only annotation lies on the black film, far from the breast
        rows = [row for row in csv.DictReader(table) if row["x"] and row["film"] != "mdb212"]
    assert len(rows) > 80
    for row in rows:
        plane = cv2.imread(str(root / "images" / f"{row['film']}.png"), cv2.IMREAD_UNCHANGED).astype(np.float32)
        found = breast_mask(plane)
        assert found[int(float(row["y"])), int(float(row["x"]))], row["film"]
        assert 0.1 < found.mean() < 0.95


def test_on_which_side_the_chest_wall_is() -> None:
    film, _ = phantom()
    assert chest_wall(film) == "left"
    assert chest_wall(film[:, ::-1]) == "right"
    assert chest_wall(np.zeros((300, 200), np.float32)) == ""
    assert chest_wall(np.maximum(film, film[:, ::-1])) == ""
