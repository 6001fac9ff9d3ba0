"""A real Chromium for the pages of a study."""

import pytest
from outside import program


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox", "--disable-quic"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page whose every complaint and every request to elsewhere fails the test."""
    with chromium.new_context(viewport={"width": 1280, "height": 800}) as context:
        page, trouble = context.new_page(), []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: None if asked.url.startswith(("http://127.0.0.1:", "data:", "blob:"))
                else trouble.append(asked.url))
        page.trouble = trouble
        yield page
