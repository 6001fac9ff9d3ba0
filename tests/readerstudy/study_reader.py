"""A reader at a real browser, and what is kept of them."""

from scanward.readerstudy.folder import read_study
from scanward.readerstudy.log import parts_of, read_log


def state(made):
    study = read_study(made.folder)
    return read_log(study.answers(0), parts_of(study.lists[0]))


def saved(page):
    page.wait_for_function("() => document.getElementById('saved')?.textContent === 'Saved'")


def at(page, number, of, noun="film"):
    page.wait_for_function("start => document.getElementById('place')?.textContent.startsWith(start)",
                           arg=f"{noun} {number} of {of} ")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def focus(page, selector):
    """By Tab, as without a mouse."""
    for _ in range(30):
        if page.evaluate("selector => document.activeElement?.matches(selector) ?? false", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached by Tab")


def enter(page, address, made):
    page.goto(address + made.links[0][1])
    page.wait_for_url(f"{address}/")
    focus(page, "#go")
    press(page, "Enter")
    page.wait_for_selector("#choices button")
    saved(page)
