"""What the study page shows and measures of a CT, how it hangs mammograms, and where it leads, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import viewer_studies
import web_studies
from viewer_studies import BARE, BOX, CHEST, DOUBT, FOUR, HOSTILE, PRIOR
from web_browser import picture, serve, slide, until

from scanward.inbox.folders import Inbox
from scanward.review.app import make_app

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.needs("chromium")
AXIAL, CORONAL, SAGITTAL = range(3)
TURNED = {AXIAL: (False, False), CORONAL: (False, True), SAGITTAL: (False, True)}
"""Of an axial scan, feet first: heads are up."""
SPACING = (2.5, 1.1, 1.1)


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    return viewer_studies.phantom(tmp_path_factory.mktemp("chest"))


@pytest.fixture(scope="module")
def inbox(tmp_path_factory, chest):
    inbox = Inbox(tmp_path_factory.mktemp("viewer") / "inbox")
    viewer_studies.fill(inbox, chest)
    return inbox


@pytest.fixture(scope="module")
def site(inbox) -> Iterator[str]:
    yield from serve(make_app(inbox, users=None, secret=web_studies.SECRET, https=False,
                              viewer="/ohif/viewer?StudyInstanceUIDs={study}&id={patient}"))


def at(site: str, name: str, query: str = "") -> str:
    return f"{site}/studies/{web_studies.key_of(name)}{query}"


def open_volume(page, site, name=CHEST):
    page.goto(at(site, name))
    page.wait_for_selector("#viewer[data-volume=whole]")
    page.wait_for_timeout(150)


def spot(page, plane: int, across: float, down: float, size: tuple[int, int], spacing=(1.0, 1.0)):
    """Where on the screen a place of a plane is, in voxels, by hand: the plane fills its canvas, in proportion."""
    box = page.locator(f"[data-plane='{plane}'] canvas").bounding_box()
    scale = min(box["width"] / (size[0] * spacing[0]), box["height"] / (size[1] * spacing[1]))
    u, v = (size[i] - one if TURNED[plane][i] else one for i, one in enumerate((across, down)))
    return (box["x"] + box["width"] / 2 + (u - size[0] / 2) * spacing[0] * scale,
            box["y"] + box["height"] / 2 + (v - size[1] / 2) * spacing[1] * scale)


def plane_of(page, number: int) -> np.ndarray:
    return picture(page, f"[data-plane='{number}'] canvas")


def number_of(page, plane: int) -> str:
    return page.locator(f"[data-plane='{plane}'] output").inner_text()


def until_number(page, plane: int, words: str):
    """The planes are drawn with the screen's next frame."""
    until(page, f"document.querySelector('[data-plane=\"{plane}\"] output').value === '{words}'")


def test_the_planes_are_of_equal_size(tab, site):
    for width in (390, 1280, 1800):
        page = tab(width, 900)
        open_volume(page, site)
        boxes = [page.locator(f"[data-plane='{n}'] canvas").bounding_box() for n in range(3)]
        assert len({(round(one["width"]), round(one["height"])) for one in boxes}) == 1
        assert all(one["width"] > 250 and one["height"] > 200 for one in boxes)


def test_the_value_under_the_cursor_is_the_voxels(tab, site, chest):
    page = tab(1280, 900)
    open_volume(page, site)
    z, y, x = 34, 130, 70  # the middle of the finding, through which the planes go at first
    assert page.inner_text("#voxel") == f"x {x}, y {y}, slice {z + 1} · {chest.pixels[z, y, x]:.0f} HU"
    for plane, across, down, size, spacing, voxel in (
            (AXIAL, 200, 100, (288, 288), (1.1, 1.1), (z, 100, 200)),
            (CORONAL, 200, 10, (288, 72), (1.1, 2.5), (10, y, 200)),
            (SAGITTAL, 40, 60, (288, 72), (1.1, 2.5), (60, 40, x))):
        page.mouse.move(*spot(page, plane, across + 0.5, down + 0.5, size, spacing))
        k, j, i = voxel
        assert page.inner_text("#voxel") == f"x {i}, y {j}, slice {k + 1} · {chest.pixels[k, j, i]:.0f} HU"


def test_the_picture_is_the_windowed_slice(tab, site, chest):
    page = tab(1680, 1800)  # so large that a voxel is more than two pixels
    open_volume(page, site)
    for key in ("x", "b", "h"):
        page.keyboard.press(key)
    page.wait_for_timeout(200)
    shown = plane_of(page, AXIAL).mean(axis=2)
    box = page.locator("[data-plane='0'] canvas").bounding_box()
    for y, x in ((60, 60), (150, 140), (200, 90), (230, 144)):
        left, top = spot(page, AXIAL, x + 0.5, y + 0.5, (288, 288), SPACING[1:])
        expected = np.clip((chest.pixels[34, y, x] + 1350) / 1500, 0, 1) * 255
        assert abs(shown[int(top - box["y"]), int(left - box["x"])] - expected) < 3


def test_scrolling_turns_slices(tab, site):
    page = tab(1280, 900)
    open_volume(page, site)
    before, others = plane_of(page, AXIAL), number_of(page, CORONAL)
    assert number_of(page, AXIAL) == "35 / 72"
    page.mouse.move(*spot(page, AXIAL, 144, 144, (288, 288)))
    for number in (34, 33, 32):
        page.mouse.wheel(0, 100)
        until_number(page, AXIAL, f"{number} / 72")
    page.mouse.wheel(0, -100)
    until_number(page, AXIAL, "33 / 72")
    assert np.abs(plane_of(page, AXIAL) - before).mean() > 2
    assert number_of(page, CORONAL) == others
    slider = page.locator("[data-plane='0'] input")
    slider.focus()
    page.keyboard.press("Home")
    until_number(page, AXIAL, "1 / 72")


def test_a_click_puts_the_crosshair_and_keys_move_it(tab, site, chest):
    page = tab(1280, 900)
    open_volume(page, site)
    page.mouse.click(*spot(page, AXIAL, 100.5, 90.5, (288, 288)))
    until_number(page, SAGITTAL, "101 / 288")
    until_number(page, CORONAL, "91 / 288")
    for key, x, y, z in (("ArrowRight", 101, 90, 35), ("ArrowDown", 101, 91, 35), ("PageUp", 101, 91, 36),
                         ("PageDown", 101, 91, 35), ("ArrowLeft", 100, 91, 35), ("ArrowUp", 100, 90, 35)):
        page.locator("[data-plane='0'] canvas").press(key)
        assert page.inner_text("#voxel").startswith(f"x {x}, y {y}, slice {z} ·"), key
    page.locator("[data-plane='1'] canvas").press("ArrowUp")
    assert page.inner_text("#voxel").startswith("x 100, y 90, slice 36 ·"), "up is to the head"


def test_dragging_sets_the_window(tab, site):
    page = tab(1280, 900)
    open_volume(page, site)
    before = plane_of(page, AXIAL)
    x, y = spot(page, AXIAL, 144, 144, (288, 288))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 50, y + 20, steps=4)
    page.mouse.move(x - 100, y + 40)
    page.mouse.up()
    assert (page.input_value("#width"), page.input_value("#level")) == ("1300", "-520"), "two HU a pixel"
    assert page.input_value("#window") == "own"
    assert np.abs(plane_of(page, AXIAL) - before).mean() > 3
    assert number_of(page, CORONAL) == "131 / 288", "the crosshair stays"
    page.fill("#level", "40")
    page.fill("#width", "400")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('window').selectedOptions[0].textContent === 'Mediastinum'")


def test_measuring_in_mm(tab, site):
    page = tab(1280, 900)
    open_volume(page, site)
    page.keyboard.press("m")
    assert page.get_attribute("[data-do=measure]", "aria-pressed") == "true"
    page.mouse.move(*spot(page, AXIAL, 60, 100, (288, 288)))
    page.mouse.down()
    page.mouse.move(*spot(page, AXIAL, 160, 100, (288, 288)), steps=3)
    page.mouse.up()
    # Upwards by 24 slices of 2.5 mm, and to the left by 50 columns of 1.1 mm: a triangle of 55, 60 and 81.4 mm.
    page.mouse.move(*spot(page, CORONAL, 150, 20, (288, 72), (1.1, 2.5)))
    page.mouse.down()
    page.mouse.move(*spot(page, CORONAL, 100, 44, (288, 72), (1.1, 2.5)), steps=3)
    page.mouse.up()
    said = page.locator("#lengths li").all_inner_texts()
    found = [float(re.match(r"([\d.]+) mm, (axial 35|coronal 131)$", one)[1]) for one in said]
    assert abs(found[0] - 110.0) < 1.2, "a voxel is about a pixel of the screen"
    assert abs(found[1] - np.hypot(55, 60)) < 1.5
    page.click("#clear")
    assert not page.locator("#measured").is_visible()


def test_measuring_by_keyboard_is_exact(tab, site):
    page = tab(1280, 900)
    open_volume(page, site)
    page.keyboard.press("m")
    canvas = page.locator("[data-plane='2'] canvas")
    canvas.press("Enter")
    for key in ["ArrowUp"] * 4 + ["ArrowRight"] * 3:
        canvas.press(key)
    canvas.press("Enter")
    # Four slices of 2.5 mm and three rows of 1.1 mm.
    assert page.locator("#lengths li").all_inner_texts() == [f"{np.hypot(10, 3.3):.1f} mm, sagittal 71"]


def test_unknown_spacing_is_said(tab, site):
    page = tab(1280, 900)
    open_volume(page, site, BARE)
    assert "The file gives no spacing" in page.inner_text(".readings")
    page.keyboard.press("m")
    canvas = page.locator("[data-plane='0'] canvas")
    canvas.press("Enter")
    for _ in range(5):
        canvas.press("ArrowRight")
    canvas.press("Enter")
    assert page.locator("#lengths li").all_inner_texts() == ["5.0 voxels (spacing unknown), axial 13"]


def test_heat_is_offered_where_there_is_some(tab, site):
    page = tab(1280, 900)
    open_volume(page, site)
    page.wait_for_selector("#viewer[data-heat=shown]")
    hot = plane_of(page, AXIAL)
    slide(page, "opacity", 0)
    assert np.abs(plane_of(page, AXIAL) - hot).max() > 60
    for name in (BARE, DOUBT):
        page.goto(at(site, name))
        page.wait_for_selector("#viewer[data-volume=whole], #viewer[data-film=open]")
        assert page.locator("#threshold, #opacity, #heat-on").count() == 0, name


def test_no_number_where_nobody_vouches_for_one(tab, site):
    page = tab(1280, 900)
    for place in (at(site, DOUBT), at(site, FOUR, "?image=0000000000000004")):
        page.goto(place)
        page.wait_for_selector("#viewer[data-film=open]")
        assert page.locator(".gauge").count() == 0
        assert "0.50" not in page.inner_text("main").replace("alarm from 0.50", "")
    page.goto(site)
    row = page.locator(f"tr[data-key='{web_studies.key_of(DOUBT)}']")
    assert not re.search(r"\d\.\d\d", row.inner_text())


def test_mammograms_are_hung(tab, site):
    page = tab(1280, 900)
    page.goto(at(site, FOUR))
    until(page, "[...document.querySelectorAll('.hanging image')].length === 5")
    page.wait_for_timeout(500)
    places = page.locator(".hanging:not(.others) .place")
    assert [one.split("\n")[0] for one in places.all_inner_texts()] == ["R CC", "L CC", "R MLO", "No L MLO"]
    assert [one.split("\n")[0] for one in page.locator(".others .place").all_inner_texts()] == ["Image 4", "L XCCL"]
    tabs = [one.split("\n")[0] for one in page.locator(".tab").all_inner_texts()]
    assert tabs[1:] == ["R CC", "L CC", "R MLO", "Image 4", "L XCCL"]  # behind that of all views
    right, left, below, _ = (places.nth(n).bounding_box() for n in range(4))
    assert right["y"] == left["y"] and right["x"] < left["x"] and below["y"] > right["y"] and below["x"] == right["x"]
    for box, near in ((right, -1), (left, 0), (below, -1)):
        shown = picture_at(page, box)
        columns = np.flatnonzero((shown[40:-10].max(axis=2) > 60).any(axis=0))
        edge = shown.shape[1] - 1 - columns[-1] if near else columns[0]
        assert edge < 6, "the chest wall is in the middle"
    assert places.nth(0).inner_text().split()[-1] == "mirrored"
    assert page.locator(".hanging rect").count() == 1
    check_box(page)
    page.keyboard.press("1")
    page.wait_for_url("**image=0000000000000002")


def test_a_row_without_views_takes_little_room(tab, site):
    page = tab(1280, 900)
    page.goto(at(site, FOUR))
    page.evaluate("""() => [...document.querySelectorAll('.hanging .place')].slice(0, 2).forEach((place) => {
        place.className = 'place empty'; place.textContent = 'No CC'; })""")
    places = page.locator(".hanging:not(.others) .place")
    heights = [places.nth(n).bounding_box()["height"] for n in range(4)]
    assert max(heights[:2]) < 50 and min(heights[2:]) > 300


def picture_at(page, box) -> np.ndarray:
    """What is on the screen there, BGR."""
    return cv2.imdecode(np.frombuffer(page.screenshot(clip=box), np.uint8), cv2.IMREAD_COLOR).astype(int)


def check_box(page):
    """The finding's middle is at (190, 540) of 700 columns and 900 rows as stored; the film is mirrored."""
    film, box = (page.locator(one).first.bounding_box() for one in (".hanging image", ".hanging rect"))
    assert abs((box["x"] + box["width"] / 2 - film["x"]) / film["width"] - (1 - 190 / 700)) < 0.01
    assert abs((box["y"] + box["height"] / 2 - film["y"]) / film["height"] - 540 / 900) < 0.01


def test_without_script_the_views_hang_all_the_same(tab, site):
    page = tab(1280, 900, java_script_enabled=False)
    page.goto(at(site, FOUR))
    page.wait_for_timeout(500)
    assert picture_at(page, page.locator(".hanging .place").first.bounding_box()).std() > 20
    page.goto(at(site, CHEST))
    page.wait_for_timeout(500)
    assert picture(page, "img.still").std() > 20
    assert page.locator(".tools, #viewer, .sliders").filter(visible=True).count() == 0, "nothing that does nothing"


def test_other_studies_of_the_patient(tab, site):
    page = tab(1280, 900)
    page.goto(at(site, FOUR))
    links = page.locator(".others-of a")
    assert [" ".join(one.split()) for one in links.all_inner_texts()] == [f"2024-11-19 {PRIOR}"]
    assert page.locator(".others-of .chip").inner_text().split() == ["✓", "Nothing", "found"]
    assert HOSTILE in page.inner_text("main")
    links.first.click()
    page.wait_for_url(f"**/studies/{web_studies.key_of(PRIOR)}")
    page.goto(at(site, BARE))
    assert page.locator(".others-of").count() == 0, "an empty Patient ID is nobody's"


def test_the_study_in_another_viewer(tab, site, inbox):
    page = tab(1280, 900)
    page.goto(at(site, FOUR))
    uid = inbox.study(web_studies.key_of(FOUR)).record.study_uid
    link = page.locator("text=Open in viewer")
    assert link.get_attribute("href") == (f"/ohif/viewer?StudyInstanceUIDs={uid}"
                                          "&id=P-1%22%3E%3Cscript%3Ealert%281%29%3C%2Fscript%3E")
    assert link.get_attribute("rel") == "noopener noreferrer"
    page.goto(at(site, BARE))
    assert page.locator("text=Open in viewer").count() == 0, "it has no Patient ID to fill in"


@pytest.mark.parametrize("name", [CHEST, FOUR, DOUBT])
def test_decisions_are_above_the_fold(tab, site, name):
    page = tab(1280, 900)
    page.goto(at(site, name))
    for value in ("accept", "reject", "comment"):
        box = page.locator(f"[name=decision][value={value}]").bounding_box()
        assert box["y"] + box["height"] <= 900, value
    wide = "[...document.querySelectorAll('button, .button')].filter(b => b.scrollWidth > b.clientWidth + 1).length"
    assert page.evaluate(wide) == 0


def test_the_box_of_a_finding_is_where_it_was_found(tab, site):
    page = tab(1280, 900)
    open_volume(page, site)
    page.keyboard.press("x")
    slide(page, "opacity", 0)
    with_box = plane_of(page, AXIAL)
    page.keyboard.press("b")
    page.wait_for_timeout(150)
    canvas = page.locator("[data-plane='0'] canvas").bounding_box()
    y, x = np.nonzero(np.abs(with_box - plane_of(page, AXIAL)).max(axis=2) > 40)
    left, top = spot(page, AXIAL, BOX.x0, BOX.y0, (288, 288))
    right, bottom = spot(page, AXIAL, BOX.x1, BOX.y1, (288, 288))
    assert abs(x.min() - (left - canvas["x"])) < 4 and abs(x.max() - (right - canvas["x"])) < 4
    assert abs(y.max() - (bottom - canvas["y"])) < 4 and y.min() < top - canvas["y"]


def test_who_is_told_to_wait_waits(tab, site, chest):
    """The limits for callers are everybody's: nothing is lost by them."""
    page, told = tab(1280, 900), []

    def limit(route):
        if route.request.url.endswith(("/volume/3", "/volume/34")) and len(told) < 3:
            told.append(route.request.url)
            route.fulfill(status=429, headers={"Retry-After": "1"}, body="Too many requests; wait a moment.")
        else:
            route.continue_()

    page.route("**/volume/*", limit)
    open_volume(page, site)
    assert len(told) == 3
    page.locator("[data-plane='0'] input").fill("4")
    x, y = 70, 130
    assert page.inner_text("#voxel") == f"x {x}, y {y}, slice 4 · {chest.pixels[3, y, x]:.0f} HU"


def test_a_volume_that_goes_away_is_said(tab, site):
    page = tab(1280, 900)
    page.route("**/volume/60", lambda route: route.fulfill(status=404, body="{}"))
    page.goto(at(site, CHEST))
    page.wait_for_selector("#viewer-note:has-text('The volume cannot be shown')")


def test_a_slice_of_another_shape_is_not_drawn(tab, site):
    page = tab(1280, 900)
    page.route("**/volume/34", lambda route: route.fulfill(status=200, body=b"\0" * 8, headers={"X-Shape": "2,2"}))
    page.goto(at(site, CHEST))
    page.wait_for_selector("#viewer-note:has-text('The volume cannot be shown')")
    assert page.inner_text("#voxel").endswith("loading")
