"""An inbox, a user who may sign in to its pages, and a browser before them."""

import re
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from web_browser import CHROMIUM, FLAGS
from web_people import NAME, PASSWORD

from scanward.inbox.folders import Inbox
from scanward.review import accounts


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    """Argon2 as it is, but quick."""
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(accounts, "_hasher", lambda: hasher)
    accounts._nobody.cache_clear()
    yield
    accounts._nobody.cache_clear()


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path / "inbox")


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users.json"
    accounts.add_user(path, NAME, PASSWORD)
    return path


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser):
    """Opens tabs, and sees to it that none asks another site for anything, breaks its policy or has an error."""
    seen = SimpleNamespace(requests=[], complaints=[], contexts=[])

    def make(width=1280, height=860, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        seen.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(40_000)
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("console", lambda line: seen.complaints.append(line.text) if line.type == "error" else None)
        return page

    yield make
    for context in seen.contexts:
        context.close()
    assert seen.requests
    hosts = {urlsplit(url).hostname for url in seen.requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    expected = re.compile(r"status of (401|404|429)")
    assert [c for c in seen.complaints if not expected.search(c)] == []
