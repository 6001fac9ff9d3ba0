"""Chromium before a server in a thread, and what it shows."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
from outside import program

CHROMIUM = program("chromium")
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
         "--enable-unsafe-swiftshader"]
CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const found = parse(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own && !node.matches('input, select, textarea')) continue;
    if (!node.checkVisibility() || node.closest('noscript')) continue;
    const style = getComputedStyle(node);
    const pair = [light(parse(style.color)), light(ground(node))].sort((a, b) => b - a);
    found.push([(pair[0] + 0.05) / (pair[1] + 0.05), node.tagName + '.' + node.className, style.color]);
  }
  return found;
}"""


def serve(app) -> Iterator[str]:
    """Runs the app in a thread; its address."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


def until(page, expression):
    """Waits until the expression is true; Playwright's own way is an eval that the page's policy forbids."""
    end = time.monotonic() + 40
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def picture(page, selector="#viewer") -> np.ndarray:
    """What is on the screen, BGR."""
    return cv2.imdecode(np.frombuffer(page.locator(selector).screenshot(), np.uint8), cv2.IMREAD_COLOR).astype(int)


def warm(shown: np.ndarray) -> int:
    """Pixels of the heat's colours: red far above blue, which grey tissue and the blue boxes are not."""
    return int(_warm(shown).sum())


def warm_spots(shown: np.ndarray) -> int:
    """Places of such pixels; a crosshair parts none."""
    joined = cv2.dilate(_warm(shown).astype(np.uint8), np.ones((7, 7), np.uint8))
    return cv2.connectedComponents(joined)[0] - 1


def _warm(shown: np.ndarray) -> np.ndarray:
    return (shown[..., 2] - shown[..., 0]) > 60


def slide(page, name, value):
    page.evaluate("([id, value]) => { const s = document.getElementById(id); s.value = value; "
                  "s.dispatchEvent(new Event('input')); }", [name, value])
    page.wait_for_timeout(250)
