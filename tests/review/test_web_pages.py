"""The pages in a real browser: what a reviewer sees and does."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
import web_studies
from web_browser import CONTRAST, picture, serve, slide, until, warm, warm_spots

from scanward.box import Box
from scanward.delivery.outgoing import Outgoing
from scanward.delivery.spool import Refused
from scanward.inbox import reviews
from scanward.inbox.folders import Inbox
from scanward.review import accounts
from scanward.review.app import make_app

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.needs("chromium")
NAME, PASSWORD = "dr.roe", "a long enough password"
FILM, CHEST, CLEAN, BROKEN = "Screening <b>MLO</b>", "CT thorax", "Clean film", "Outside films"
BOX = Box(0, 500, 150, 1, 580, 230)
LONG = "W" * 90


def refuse(*_):
    raise Refused(f"{LONG} does not know {LONG}.")


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    inbox = Inbox(tmp_path_factory.mktemp("web") / "inbox")
    film, put = web_studies.film(), web_studies.put
    put(inbox.root, FILM, minute=9,
        images=((film, "authentic", ()), (film, "tampered", (BOX, Box(0, 200, 300, 1, 280, 360)))))
    put(inbox.root, CHEST, minute=8, images=(
        (web_studies.chest(), "tampered", (Box(8, 26, 14, 16, 38, 26), Box(16, 30, 40, 20, 38, 48))),))
    put(inbox.root, CLEAN, label="inconclusive", minute=7, images=((film, "inconclusive", ()),),
        patient_id=LONG[:64], accession=LONG[:16])
    for name, said in ((FILM, {"label": "authentic", "match": "exact"}), (CLEAN, {"label": "unsealed"}),
                       (CHEST, {"label": "inconclusive", "match": "consistent"})):
        path = inbox.root / "done" / web_studies.key_of(name) / "study.json"
        facts = json.loads(path.read_text())
        path.write_text(json.dumps(facts | {"images": [one | {"evidence": said} for one in facts["images"]]}))
    spool = Outgoing(inbox.root)
    spool.add(f"{web_studies.key_of(BROKEN)}-{LONG[:20]}-{'ab' * 16}", [], LONG[:20])
    spool.spool.deliver_due(refuse)
    put(inbox.root, BROKEN, state="failed", label="unscanned", minute=6, error="objects/3.dcm is cut short.")
    put(inbox.root, LONG, label="authentic", minute=5)
    return inbox


@pytest.fixture(scope="module")
def site(inbox) -> Iterator[str]:
    """The pages without sign-in."""
    yield from serve(make_app(inbox, users=None, secret=web_studies.SECRET, https=False))


@pytest.fixture(scope="module")
def guarded(inbox, tmp_path_factory) -> Iterator[str]:
    """The same with it."""
    users = tmp_path_factory.mktemp("users") / "users.json"
    accounts.add_user(users, NAME, PASSWORD)
    yield from serve(make_app(inbox, users=users, secret=web_studies.SECRET, https=False))


def at(site: str, name: str, query: str = "") -> str:
    return f"{site}/studies/{web_studies.key_of(name)}{query}"


def open_film(page, site, name=FILM, query=""):
    page.goto(at(site, name, query))
    heat = "[data-heat=shown]" if page.locator("#heat-on").count() else ""
    page.wait_for_selector(f"#viewer[data-film=open]{heat}")
    page.wait_for_timeout(100)


def open_chest(page, site):
    page.goto(at(site, CHEST))
    page.wait_for_selector("#viewer[data-volume=whole][data-heat=shown]")
    page.keyboard.press("b")  # a chosen finding's box is yellow
    page.wait_for_timeout(200)


def test_signing_in(tab, guarded):
    page = tab()
    page.goto(at(guarded, CLEAN))
    assert "/login" in page.url
    until(page, "document.activeElement.name === 'name'")
    page.keyboard.type(NAME)
    page.fill("[name=password]", "not my password")
    page.keyboard.press("Enter")
    page.wait_for_selector("#login-error")
    assert page.input_value("[name=name]") == NAME
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/**")
    assert page.locator(".who .name").inner_text() == NAME
    assert page.locator("[name=who]").count() == 0, "who is signed in is not asked for a name"
    page.wait_for_load_state("networkidle")  # a tile that the next page breaks off is an error to the viewer
    page.click("text=Sign out")
    page.wait_for_url("**/login")


def test_a_link_from_another_site_keeps_the_session(tab, guarded, inbox):
    page = tab()
    page.goto(f"{guarded}/login")
    page.fill("[name=name]", NAME)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{guarded}/")
    page.goto("data:text/html,<a id=x>to the study</a>")
    page.evaluate("address => document.getElementById('x').href = address", at(guarded, BROKEN))
    page.click("#x")
    page.wait_for_selector("text=objects/3.dcm is cut short.")


def test_the_worklist_by_keyboard(tab, site):
    page = tab()
    page.goto(site)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    focused = "document.activeElement.closest('tr')?.dataset.key"
    for key, name in (("j", FILM), ("j", CHEST), ("ArrowDown", CLEAN), ("k", CHEST), ("ArrowUp", FILM)):
        page.keyboard.press(key)
        assert page.evaluate(focused) == web_studies.key_of(name), key
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/studies/{web_studies.key_of(CHEST)}")


def test_filtering(tab, site):
    page = tab()
    page.goto(site)
    assert page.locator(".studies tbody tr").count() == 5
    page.select_option("[name=label]", "tampered")
    page.select_option("[name=modality]", "CT")
    page.click("button:has-text('Search')")
    page.wait_for_url("**label=tampered**")
    assert page.locator("a.open").all_inner_texts() == [CHEST]
    page.goto(f"{site}/?since=2030-01-01")
    assert "No study fits." in page.inner_text("main")
    page.click("text=Show all")
    assert page.locator("a.open").first.inner_text() == FILM, "the description's tags are words"


def test_a_thumbnail_is_shown(tab, site):
    page = tab()
    page.goto(site)
    until(page, "[...document.querySelectorAll('.thumb img')].every(i => i.complete && i.naturalWidth > 50)")
    assert page.locator(".thumb img").count() == 3


def test_a_mammogram(tab, site):
    page = tab()
    open_film(page, site)
    shown = picture(page)
    assert shown.max() > 200
    assert shown.std() > 20
    assert warm(shown) > 200
    slide(page, "threshold", 99)
    assert warm(picture(page)) < 20
    slide(page, "threshold", 25)
    assert warm(picture(page)) > 200
    slide(page, "opacity", 0)
    assert warm(picture(page)) < 20
    slide(page, "opacity", 80)
    page.keyboard.press("h")
    assert not page.locator("#heat-on").is_checked()
    assert warm(picture(page)) < 20
    page.keyboard.press("h")
    small = warm(picture(page))
    page.click("[data-finding='0']")
    page.wait_for_timeout(900)
    assert warm(picture(page)) > 4 * small, "the finding is larger"
    page.keyboard.press("0")
    page.wait_for_timeout(900)
    assert abs(warm(picture(page)) - small) < 0.2 * small
    assert "87" in page.locator(".gauge .big").inner_text()


def test_heat_lies_where_it_was_found(tab, site):
    page = tab(reduced_motion="reduce")
    open_film(page, site)
    page.keyboard.press("b")
    slide(page, "opacity", 100)
    slide(page, "threshold", 90)
    page.keyboard.press("1")
    page.wait_for_timeout(300)
    shown = picture(page)
    y, x = np.nonzero((shown[..., 2] - shown[..., 0]) > 60)
    middle = np.array(shown.shape[:2]) / 2
    assert abs(y.mean() - middle[0]) < 6
    assert abs(x.mean() - middle[1]) < 6


def test_film_keys_are_not_the_viewers(tab, site, inbox):
    page = tab()
    open_film(page, site)
    page.fill("[name=who]", "Roe")
    page.locator(".openseadragon-canvas").first.click()
    before = len(reviews.read(reviews.path_of(inbox.root, web_studies.key_of(FILM))))
    page.keyboard.press("a")
    page.wait_for_selector("text=Saved: you accepted the result.")
    assert len(reviews.read(reviews.path_of(inbox.root, web_studies.key_of(FILM)))) == before + 1


def test_other_images_of_the_study(tab, site):
    page = tab()
    open_film(page, site)
    assert page.locator(".tab[aria-current]").inner_text().startswith("Image 2"), "the worst comes first"
    page.keyboard.press("[")
    page.wait_for_url("**image=0000000000000001")
    page.wait_for_selector("#viewer[data-film=open][data-heat=shown]")
    assert warm(picture(page)) < 20
    assert page.locator("[data-finding]").count() == 0


def test_a_ct(tab, site):
    page = tab(900, 700)
    open_chest(page, site)
    shown = picture(page)
    assert shown.std() > 30, "nothing is drawn"
    assert warm(shown) > 50
    assert warm_spots(shown) == 3, "the heat of the finding is in each of the three planes"
    grey = np.abs(shown.max(axis=2) - shown.min(axis=2)) < 12
    assert ((shown.mean(axis=2) > 150) & grey).sum() > 3000, "the body is bright"
    page.keyboard.press("h")
    page.wait_for_timeout(500)
    assert warm(picture(page)) < 10
    page.keyboard.press("h")
    slide(page, "threshold", 99)
    page.wait_for_timeout(300)
    assert warm(picture(page)) < 10
    first = page.inner_text("#voxel")
    assert first.startswith("x 20, y 32, slice 13")
    page.keyboard.press("2")
    until(page, "document.getElementById('voxel').textContent.startsWith('x 44, y 34, slice 19')")
    page.keyboard.press("x")
    assert page.get_attribute("[data-do=cross]", "aria-pressed") == "false"
    page.select_option("#window", "2")
    page.wait_for_timeout(500)
    assert np.abs(picture(page) - shown).mean() > 5, "another window looks different"


def test_a_review_by_keyboard(tab, site, inbox):
    path = reviews.path_of(inbox.root, web_studies.key_of(CLEAN))
    page = tab(reduced_motion="reduce")
    open_film(page, site, CLEAN)
    page.keyboard.press("r")
    assert page.evaluate("document.activeElement.name") == "who", "nobody is named yet"
    page.keyboard.type("Dr. Roe")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.keyboard.type("A scratch, n and a <i>are</i> no commands here.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=Saved: your comment.")
    page.keyboard.press("r")
    page.wait_for_selector("text=Saved: you rejected the result.")
    assert [(r.who, r.decision) for r in reviews.read(path)] == [("Dr. Roe", "comment"), ("Dr. Roe", "reject")]
    assert page.inner_text("#review-state") == "⊘ Rejected"
    entries = page.locator("#history li").all_inner_texts()
    page.reload()
    assert page.locator("#history li").all_inner_texts() == entries, "the history looks as after a reload"
    assert "A scratch, n and a <i>are</i> no commands here." in entries[1]
    page.keyboard.press("p")
    page.wait_for_url(f"**/studies/{web_studies.key_of(CHEST)}")
    page.go_back()
    page.keyboard.press("n")
    page.wait_for_selector("text=objects/3.dcm is cut short.")
    page.wait_for_load_state()  # words are there before the scripts that hear keys
    page.keyboard.press("u")
    page.wait_for_url(f"{site}/")
    assert "Dr. Roe" in page.locator(f"tr[data-key='{web_studies.key_of(CLEAN)}']").inner_text()


def test_without_script_all_is_there(tab, site):
    page = tab(java_script_enabled=False)
    page.goto(f"{site}/?label=inconclusive")
    page.click("a.open")
    page.wait_for_selector("noscript img, img.still", state="attached")
    page.fill("[name=who]", "Roe")
    page.click("[value=accept]")
    page.wait_for_selector("#review-note:has-text('Saved: you accepted the result.')")


PLACES = ["/", "/login", f"/studies/{web_studies.key_of(FILM)}", f"/studies/{web_studies.key_of(CHEST)}",
          f"/studies/{web_studies.key_of(BROKEN)}", f"/studies/{web_studies.key_of(LONG)}", "/queue",
          "/queue?show=refused", "/?q=nobody", "/nowhere"]


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_the_screen(tab, site, guarded, width):
    page = tab(width, 800, has_touch=True)
    for place in PLACES:
        page.goto((guarded if place == "/login" else site) + place)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, place


def test_words_can_be_read(tab, site, guarded):
    page = tab(reduced_motion="reduce")
    for place in PLACES:
        page.goto((guarded if place == "/login" else site) + place)
        found = page.evaluate(CONTRAST)
        assert len(found) > 3
        assert [one for one in found if one[0] < 4.5] == [], place
    page.keyboard.press("?")


def test_labels_are_not_told_by_colour_alone(tab, site):
    page = tab()
    page.goto(site)
    chips = page.locator(".chip").all_inner_texts()
    assert [chip.split()[0] for chip in chips] == ["▲", "▲", "?", "✕", "✓"]
    assert all(len(chip.split()) > 1 for chip in chips)


def test_buttons_hold_their_words(tab, site):
    page = tab(1280, 900)
    page.goto(at(site, FILM))
    wide = "[...document.querySelectorAll('button, .button')].filter(b => b.scrollWidth > b.clientWidth + 1).length"
    assert page.evaluate(wide) == 0


def test_seals_are_told_apart_without_colour(tab, site):
    page = tab()
    page.goto(site)
    seals = [" ".join(words.split()) for words in page.locator(".seal").all_inner_texts()]
    assert seals == ["■ Seal: exact", "◧ Seal: consistent", "□ Not sealed"]
    frames = "[...document.querySelectorAll('.seal')].map(s => getComputedStyle(s).borderTopStyle)"
    assert page.evaluate(frames) == ["solid", "dashed", "dotted"]
    page.goto(at(site, CHEST))
    assert page.locator(".study-head .seal").inner_text().split() == ["◧", "Seal:", "consistent"]


def test_motion_is_reduced_where_asked(tab, site):
    page = tab(reduced_motion="reduce")
    open_film(page, site)
    moving = "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).transitionDuration !== '0s').length"
    assert page.evaluate(moving) == 0


@pytest.mark.parametrize("path", [
    "/pictures/{key}/0000000000000001/../../study.json", "/pictures/{key}/../../../../users.json",
    "/static/../app.py", "/static/..%2fapp.py", "/studies/../../../etc/passwd", "//etc/passwd"])
def test_raw_paths_lead_nowhere_else(site, path):
    address = urlsplit(site)
    with socket.create_connection((address.hostname, address.port), 10) as line:
        line.sendall(f"GET {path.format(key=web_studies.key_of(FILM))} HTTP/1.1\r\nHost: localhost\r\n"
                     "Connection: close\r\n\r\n".encode())
        assert line.makefile("rb").readline().split()[1] == b"404"
