"""Pictures of a verdict, asserted by what an eye would see in them."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from scanward.box import Box
from scanward.image import Image
from scanward.report import heat
from scanward.verdict import Evidence, Finding, Verdict

BLUE = np.array(heat.FOUND)
PLACE = Box(0, 150, 100, 1, 210, 140)


def film(height=400, width=300, spacing=(1.0, 0.1, 0.1)) -> Image:
    """A bright half disc of tissue on black, like a breast."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot((y - height / 2) / (height * 0.45), x / (width * 0.7)) < 1
    plane = np.where(inside, 20000 + 60 * (y % 7) + 40 * x, 300).astype(np.float32)
    return Image(plane[None], "MG", spacing)


def verdict(image: Image, box=PLACE, level=0.9, threshold=0.5, findings=None) -> Verdict:
    hot = np.zeros(image.shape, np.float32)
    hot[box.slices] = level
    found = (Finding(box, level, method="self-reference"),) if findings is None else findings
    evidence = Evidence("self-reference", level, threshold, hot, threshold, found)
    return Verdict(level, threshold, "tampered", hot, found, (evidence,), "self-reference", "MG")


def blue(picture) -> np.ndarray:
    return np.abs(picture[..., :3].astype(int) - BLUE).max(axis=2) < 12


def test_heat_is_drawn_where_it_is_and_nowhere_else():
    image = film()
    plain = heat.overlay(image, verdict(image, level=0.0, findings=()), width=300)
    hot = heat.overlay(image, verdict(image, findings=()), width=300)
    changed = (plain != hot).any(axis=2)
    expected = np.zeros((400, 300), bool)
    expected[150:210, 100:140] = True
    assert np.array_equal(changed, expected)


def test_heat_below_half_of_its_threshold_is_not_drawn():
    image = film()
    plain = heat.overlay(image, verdict(image, level=0.0, findings=()))
    assert np.array_equal(heat.overlay(image, verdict(image, level=0.24, findings=())), plain)
    assert not np.array_equal(heat.overlay(image, verdict(image, level=0.4, findings=())), plain)


def test_more_heat_is_lighter_and_hides_more():
    """Lightness alone must carry the order, for eyes that see no hue."""
    levels = np.linspace(0.3, 1, 40, dtype=np.float32)[None]
    layer = heat._colour(levels, 0.25)
    lightness = cv2.cvtColor(layer[..., :3], cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    assert (np.diff(lightness) >= 0).all() and lightness[-1] > lightness[0] + 90
    assert (np.diff(layer[0, :, 3].astype(int)) >= 0).all()


def test_findings_are_outlined_and_numbered():
    image = film()
    bare = heat.layers(image, verdict(image, findings=()), width=300)
    marked = heat.layers(image, verdict(image), width=300)
    outline = blue(marked.marks) & (marked.marks[..., 3] > 0)
    ys, xs = np.nonzero(outline)
    assert not (blue(bare.marks) & (bare.marks[..., 3] > 0)).any()
    # The box is 100..140 by 150..210; the number stands right of it.
    assert outline[180, 98:103].any() and outline[180, 138:143].any() and outline[148:153, 120].any()
    assert outline[140:175, 144:165].any()
    assert xs.min() >= 97 and ys.max() <= 213


def test_truth_is_a_dashed_white_line_on_black():
    image = film()
    truth = np.zeros((400, 300), bool)
    truth[50:110, 40:120] = True
    marks = heat.layers(image, verdict(image, findings=()), width=300, truth=truth).marks
    around = marks[50:111, 40:121]
    white = (around[..., :3] == 255).all(axis=2) & (around[..., 3] > 0)
    top = white[:3].any(axis=0)
    assert top.any() and not top.all()
    assert 2 <= np.count_nonzero(np.diff(top.astype(int)) == 1) <= 8


def test_scale_bar_has_the_length_it_says():
    image = film(spacing=(1.0, 0.2, 0.1))
    marks = heat.layers(image, verdict(image, findings=()), width=150).marks
    row = (marks[-14, :, :3] == 255).all(axis=1) & (marks[-14, :, 3] > 0)
    # 300 columns of .1 mm shown on 150: 5 pixels a mm, and 5 mm is the longest that fits a quarter.
    assert np.count_nonzero(row) == pytest.approx(25, abs=1)


def test_no_scale_bar_without_spacing():
    image = film(spacing=None)
    assert not heat.layers(image, verdict(image, findings=())).marks.any()


def test_window_is_the_tissues_own_whatever_a_label_shines():
    image = film()
    plane = image.plane.copy()
    plane[:30, 250:] = 65535
    low, high = heat.window(Image(plane[None], "MG"))
    assert low < 22000
    assert high == pytest.approx(np.percentile(plane[(plane > 10000) & (plane < 65535)], 99.5), rel=0.02)


@pytest.mark.parametrize("value", [0, 4095])
def test_flat_images_have_a_picture(value):
    image = Image(np.full((1, 50, 60), value, np.float32), "MG")
    hot = Verdict(0, 0.5, "inconclusive", np.zeros(image.shape, np.float32), (), (), "default", "MG")
    assert heat.overlay(image, hot).shape[2] == 3


@settings(max_examples=30, deadline=None)
@given(st.integers(32, 900), st.integers(32, 900), st.integers(50, 900))
def test_pictures_fit_and_keep_their_proportions(height, width, most):
    image = Image(np.zeros((1, height, width), np.float32), "MG")
    hot = Verdict(0, 0.5, "authentic", np.zeros(image.shape, np.float32), (), (), "default", "MG")
    rows, columns, _ = heat.overlay(image, hot, width=most).shape
    assert columns <= most and rows <= 2 * most
    assert abs(rows - columns * height / width) <= 0.5 * height / width + 1


def test_volume_shows_the_slice_with_the_strongest_heat_and_its_findings():
    pixels = np.zeros((3, 100, 120), np.float32)
    pixels[2] = -600
    hot = np.zeros(pixels.shape, np.float32)
    hot[2, 40:60, 30:50] = 0.9
    hot[0, 10:20, 10:20] = 0.6
    found = (Finding(Box(2, 40, 30, 3, 60, 50), 0.9), Finding(Box(0, 10, 10, 1, 20, 20), 0.6))
    image = Image(pixels, "CT", (2, 1, 1))
    answer = Verdict(0.9, 0.5, "tampered", hot, found, (), "default", "CT")
    layers = heat.layers(image, answer, width=120)
    assert layers.slice_index == 2
    # -600 HU lies half way in the lung window.
    assert layers.grey[5, 5, 0] == 128
    assert blue(layers.marks)[38:63, 28:53].any() and not blue(layers.marks)[8:22, 8:22].any()


def test_close_up_is_centred_on_the_finding():
    plane = np.zeros((300, 300), np.float32)
    plane[140:160, 90:110] = 1000
    image = Image(plane[None], "MG")
    box = Box(0, 130, 80, 1, 170, 120)
    close = heat.crop(image, verdict(image, box=box), Finding(box, 0.9), side=200)
    bright = (close > 200).all(axis=2)
    ys, xs = np.nonzero(bright)
    assert abs(ys.mean() - 99.5) < 1 and abs(xs.mean() - 99.5) < 1
    assert blue(close).any()


def test_close_up_at_the_border_stays_inside():
    image = film()
    assert heat.crop(image, verdict(image), Finding(Box(0, 0, 0, 1, 4, 6), 0.9)).shape == (240, 240, 3)


def test_wrong_shapes_are_refused():
    image = film()
    with pytest.raises(ValueError, match="heat is"):
        heat.overlay(image, verdict(film(100, 300)))
    with pytest.raises(ValueError, match="truth is"):
        heat.overlay(image, verdict(image), truth=np.zeros((3, 3), bool))


places = st.tuples(st.integers(-40, 340), st.integers(-40, 440))


@settings(max_examples=150, deadline=None)
@given(st.lists(places, min_size=1, max_size=40), st.tuples(st.integers(8, 300), st.integers(8, 400)),
       st.integers(1, 3), st.booleans())
def test_numbers_lie_in_the_picture_and_on_no_other(wanted, size, weight, bar):
    width, height = size
    taken = np.zeros((height, width), bool)
    taken[height - 20:, width // 2:] = bar
    found = heat.label_places({str(rank): at for rank, at in enumerate(wanted, 1)}, taken, taken, 0.62 * weight, weight)
    drawn = taken.astype(int)
    for text, place in found.items():
        x0, y0, x1, y1 = place
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        drawn[y0:y1, x0:x1] += 1
        canvas = np.zeros((height + 40, width + 40, 4), np.uint8)
        heat._label(canvas, text, (x0 + 20, y0 + 20, x1 + 20, y1 + 20), heat.FOUND, 0.62 * weight, weight)
        canvas[y0 + 20:y1 + 20, x0 + 20:x1 + 20] = 0
        assert not canvas.any(), "ink beyond its rectangle"
    assert drawn.max() <= 1
    if width >= 100 and height >= 100 and weight == 1:
        assert "1" in found


def test_a_number_that_fits_stands_where_it_belongs():
    free = np.zeros((400, 300), bool)
    place = heat.label_places({"1": (142.0, 150.0)}, free, free, 0.62, 1)["1"]
    assert place[:2] == (142, 150)
    outline = free.copy()
    outline[:, 130:160] = True
    x0, _, x1, _ = heat.label_places({"1": (142.0, 150.0)}, free, outline, 0.62, 1)["1"]
    assert x1 <= 130 or x0 >= 160


@pytest.mark.parametrize("corners", [
    [(290, 0), (290, 5), (285, 390), (0, 0), (0, 390)], [(100, 100), (101, 101), (102, 102), (103, 103)],
    [(230, 370), (240, 372), (250, 374), (260, 376)], [(x, y) for x in range(0, 300, 60) for y in range(0, 400, 60)],
], ids=["borders", "close", "at the scale bar", "many"])
def test_every_finding_gets_its_number_apart_from_others_and_the_scale_bar(corners, monkeypatch):
    image, seen, real = film(), {}, heat._label
    monkeypatch.setattr(heat, "_label", lambda marks, text, place, *more: (
        seen.update({text: place}), real(marks, text, place, *more)))
    found = tuple(Finding(Box(0, y, x, 1, min(400, y + 10), min(300, x + 10)), 0.9) for x, y in corners)
    heat.layers(image, verdict(image, findings=found), width=300)
    assert set(seen) == {"5 mm", *(str(rank) for rank in range(1, len(found) + 1))}
    drawn = np.zeros((400, 300), int)
    for x0, y0, x1, y1 in seen.values():
        assert 0 <= x0 < x1 <= 300 and 0 <= y0 < y1 <= 400
        drawn[y0:y1, x0:x1] += 1
    assert drawn.max() == 1


def test_png_is_the_overlay_without_metadata():
    image = film()
    data = heat.heat_png(image, verdict(image))
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.array_equal(decoded, heat.overlay(image, verdict(image)))
    assert data.count(b"tEXt") == 1 and b"tIME" not in data, "the mark that it is our own, and nothing else"
    with Pillow.open(io.BytesIO(data)) as picture:
        assert picture.text == {"Scanward": "Scanward made this for people; it is no image to be scanned."}


def test_a_number_does_not_stand_in_another_findings_outline():
    free = np.zeros((200, 300), bool)
    boxes = {str(n): (20 + 60 * n, 50, 75 + 60 * n, 110) for n in range(3)}
    inside = {}
    for text, (x0, y0, x1, y1) in boxes.items():
        inside[text] = free.copy()
        inside[text][y0:y1, x0:x1] = True
    others = {text: np.logical_or.reduce([inside[o] for o in boxes if o != text]) for text in boxes}
    wanted = {text: (x1 + 2.0, float(y0)) for text, (_, y0, x1, _) in boxes.items()}
    for text, (x0, y0, x1, y1) in heat.label_places(wanted, free, free, 0.62, 1, others).items():
        assert not others[text][y0:y1, x0:x1].any()
