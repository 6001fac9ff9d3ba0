"""Pictures of a verdict, asserted by what an eye would see in them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_png_is_the_overlay_without_metadata():
    image = film()
    data = heat.heat_png(image, verdict(image))
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.array_equal(decoded, heat.overlay(image, verdict(image)))
    assert b"tEXt" not in data and b"tIME" not in data
