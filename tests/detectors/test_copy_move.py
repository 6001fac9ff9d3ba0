"""The copy-move detector: what it finds, what it leaves alone, and what it says."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outside import DATA

from scanward.attacks.copy_move import CopyMove as Attack
from scanward.detectors.copy_move import CopyMove, keypoints, verify
from scanward.detectors.copy_move.matching import Transform
from scanward.image import Image

SOURCE, TARGET, DIAMETER = (150.0, 140.0), (300.0, 190.0), 76.0


def breast(seed: int = 0, height: int = 460, width: int = 380, bits: int = 8, grain: float = 0.012) -> Image:
    """A half ellipse of tissue on dark film, with soft density, a few ducts and film grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    inside = ((y - 0.5) / 0.47) ** 2 + (x / 0.9) ** 2 < 1
    density = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 14)
    plane = np.where(inside, 0.45 + 0.1 * density / density.std(), 0.03).astype(np.float32)
    for _ in range(8):
        ends = rng.uniform((0, 0.1), (0.7, 0.9), (2, 2)) * (width, height)
        duct = cv2.line(np.zeros_like(plane), *(tuple(int(v) for v in e) for e in ends), 1.0, 2, cv2.LINE_AA)
        plane += 0.04 * cv2.GaussianBlur(duct, (0, 0), 1.2) * inside
    plane = cv2.GaussianBlur(plane, (0, 0), 1.0) + rng.normal(0, grain, plane.shape)
    largest = 2**bits - 1
    pixels = np.clip(np.rint(plane * largest), 0, largest).astype(np.float32)
    return Image(pixels[None], "MG", (1.0, 0.2, 0.2), bits=bits)


def copied(host: Image, source: tuple[float, float] = SOURCE, target: tuple[float, float] = TARGET,
           diameter: float = DIAMETER, **transform: float) -> tuple[Image, np.ndarray]:
    """The host with a region of it pasted at `target` (y, x), and the truth mask (y, x)."""
    shape = {"kind": "ellipse", "y": target[0], "x": target[1], "diameter": diameter, "aspect": 0.9, "angle": 20.0,
             "seed": 3, "feather": 2.0}
    params = {"shape": shape, "strength": 1.0, "source": list(source), "plain": False, "mirror": False, "turn": 0.0,
              "scale": 1.0, "gain": 1.0, "offset": 0.0} | transform
    patch = Attack().apply(host, params)
    plane, mask = host.plane.copy(), np.zeros(host.plane.shape, bool)
    where = patch.box.slices[1:]
    plane[where], mask[where] = patch.values[0], patch.mask[0]
    return host.with_plane(plane), mask


def overlap(marked: np.ndarray, truth: np.ndarray) -> float:
    """IoU of the truth with the marked components that touch it."""
    _, labels = cv2.connectedComponents(marked.astype(np.uint8))
    own = np.isin(labels, np.setdiff1d(np.unique(labels[truth]), [0]))
    return float((own & truth).sum() / (own | truth).sum())


@pytest.mark.parametrize("transform", [
    {}, {"gain": 0.8, "offset": 12.0}, {"mirror": True}, {"turn": 90.0}, {"turn": 37.0},
    {"turn": -140.0, "mirror": True}, {"scale": 1.15}, {"scale": 0.87, "turn": 20.0},
], ids=str)
def test_a_copy_is_found_and_both_places_are_marked(transform: dict[str, float]) -> None:
    image, mask = copied(breast(), **transform)
    evidence = CopyMove().detect(image)
    assert evidence.label == "tampered"
    marked = evidence.heat[0] >= evidence.heat_threshold
    assert overlap(marked, mask) > 0.6
    assert marked[int(SOURCE[0]), int(SOURCE[1])], "the source is marked too"
    assert not marked[:, 300:].any(), "nothing else is"
    assert len(evidence.findings) == 2


def test_the_reason_says_from_where_to_where_and_how() -> None:
    image, _ = copied(breast(1), mirror=True)
    reason = CopyMove().detect(image).reason
    found = re.search(r"copied from \((\d+), (\d+)\) to \((\d+), (\d+)\)", reason)
    assert found, reason
    x0, y0, x1, y1 = (int(v) for v in found.groups())
    assert np.hypot(x0 - SOURCE[1], y0 - SOURCE[0]) < 5, reason
    assert np.hypot(x1 - TARGET[1], y1 - TARGET[0]) < 5, reason
    assert "mirrored" in reason
    assert "turned" not in reason


def test_a_seam_tells_the_copy_from_its_source() -> None:
    """Brightened, so that the copy has a visible border and the source has none."""
    image, mask = copied(breast(11), offset=20.0)
    evidence = CopyMove().detect(image)
    first = evidence.findings[0]
    assert mask[tuple(int(v) for v in first.box.centre[1:])]
    assert first.score > evidence.findings[1].score >= evidence.heat_threshold
    assert "or the reverse" not in evidence.reason


def test_the_reason_gives_the_angle_and_the_scale() -> None:
    image, _ = copied(breast(2), turn=60.0, scale=1.15, offset=45.0)
    reason = CopyMove().detect(image).reason
    angle, scale = re.search(r"turned by (-?\d+)°, scaled by ([\d.]+)", reason).groups()  # type: ignore[union-attr]
    assert abs(abs(int(angle)) - 60) <= 2
    assert abs(float(scale) - 1.15) < 0.03


@pytest.mark.parametrize("seed", range(6))
def test_an_authentic_film_raises_no_alarm(seed: int) -> None:
    evidence = CopyMove().detect(breast(seed))
    assert evidence.label == "authentic"
    assert evidence.score < 1e-3
    assert not evidence.findings
    assert not (evidence.heat >= evidence.heat_threshold).any()


def test_the_same_letters_twice_in_a_label_raise_no_alarm() -> None:
    host = breast(3)
    plane = host.plane.astype(np.uint8)
    for y in (40, 90, 400):
        cv2.putText(plane, "RRRR", (290, y), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 250.0, 2)
    assert CopyMove().detect(host.with_plane(plane.astype(np.float32))).label == "authentic"


def test_saturated_and_constant_areas_do_not_match_one_another() -> None:
    host = breast(4)
    plane = host.plane.copy()
    for y in (100, 200, 300):
        cv2.circle(plane, (120, y), 30, host.largest, -1)
        cv2.rectangle(plane, (190, y - 25), (240, y + 25), 90.0, -1)
    assert CopyMove().detect(host.with_plane(plane)).label == "authentic"


def test_ovals_that_resemble_one_another_as_calcifications_do_raise_no_alarm(monkeypatch):
    host, rng = breast(1, grain=0.006), np.random.default_rng(101)
    plane, (y, x) = host.plane.copy(), np.mgrid[:460, :380]
    for cy, cx, turn in zip(rng.uniform(110, 350, 14), rng.uniform(30, 250, 14), rng.uniform(0, 3.14, 14), strict=True):
        u, v = (y - cy) * np.cos(turn) + (x - cx) * np.sin(turn), (x - cx) * np.cos(turn) - (y - cy) * np.sin(turn)
        plane += 100 * cv2.GaussianBlur(np.clip(12.5 - np.hypot(u / 0.7, v), 0, 1).astype(np.float32), (0, 0), 1)
    image = host.with_plane(np.clip(np.rint(plane), 0, 255).astype(np.float32))
    assert CopyMove().detect(image).label == "authentic"
    monkeypatch.setattr(verify, "_turned", lambda *_: ())
    assert CopyMove().detect(image).label == "tampered", "these do match, until they are turned"


def test_a_straight_scratch_does_not_match_itself() -> None:
    host = breast(5)
    plane = host.plane.copy()
    plane[228:231] += 60
    plane[:, 100:102] -= 40
    assert CopyMove().detect(host.with_plane(plane)).label == "authentic"


@pytest.mark.parametrize("quality", [85, 95])
def test_a_copy_survives_jpeg_of_the_whole_image(quality: int) -> None:
    image, mask = copied(breast(6, grain=0.02), diameter=100)
    _, data = cv2.imencode(".jpg", image.plane.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    evidence = CopyMove().detect(image.with_plane(cv2.imdecode(data, cv2.IMREAD_UNCHANGED)))
    assert evidence.label == "tampered"
    assert overlap(evidence.heat[0] >= evidence.heat_threshold, mask) > 0.5


def test_a_large_image_is_answered_in_its_own_pixels() -> None:
    image, mask = copied(breast(7, 1840, 1520, bits=12), (600, 500), (1200, 700), 300.0)
    evidence = CopyMove().detect(image)
    assert evidence.heat.shape == image.shape
    assert evidence.label == "tampered"
    assert overlap(evidence.heat[0] >= evidence.heat_threshold, mask) > 0.7
    y, x = np.nonzero(mask)
    assert any(abs(f.box.x0 - x.min()) < 20 and abs(f.box.y1 - y.max()) < 20 for f in evidence.findings)


@pytest.mark.parametrize(("shape", "words"), [((1, 40, 500), "too small"), ((1, 300, 300), "too little grain"),
                                              ((4, 128, 128), "single images")])
def test_what_cannot_be_judged_is_inconclusive(shape: tuple[int, int, int], words: str) -> None:
    evidence = CopyMove().detect(Image(np.full(shape, 7, np.float32), "MG"))
    assert evidence.label == "inconclusive"
    assert words in evidence.reason
    assert evidence.heat.shape == shape


def test_the_answer_is_the_same_twice() -> None:
    image, _ = copied(breast(8), turn=25.0)
    first, second = CopyMove().detect(image), CopyMove().detect(image)
    assert np.array_equal(first.heat, second.heat)
    assert first.reason == second.reason


@settings(max_examples=30, deadline=None)
@given(st.complex_numbers(min_magnitude=0.5, max_magnitude=2), st.complex_numbers(max_magnitude=900), st.booleans(),
       st.complex_numbers(max_magnitude=900))
def test_the_matrix_of_a_transform_maps_as_its_equation_says(a: complex, b: complex, mirrored: bool,
                                                             p: complex) -> None:
    x, y = Transform(a, b, mirrored).matrix() @ [p.real, p.imag, 1]
    assert complex(x, y) == pytest.approx(a * (p.conjugate() if mirrored else p) + b, abs=1e-6)


def test_descriptors_do_not_change_when_the_image_is_turned_or_mirrored() -> None:
    grain = keypoints.band(breast(9).plane, 0.15)
    at = np.array([100 + 150j, 130 + 200j, 90 + 260j], np.complex64)
    here = keypoints.vectors(keypoints.describe(grain, at))
    quarter = np.ascontiguousarray(np.rot90(grain))
    turned = (at.imag + 1j * (grain.shape[1] - 1 - at.real)).astype(np.complex64)
    there = keypoints.vectors(keypoints.describe(quarter, turned))
    assert (here * there).sum(axis=1) == pytest.approx(np.ones(3), abs=1e-3)
    flipped = (grain.shape[1] - 1 - at.real + 1j * at.imag).astype(np.complex64)
    there = keypoints.vectors(keypoints.describe(np.ascontiguousarray(grain[:, ::-1]), flipped), mirrored=True)
    assert (here * there).sum(axis=1) == pytest.approx(np.ones(3), abs=1e-3)


def test_the_false_alarm_bound_holds_for_unrelated_grain() -> None:
    """Of 400 pairs of unrelated coloured noise, about 40 may fall below the tail's tenth, and 4 below its hundredth."""
    rng = np.random.default_rng(0)
    region = np.ones((40, 40), bool)
    noise = [cv2.GaussianBlur(rng.normal(0, 1, (40, 40)).astype(np.float32), (0, 0), 1.0) for _ in range(800)]
    tails = np.array([verify._log_tail(a, b, region) for a, b in zip(noise[::2], noise[1::2], strict=True)])
    assert (tails < -1).mean() < 0.16
    assert (tails < -2).mean() < 0.03
    assert (tails < -1).any()


@pytest.mark.data("mias/images")
def test_a_real_film_is_authentic_until_a_region_is_copied() -> None:
    pixels = cv2.imread(str(DATA / "mias" / "images" / "mdb006.png"), cv2.IMREAD_UNCHANGED).astype(np.float32)
    film = Image(pixels[None], "MG", (1.0, 0.2, 0.2), bits=8)
    assert CopyMove().detect(film).label == "authentic"
    image, mask = copied(film, (542, 368), (573, 609), 80.0, turn=33.0)
    evidence = CopyMove().detect(image)
    assert evidence.label == "tampered"
    assert overlap(evidence.heat[0] >= evidence.heat_threshold, mask) > 0.7
