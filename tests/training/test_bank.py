"""The bank of pairs: halves that differ only where the truth says, and families that can be left out."""

from functools import partial

import numpy as np
import pytest

from scanward.datasets.films import Film
from scanward.image import Image
from scanward.training import bank as module
from scanward.training.bank import Bank, Recipe, make_bank, visit, write_bank


def synthetic(seed: int) -> Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:600, :560]
    breast = np.hypot(y - 300, x) < 420
    plane = np.where(breast, 110 + 40 * np.sin(y / 40) * np.cos(x / 31) + rng.normal(0, 2, y.shape), 2)
    return Image(np.rint(plane).clip(0, 255).astype(np.float32)[None], "MG", spacing=(1.0, 0.2, 0.2), bits=8)


FILMS = [Film(f"f{i}", f"p{i}", "train", partial(synthetic, i)) for i in range(3)]
RECIPE = Recipe(0)


@pytest.fixture
def no_reencoding(monkeypatch):
    monkeypatch.setattr(module, "draw", lambda rng, share: {"step": "none", "amount": 0.0, "seed": 0})


def test_halves_differ_only_near_the_truth(no_reencoding):
    import cv2

    pairs = [pair for i in range(8) for pair in visit(FILMS[i % 3], [], np.random.default_rng(i), RECIPE, pairs=1)]
    assert len(pairs) >= 6
    for pair in pairs:
        reach = round(0.7 * pair.about["mm"] / 0.2) | 1
        near = cv2.dilate(pair.mask.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
        changed = pair.authentic != pair.forged
        assert not changed[~near].any(), pair.about
        assert pair.mask.any()


def test_the_same_seed_gives_the_same_pairs(no_reencoding):
    first, second = (list(visit(FILMS[0], [], np.random.default_rng(7), RECIPE)) for _ in range(2))
    assert all(np.array_equal(a.forged, b.forged) and a.about == b.about for a, b in zip(first, second, strict=True))


def test_a_family_is_left_out_with_the_self_blends_that_mimic_it(tmp_path, no_reencoding):
    pairs = [pair for i in range(6) for pair in visit(FILMS[i % 3], [], np.random.default_rng(i), RECIPE)]
    count = write_bank(tmp_path, iter(pairs))
    bank = Bank(tmp_path)
    assert len(bank) == count == len(pairs)
    kept = bank.without(frozenset({"blur"}))
    assert 0 < len(kept) < len(bank)
    for index in kept:
        assert "blur" not in bank.about[index]["present"]
        assert (bank.about[index]["family"], bank.about[index]["variant"]) not in {("self-blend", "denoise"),
                                                                                  ("self-blend", "blur")}
    reference = bank.references(0)[1]
    assert np.allclose(reference.gains, pairs[0].references[1].gains)
    assert np.array_equal(bank.planes[0, 1], pairs[0].forged)


def test_a_finished_bank_is_opened_and_a_short_one_continued(tmp_path, no_reencoding):
    first = make_bank(tmp_path / "bank", FILMS, Recipe(4), workers=1)
    assert len(first) >= 4
    before = first.planes[0].copy()
    again = make_bank(tmp_path / "bank", FILMS, Recipe(len(first)), workers=1)
    assert len(again) == len(first)
    longer = make_bank(tmp_path / "bank", FILMS, Recipe(len(first) + 3), workers=1)
    assert len(longer) >= len(first) + 3
    assert np.array_equal(longer.planes[0], before)


def test_a_past_softens_the_whole_film_before_the_forgery_and_the_halves_still_differ_only_there(monkeypatch):
    monkeypatch.setattr(module, "past", lambda image, rng: {"step": "smooth", "amount": 1.0, "seed": 0})
    monkeypatch.setattr(module, "draw", lambda rng, share: {"step": "none", "amount": 0.0, "seed": 0})
    recipe = Recipe(0, shares={"blur": 1}, past=1.0)
    pairs = [pair for i in range(4) for pair in visit(FILMS[0], [], np.random.default_rng(i), recipe, pairs=1)]
    plain = [pair for i in range(4) for pair in visit(FILMS[0], [], np.random.default_rng(i), Recipe(0), pairs=1)]
    grain = [np.mean([np.abs(np.diff(p.authentic.astype(float))).mean() for p in found]) for found in (pairs, plain)]
    assert pairs
    assert grain[0] < 0.7 * grain[1]
    for pair in pairs:
        far = np.ones_like(pair.mask)
        ys, xs = np.nonzero(pair.mask)
        reach = round(pair.about["mm"] / 0.2) + 8
        far[max(0, ys.min() - reach):ys.max() + reach, max(0, xs.min() - reach):xs.max() + reach] = False
        assert np.array_equal(pair.authentic[far], pair.forged[far])


def test_a_makers_processing_is_on_both_halves_before_or_after_the_forgery(monkeypatch):
    monkeypatch.setattr(module, "draw", lambda rng, share: {"step": "none", "amount": 0.0, "seed": 0})
    recipe = Recipe(0, shares={"blur": 1}, processed=1.0)
    for late in (0.0, 1.0):
        monkeypatch.setattr(module, "LATE", late)
        pairs = [pair for i in range(4) for pair in visit(FILMS[0], [], np.random.default_rng(i), recipe, pairs=1)]
        assert pairs
        for pair in pairs:
            reach = round(pair.about["mm"] / 0.2) + 8
            ys, xs = np.nonzero(pair.mask)
            far = np.ones_like(pair.mask)
            far[max(0, ys.min() - reach):ys.max() + reach, max(0, xs.min() - reach):xs.max() + reach] = False
            change = np.abs(pair.authentic.astype(float) - pair.forged)
            assert (change[far] > 0.01 * pair.white).sum() <= (0.02 * far.sum() if late else 0)
            assert change[pair.mask].mean() > 0


def test_a_crops_field_is_its_part_of_the_films(tmp_path, no_reencoding):
    pairs = list(visit(FILMS[0], [], np.random.default_rng(3), RECIPE))
    assert write_bank(tmp_path, iter(pairs)) == len(pairs) > 0
    for index, pair in enumerate(pairs):
        for kept, made in zip(Bank(tmp_path).references(index), pair.references, strict=True):
            assert kept.field.shape == (15, 16, 16)
            assert np.allclose(kept.field, made.field, rtol=2e-3)
