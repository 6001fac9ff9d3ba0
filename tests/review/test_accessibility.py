"""WCAG on every page, by axe-core in a real browser, and every control by Tab."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import viewer_studies
import web_studies
from accessible import untabbed, violations
from viewer_studies import BARE, CHEST, DOUBT, FOUR
from web_browser import serve
from web_people import NAME, PASSWORD

from scanward.audit.trail import Audit
from scanward.delivery.outgoing import Outgoing
from scanward.delivery.spool import Refused
from scanward.inbox import troubles
from scanward.inbox.folders import Inbox
from scanward.review import accounts
from scanward.review.app import make_app
from scanward.roles import ROLES
from scanward.settings import Audit as AuditSettings

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.needs("chromium")
BROKEN, SECRET = "Outside films", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
STUDY = "/studies/" + web_studies.key_of(FOUR)
PLACES = {
    "worklist": "/", "nothing found": "/?q=nobody", "ct": f"/studies/{web_studies.key_of(CHEST)}",
    "ct without heat": f"/studies/{web_studies.key_of(BARE)}", "four views": STUDY,
    "film": f"{STUDY}?image=0000000000000002", "saved": f"{STUDY}?saved=accept",
    "inconclusive": f"/studies/{web_studies.key_of(DOUBT)}", "failed": f"/studies/{web_studies.key_of(BROKEN)}",
    "queue": "/queue", "refused deliveries": "/queue?show=refused", "audit": "/audit", "account": "/account",
    "accounts": "/accounts", "nowhere": "/nowhere"}


def refuse(*_):
    raise Refused("PACS does not know SCANWARD.")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[str]:
    """With a trouble, a refused delivery, an audit trail, and somebody who may do everything."""
    folder = tmp_path_factory.mktemp("everything")
    inbox, users = Inbox(folder / "inbox"), folder / "users.json"
    viewer_studies.fill(inbox, web_studies.chest(40, 160, 100))
    key = web_studies.put(inbox.root, BROKEN, state="failed", label="unscanned", error="objects/3.dcm is cut short.")
    spool = Outgoing(inbox.root)
    spool.add(f"{key}-pacs-{'ab' * 16}", [], "pacs")
    spool.spool.deliver_due(refuse)
    troubles.tell(inbox, [troubles.Trouble("worker.dies", "A worker dies again and again.")])
    accounts.add_user(users, NAME, PASSWORD, ROLES)
    accounts.add_user(users, "second", PASSWORD, ROLES)
    accounts.set_second_factor(users, "second", SECRET, ["ABCDABCDABCD-2222"])
    audit = Audit(AuditSettings(), inbox.root)
    audit.record("study.scanned", "success", key=key)
    yield from serve(make_app(inbox, users=users, secret=web_studies.SECRET, https=False, audit=audit.record,
                              trail=audit.path, viewer="/ohif/{study}"))


@pytest.fixture
def signed_in(tab, site):
    def _tab(width):
        page = tab(width, 900, reduced_motion="reduce")
        sign_in(page, site, NAME)
        page.wait_for_url(f"{site}/")
        return page

    return _tab


def sign_in(page, site, name):
    page.goto(f"{site}/login")
    page.fill("[name=name]", name)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")


def settle(page):
    """Viewers have drawn."""
    if page.locator("#viewer").count():
        page.wait_for_selector("#viewer[data-volume=whole], #viewer[data-film=open]")


@pytest.mark.parametrize("width", [1280, 390])
def test_no_rule_is_broken(signed_in, site, width):
    page = signed_in(width)
    for name, place in PLACES.items():
        page.goto(site + place)
        settle(page)
        assert violations(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_every_control_is_reached_by_tab(signed_in, site):
    page = signed_in(1280)
    for name, place in PLACES.items():
        page.goto(site + place)
        settle(page)
        assert untabbed(page) == [], name


def test_signing_in_with_a_second_factor(tab, site):
    page = tab(390, 844)
    page.goto(f"{site}/login")
    assert violations(page) == untabbed(page) == []
    page.fill("[name=name]", "second")
    page.fill("[name=password]", "it is another")
    page.keyboard.press("Enter")
    page.wait_for_selector("#login-error")
    assert violations(page) == []
    sign_in(page, site, "second")
    page.wait_for_selector("[name=code]")
    assert violations(page) == untabbed(page) == []


def test_what_opens_on_a_page(signed_in, site):
    page = signed_in(1280)
    page.goto(site + PLACES["ct"])
    settle(page)
    page.keyboard.press("?")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    canvas = page.locator("[data-plane='0'] canvas")
    for key in ("Enter", "ArrowRight", "ArrowRight", "Enter"):
        canvas.press(key)
    page.click("summary >> text=Details")
    assert page.locator("#lengths li").count() == 1
    assert violations(page) == untabbed(page) == []


def test_a_rule_that_is_broken_is_found(signed_in, site):
    page = signed_in(1280)
    page.goto(site + PLACES["queue"])
    page.evaluate("document.querySelector('main').append(document.createElement('input'))")
    assert any("label" in one for one in violations(page))
    page.evaluate("document.querySelector('main').innerHTML += '<a href=\"#x\" id=\"x\">x</a>'")
    page.evaluate("document.getElementById('x').addEventListener('focus', e => e.target.blur())")
    assert any('id="x"' in one for one in untabbed(page))
