"""Whether a page can be read and used by everybody: axe-core's rules (WCAG 2.2 AA and its best practices), and a walk
by Tab to every control."""

from __future__ import annotations

import pytest

CONTROLS = """() => {
  const all = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')];
  const wanted = all.filter(e => e.type !== 'hidden' && !e.disabled && e.tabIndex >= 0
    && (e.checkVisibility({ visibilityProperty: true }) || e.matches('.skip')));
  wanted.forEach((e, i) => { e.dataset.walk = i; });
  return wanted.map(e => e.outerHTML.slice(0, 120));
}"""
FOCUSED = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  const style = getComputedStyle(at);
  return { number: at.dataset.walk ?? '', seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
           html: at.outerHTML.slice(0, 120) };
}"""
RUN = "axe.run(document, { resultTypes: ['violations'] }).then(found => found.violations)"


def violations(page) -> list[str]:
    """What axe-core complains of, each with the places."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page.evaluate(axe.Axe().axe_script)
    return [f"{one['id']} ({one['impact']}): {one['help']}: " + "; ".join(node["html"][:160] for node in one["nodes"])
            for one in page.evaluate(RUN)]


def untabbed(page) -> list[str]:
    """Controls that Tab does not come to, or on which the focus cannot be seen."""
    names = page.evaluate(CONTROLS)
    page.evaluate("document.activeElement?.blur()")
    reached, hidden, rounds = set(), [], 0
    for _ in range(8 * len(names) + 20):  # a date has several stops
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUSED)
        if at is None:
            rounds += 1  # the focus may have begun in the middle
            if rounds == 3:
                break
            continue
        if at["number"]:
            reached.add(int(at["number"]))
        if not at["seen"]:
            hidden.append(f"no focus seen: {at['html']}")
    return [f"not reached: {name}" for i, name in enumerate(names) if i not in reached] + sorted(set(hidden))
