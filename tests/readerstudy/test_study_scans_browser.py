"""A reader pages through chest CT, and marks it, in a real Chromium."""

import numpy as np
import pytest
from accessible import violations
from study_films import TELLING, served
from study_reader import at, enter, press, saved, state
from study_scans import SHAPE, scan_protocol, scans

from scanward.readerstudy.folder import close, read_study
from scanward.readerstudy.log import Spot
from scanward.readerstudy.make import new_study
from scanward.readerstudy.protocol import read_protocol
from scanward.report.slices import volume_in

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.needs("chromium")
pytest.importorskip("fastapi")
AXIAL, CORONAL, SAGITTAL = range(3)
UPSIDE_DOWN = (CORONAL, SAGITTAL)
"""Planes of a scan that counts from the feet, whose heads are up."""


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chests")
    scans(folder, healthy=2, unhealthy=0, fakes=2)
    return folder


@pytest.fixture
def study(chests, tmp_path):
    path = scan_protocol(chests, readers=["Ada"], films={"fake": ["set"], "healthy": ["healthy"]},
                         blind={"fake": 1, "healthy": 1}, open={"fake": 1, "healthy": 1})
    return new_study(read_protocol(path, "scan"), tmp_path / "study")


def whole(page):
    page.wait_for_selector("#viewer[data-volume=whole]")
    page.wait_for_timeout(200)


def spot(page, plane, across, down):
    """Where on the screen the middle of a voxel is, by hand: cubes of voxels, the plane fills its canvas."""
    box = page.locator(f"[data-plane='{plane}'] canvas").bounding_box()
    wide, high = SHAPE[2], SHAPE[1] if plane == AXIAL else SHAPE[0]
    scale = min(box["width"] / wide, box["height"] / high)
    v = high - down - 0.5 if plane in UPSIDE_DOWN else down + 0.5
    return (box["x"] + box["width"] / 2 + (across + 0.5 - wide / 2) * scale,
            box["y"] + box["height"] / 2 + (v - high / 2) * scale)


def said(page, x, y, slice_, values=None):
    start = f"x {x}, y {y}, slice {slice_} \u00b7 " + ("" if values is None else f"{values[slice_ - 1, y, x]} HU")
    page.wait_for_function("start => document.getElementById('voxel')?.textContent.startsWith(start)", arg=start)


def kept(study):
    first = read_study(study.folder).lists[0]["blind"][0]
    return state(study).reading(first.id)


def test_marks_by_mouse_and_by_key_land_on_their_voxels(study, page):
    own = read_study(study.folder)
    values = volume_in(own.film(own.lists[0]["blind"][0].film))
    with served(study.folder) as (address, _):
        enter(page, address, study)
        at(page, 1, 2, "scan")
        whole(page)
        said(page, 60, 60, 13, values)
        page.mouse.click(*spot(page, AXIAL, 35, 70))
        said(page, 35, 70, 13, values)
        press(page, "m")
        page.mouse.click(*spot(page, CORONAL, 85, 5))  # slice 6 of a plane through y = 70
        said(page, 85, 70, 6, values)
        press(page, "ArrowLeft", "ArrowUp", "m", "]", "]", "]")
        said(page, 84, 70, 7, values)
        page.mouse.click(*spot(page, SAGITTAL, 50, 20))
        said(page, 84, 50, 21, values)
        page.click("#mark")
        page.mouse.click(*spot(page, AXIAL, 90, 40))
        press(page, "Escape", "[")
        page.mouse.click(*spot(page, AXIAL, 30, 30))  # looks, and marks no more
        saved(page)
        assert kept(study).spots == [Spot((35, 70, 12), 3), Spot((84, 70, 6), 5), Spot((90, 40, 20), 2)]
        rows = page.locator("#marks li")
        assert "x 35, y 70, slice 13" in rows.nth(0).inner_text()
        page.click("#marks li:nth-child(1) .s-where")
        said(page, 35, 70, 13, values)
        page.click("#marks li:nth-child(1) .s-rate button:nth-child(1)")
        page.click("#marks li:nth-child(2) button.quiet:last-child")
        press(page, "u", "4")
        saved(page)
        found = kept(study)
        assert found.spots == [Spot((35, 70, 12), 1), Spot((90, 40, 20), 2)]
        assert (found.answer, found.confidence) == ("unhealthy", 4)
        assert not TELLING.search(page.content().encode())
    assert page.trouble == []


def test_wheel_keys_slider_window_and_zoom(study, page):
    own = read_study(study.folder)
    values = volume_in(own.film(own.lists[0]["blind"][0].film))
    with served(study.folder) as (address, _):
        enter(page, address, study)
        whole(page)
        boxes = [page.locator(f"[data-plane='{n}'] canvas").bounding_box() for n in range(3)]
        assert boxes[AXIAL]["width"] > 1.8 * boxes[SAGITTAL]["width"] and boxes[AXIAL]["height"] > 1.8 * boxes[
            CORONAL]["height"]
        page.mouse.move(*spot(page, AXIAL, 60, 60))
        page.mouse.wheel(0, 100)
        page.wait_for_function("() => document.querySelector('[data-plane=\"0\"] output')?.value === '12 / 24'")
        press(page, "PageDown", "PageDown")
        page.wait_for_function("() => document.querySelector('[data-plane=\"0\"] output')?.value === '10 / 24'")
        page.locator("[data-plane='0'] input").fill("3")
        said(page, 60, 60, 3)
        assert (page.input_value("#level"), page.input_value("#width")) == ("-600", "1500")
        press(page, "w")
        assert (page.input_value("#level"), page.input_value("#width")) == ("40", "400")
        assert page.locator("#window option:checked").inner_text() == "Mediastinum"
        press(page, "w", "w", "l")
        # Twice as large about the crosshair: a voxel that was 20 beside it is where one 40 beside it was.
        page.mouse.click(*spot(page, AXIAL, 60, 60))
        page.evaluate("() => { for (let i = 0; i < 100; i += 1) kit.keys['+']({}); }")  # to twelve times at most
        box = page.locator("[data-plane='0'] canvas").bounding_box()
        scale = 12 * min(box["width"] / SHAPE[2], box["height"] / SHAPE[1])
        page.mouse.move(box["x"] + box["width"] / 2 + 2 * scale, box["y"] + box["height"] / 2)
        said(page, 62, 60, 3, values)
        press(page, "0")
        page.mouse.move(*spot(page, AXIAL, 20, 100))
        said(page, 20, 100, 3, values)
    assert page.trouble == []


def test_the_pictures_are_the_windowed_planes(study, page):
    own = read_study(study.folder)
    values = volume_in(own.film(own.lists[0]["blind"][0].film)).astype(float)
    with served(study.folder) as (address, _):
        enter(page, address, study)
        whole(page)
        page.mouse.click(*spot(page, AXIAL, 35, 60))
        press(page, "l")
        page.wait_for_timeout(200)
        for number, plane in enumerate((values[12], values[::-1, 60], values[::-1, :, 35])):
            width, pixels = page.evaluate(PIXELS, number)
            shown = np.array(pixels).reshape(-1, width)
            assert off(shown, plane) < 6
            assert number == AXIAL or off(shown, plane[::-1]) > 10  # heads are up


PIXELS = """(number) => {
  const canvas = document.querySelectorAll('#viewer canvas')[number];
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.width, Array.from(pixels).filter((_, i) => i % 4 === 0)];
}"""


def off(shown, plane):
    """By how many of 256 greys the middles of voxels differ from the lung window's, in the mean."""
    scale = min(shown.shape[1] / plane.shape[1], shown.shape[0] / plane.shape[0])
    top, left = ((side - n * scale) / 2 for side, n in zip(shown.shape, plane.shape, strict=True))
    rows, columns = ((np.arange(3, n - 3) + 0.5) for n in plane.shape)
    seen = shown[np.ix_((top + scale * rows).astype(int), (left + scale * columns).astype(int))]
    return np.abs(seen - np.clip((plane[3:-3, 3:-3] + 1350) / 1500, 0, 1) * 255).mean()


def test_both_parts_to_the_end(study, page):
    with served(study.folder) as (address, _):
        enter(page, address, study)
        for number, (word, title) in enumerate((("h", "Real or fake?"), ("f", "Thank you")), 1):
            for place in (1, 2):
                at(page, place, 2, "scan")
                whole(page)
                press(page, "m", word, "3", "Enter")
            page.wait_for_selector("#close")
            page.click("#close")
            page.wait_for_function("title => document.body?.innerText.includes(title)", arg=title)
            if number == 1:
                assert "Some of the scans in this part were altered" in page.inner_text("main")
                page.click("#go")
                page.wait_for_selector("[data-value=fake]")
        found = state(study)
        assert found.part is None and all(len(one.spots) == 1 for one in found.readings.values())
        close(study.folder, "now")
        page.reload()
        assert "fake: a lesion put in" in page.inner_text("main")
        width = page.evaluate("""async path => (await createImageBitmap(await (await fetch(path)).blob())).width""",
                              page.get_attribute("td a", "href"))
        assert width > 1000  # three planes side by side
    assert page.trouble == []


@pytest.mark.parametrize("width", [1280, 390])
def test_every_part_can_be_used_by_everybody(study, page, width):
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(reduced_motion="reduce")
    with served(study.folder) as (address, _):
        enter(page, address, study)
        whole(page)
        press(page, "m")
        page.wait_for_selector("#marks .s-rate")
        saved(page)
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        press(page, "?")
        assert violations(page) == []
    assert page.trouble == []
