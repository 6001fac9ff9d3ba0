"""Fingerprints: what they are blind to, and what they are not."""

import cv2
import numpy as np
import pytest

from scanward.seals.fingerprint import (
    COARSE,
    FEW,
    FINE,
    MATCH,
    WIDTH,
    Whole,
    grey_of,
    likeness,
    nearest,
    print_of,
    turned,
)


def organs(seed, side=300, grain=60):
    """Blobs of several sizes, and grain two pixels wide."""
    numbers = np.random.default_rng(seed)
    made = np.zeros((side, side), np.float32)
    for width in (3, 8, 20):
        field = cv2.GaussianBlur(numbers.normal(0, 1, (side, side)), (0, 0), width)
        made += field / field.std() * 150
    return (made + cv2.GaussianBlur(numbers.normal(0, grain, (side, side)), (0, 0), 1.5)).astype(np.float32)


def alike(one, other):
    return likeness(other, Whole, print_of(one).fine, Whole)


def test_a_slice_is_like_itself_whatever_its_gain_window_and_gamma():
    plane = organs(1)
    assert alike(plane, plane) == pytest.approx(1)
    assert alike(plane, plane * 3 - 1000) > 0.99
    assert alike(plane, np.clip(plane, -400, 400)) > MATCH
    assert alike(plane, (plane - plane.min()) ** 1.4) > MATCH


def test_a_copy_laid_a_little_beside_is_found_to_lie_there():
    plane = organs(1)
    assert alike(plane, plane[4:-3, 5:-2]) > MATCH
    turn = cv2.getRotationMatrix2D((150, 150), 1, 1.01)
    assert alike(plane, cv2.warpAffine(plane, turn, (300, 300), borderMode=cv2.BORDER_REPLICATE)) > MATCH


def test_others_are_not_alike_nor_is_the_same_anatomy_with_other_grain_and_details():
    assert alike(organs(1), organs(2)) < 0.5
    numbers = np.random.default_rng(5)
    anatomy = cv2.GaussianBlur(numbers.normal(0, 1, (300, 300)), (0, 0), 12).astype(np.float32)
    scans = [anatomy / anatomy.std() * 300 + cv2.GaussianBlur(numbers.normal(0, 60, (300, 300)), (0, 0), 1.5)
             for _ in range(2)]
    assert alike(scans[0].astype(np.float32), scans[1].astype(np.float32)) < MATCH


def test_a_label_and_edges_that_films_have_in_common_make_no_match():
    films = []
    for seed in (1, 2):
        film = 500 + organs(seed)
        film[:, :6] = film[:, -6:] = 20_000
        film[20:60, 220:260] = 20_000
        film[30:50, 230:250] = 0
        films.append(film)
    assert alike(*films) < 0.5
    assert alike(films[0], cv2.GaussianBlur(films[0], (0, 0), 0.7)) > MATCH


def test_padding_is_seen_through_by_the_second_picture():
    plane = organs(1)
    padded = np.pad(plane, ((30, 10), (0, 60)), constant_values=plane.min())
    kept, found = print_of(plane), print_of(padded)
    assert len(kept.coarse) == 1 and len(found.coarse) == 2
    assert found.inner == pytest.approx((30 / 340, 0, 330 / 340, 300 / 360))
    assert np.abs(found.coarse[1].astype(int) - kept.coarse[0]).max() <= 1
    assert likeness(padded, found.region(1), kept.fine, Whole) == pytest.approx(1)


def test_mirrored_pictures_are_pictures_of_the_mirrored():
    plane = organs(3)
    for flip in ((1, -1), (-1, 1), (-1, -1)):
        own = print_of(np.ascontiguousarray(plane[:: flip[0], :: flip[1]]))
        assert np.abs(turned(print_of(plane).coarse, flip).astype(int) - own.coarse).max() <= 2


@pytest.mark.parametrize("plane", [np.zeros((64, 64)), np.full((64, 64), 7.0), np.ones((20, 200)) * np.arange(200)],
                         ids=["black", "flat", "small"])
def test_what_shows_nothing_has_no_fingerprint(plane):
    assert print_of(plane.astype(np.float32)) is None


def test_values_of_any_kind_have_one():
    colours = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    assert print_of(grey_of(colours)).fine.shape == (FINE, FINE)
    odd = organs(1)
    odd[5, 5], odd[6, 6], odd[7, 7] = np.nan, np.inf, -np.inf
    kept = print_of(grey_of(odd.astype(np.float64)))
    assert kept.coarse.shape == (1, WIDTH) and WIDTH == COARSE**2


def test_the_nearest_are_those_of_the_largest_cosine_also_beyond_one_part():
    numbers = np.random.default_rng(2)
    known = numbers.integers(-127, 128, (40_000, WIDTH), dtype=np.int8)
    asked = known[[3, 39_999]]
    where, close = nearest(known, asked)
    assert where.shape == close.shape == (2, FEW)
    floats = known.astype(np.float64)
    cosines = floats @ asked.T.astype(np.float64) / np.linalg.norm(floats, axis=1)[:, None] / np.linalg.norm(
        asked.astype(np.float64), axis=1)
    for i in range(2):
        assert set(where[i]) == set(np.argsort(-cosines[:, i])[:FEW])
        assert close[i].max() == pytest.approx(1, abs=1e-5)
    assert nearest(known[:2], asked)[0].shape == (2, 2)
