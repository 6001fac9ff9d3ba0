"""One reader does a small study from link to end in a real Chromium, by keyboard, on a server that is killed once."""

import re
from contextlib import ExitStack
from itertools import pairwise

import pytest
from accessible import untabbed, violations
from study_films import TELLING, archive, drawn, protocol, served
from study_reader import at, enter, focus, press, saved, state
from study_scans import pairs

from scanward.readerstudy.folder import close, read_study, read_truth
from scanward.readerstudy.make import new_study
from scanward.readerstudy.protocol import read_protocol

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.needs("chromium")
pytest.importorskip("fastapi")


@pytest.fixture
def study(tmp_path):
    archive(tmp_path, healthy=3, unhealthy=1, fakes=3)
    path = protocol(tmp_path, readers=["Ada"], blind={"fake": 2, "healthy": 2, "unhealthy": 0},
                    open={"fake": 1, "healthy": 1, "unhealthy": 1})
    return drawn(path, tmp_path / "study")


def open_part_by_keyboard(page):
    page.wait_for_function("() => document.body?.innerText.includes('Real or fake?')")
    focus(page, "#go")
    press(page, "Enter")
    page.wait_for_selector("[data-value=fake]")
    for number in (1, 2, 3):
        at(page, number, 3)
        press(page, "f" if number == 2 else "r", "Enter")
    page.wait_for_selector("#close")
    focus(page, "#close")
    press(page, "Enter")
    page.wait_for_function("() => document.body?.innerText.includes('Thank you')")


def test_a_study_from_link_to_end_by_keyboard(study, page):
    with ExitStack() as first:
        address, process = first.enter_context(served(study.folder))
        enter(page, address, study)
        assert "/r/" not in page.evaluate("location.href")
        at(page, 1, 4)
        press(page, "u", "4", "m", "Shift+ArrowDown", "ArrowLeft", "+", "Space", "Escape", "c")
        page.keyboard.type("BI-RADS 4, h and u are letters here")
        press(page, "Escape", "Enter")
        at(page, 2, 4)
        press(page, "h", "Backspace")
        at(page, 1, 4)
        assert page.input_value("#remark").startswith("BI-RADS 4")
        press(page, "Enter")
        saved(page)
        process.kill()  # and nothing is lost
        process.wait()
        kept = state(study)
        assert [kept.reading(film.id).answer for film in read_study(study.folder).lists[0]["blind"]] == [
            "unhealthy", "healthy", None, None]
    with served(study.folder) as (address, _):
        enter(page, address, study)
        at(page, 2, 4)  # exactly where it was
        assert page.get_attribute("#choices [data-value=healthy]", "aria-checked") == "true"
        assert not TELLING.search(page.content().encode())
        press(page, "Enter", "u", "Enter")
        at(page, 4, 4)
        press(page, "Enter")  # one is missing, so nothing can be handed in yet
        page.wait_for_selector("#go")
        assert page.locator("#close").count() == 0 and "1 to go" in page.inner_text("main")
        focus(page, "#go")
        press(page, "Enter")
        at(page, 4, 4)
        press(page, "h", "1", "Enter")
        page.wait_for_selector("#close")
        focus(page, "#close")
        press(page, "Enter")
        open_part_by_keyboard(page)
        found = state(study)
        first, *_ = (found.reading(film.id) for film in read_study(study.folder).lists[0]["blind"])
        assert (first.answer, first.confidence, len(first.marks)) == ("unhealthy", 4, 1)
        assert first.remark == "BI-RADS 4, h and u are letters here" and first.marks[0].shape == "ellipse"
        assert all(reading.seconds > 0 for reading in found.readings.values())
        assert found.missing("blind") == found.missing("open") == [] and found.part is None
        close(study.folder, "now")
        page.reload()
        assert "it was" in page.inner_text("main") and "fake: a lesion put in" in page.inner_text("main")
    assert page.trouble == []


def test_marks_by_mouse_lie_where_they_were_drawn(study, page):
    with served(study.folder) as (address, _):
        enter(page, address, study)
        page.wait_for_function("() => document.getElementById('film')?.width > 300")
        box = page.locator("#film").bounding_box()
        scale = min(box["width"] / 240, box["height"] / 320)
        left, top = box["x"] + (box["width"] - 240 * scale) / 2, box["y"] + (box["height"] - 320 * scale) / 2

        def drag(*corners):
            page.mouse.move(left + corners[0] * scale, top + corners[1] * scale)
            page.mouse.down()
            page.mouse.move(left + corners[2] * scale, top + corners[3] * scale, steps=3)
            page.mouse.up()

        page.click("[data-tool=box]")
        drag(100, 200, 40, 120)
        page.click("[data-tool=ellipse]")
        drag(30, 30, 30, 30)  # a click: a small ring
        page.click("[data-tool=move]")
        drag(100, 100, 120, 120)
        saved(page)
        film = read_study(study.folder).lists[0]["blind"][0].id
        one, two = state(study).reading(film).marks
        assert one.shape == "box" and one.box == pytest.approx((40, 120, 100, 200), abs=1.5)
        x0, y0, x1, y1 = two.box
        assert two.shape == "ellipse" and ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((30, 30), abs=1.5)
        page.click("#marks li:first-child button")
        saved(page)
        assert state(study).reading(film).marks == [two]
    assert page.trouble == []


def test_marks_on_either_view_of_a_pair(page, tmp_path):
    """The MLO begins at 245 of 505 columns."""
    made = new_study(read_protocol(pairs(tmp_path, healthy=1, fakes=1), "pair"), tmp_path / "study")
    with served(made.folder) as (address, _):
        enter(page, address, made)
        at(page, 1, 2, "case")
        page.wait_for_function("() => document.getElementById('film')?.width > 300")
        box = page.locator("#film").bounding_box()
        scale = min(box["width"] / 505, box["height"] / 360)
        left, top = box["x"] + (box["width"] - 505 * scale) / 2, box["y"] + (box["height"] - 360 * scale) / 2
        page.click("[data-tool=box]")
        for x in (100, 300):
            page.mouse.move(left + x * scale, top + 150 * scale)
            page.mouse.down()
            page.mouse.move(left + (x + 40) * scale, top + 200 * scale, steps=3)
            page.mouse.up()
        saved(page)
        assert [one.split()[:3] for one in page.locator("#marks li").all_inner_texts()] == [
            ["1", "▢", "CC"], ["2", "▢", "MLO"]]
        film = read_study(made.folder).lists[0]["blind"][0].id
        one, two = state(made).reading(film).marks
        assert one.box == pytest.approx((100, 150, 140, 200), abs=1.5)
        assert two.box == pytest.approx((300, 150, 340, 200), abs=1.5)
    assert page.trouble == []


def test_an_answer_waits_for_a_server_that_is_away(study, page):
    with ExitStack() as stack:
        address, _ = stack.enter_context(served(study.folder))
        enter(page, address, study)
        page.route("**/api/film/*", lambda route: route.abort())
        press(page, "h", "3")
        page.wait_for_selector("#trouble:not([hidden])")
        assert "Not saved yet" in page.inner_text("#trouble")
        page.unroute("**/api/film/*")
        page.wait_for_selector("#trouble", state="hidden")
        saved(page)
        found = next(iter(state(study).readings.values()))
        assert (found.answer, found.confidence) == ("healthy", 3)


def luminance(colour):
    parts = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
    return sum(w * (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4)
               for w, v in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


TEXTS = """() => [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.disabled
  && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
    let back = e;
    while (back && getComputedStyle(back).backgroundColor === 'rgba(0, 0, 0, 0)') back = back.parentElement;
    return [e.textContent.trim().slice(0, 30), getComputedStyle(e).color, back ? getComputedStyle(back).backgroundColor
      : 'rgb(255, 255, 255)'];
  })"""


def test_words_stand_out_and_a_phone_shows_all(study, page):
    with served(study.folder) as (address, _):
        for width, height in ((1280, 800), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            enter(page, address, study)
            press(page, "u", "3")
            for path in ("/read", "/"):
                page.goto(address + path)
                page.wait_for_selector("#choices button" if path == "/read" else "#go")
                page.wait_for_timeout(300)  # colours fade in
                for text, ink, paper in page.evaluate(TEXTS):
                    dark, light = sorted((luminance(ink), luminance(paper)))
                    assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ink, paper)
                assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.trouble == []


def test_the_drawn_order_is_the_shown_order(study):
    truth, own = read_truth(study.folder), read_study(study.folder).lists[0]
    for part in own.values():
        assert all(truth[a.film].patient != truth[b.film].patient for a, b in pairwise(part))


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_can_be_used_by_everybody(study, page, width):
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(reduced_motion="reduce")
    with served(study.folder) as (address, _):
        page.goto(address + study.links[0][1])
        page.wait_for_url(f"{address}/")
        assert violations(page) == untabbed(page) == []
        page.click("#go")
        page.wait_for_selector("#choices button")
        saved(page)
        assert violations(page) == []
        page.keyboard.press("m")
        page.keyboard.press("Space")
        page.click("summary")
        page.wait_for_selector("#marks button")
        assert violations(page) == []
        page.keyboard.press("?")
        assert violations(page) == []
        page.keyboard.press("Escape")
        page.goto(f"{address}/r/nobody")
        assert violations(page) == []
    assert [one for one in page.trouble if "404" not in one] == []
