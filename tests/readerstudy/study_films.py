"""Small films, forgeries of them, and readers without a browser, for the tests of the reader study."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from html import unescape
from itertools import count

import cv2
import numpy as np

from scanward.forgery.files import forge_file
from scanward.forgery.order import Order
from scanward.readerstudy.make import new_study
from scanward.readerstudy.protocol import read_protocol

ATTACKS = {"inject": "composed-mass", "remove": "inpaint-telea"}
"""Attacks without weights."""
TELLING = re.compile(rb"fake|forge|tamper|inject|removed|removal|inpaint|composed|scanward|mass\b|real\b|truth|record",
                     re.I)
"""What no reader of the blind part may find anywhere."""


def breast(seed, shape=(320, 240)):
    """A half-round breast on black film with 16 bits; each seed another film."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:shape[0], :shape[1]]
    inside = np.hypot((y - shape[0] / 2) / (0.45 * shape[0]), x / (0.8 * shape[1])) < 1
    tissue = 0.45 + 0.05 * np.sin(y / 9 + seed) * np.sin(x / 7) + rng.normal(0, 0.01, shape)
    return np.rint(np.where(inside, tissue, 0.01) * 65535).astype(np.uint16)


def archive(folder, healthy=6, unhealthy=2, fakes=4, actions=("inject",), size_mm=(8.0, 12.0)):
    """Folders `healthy`, `unhealthy` and `set`, the last with forgeries of films that are in neither; the protocol's
    path. Two films each are of one woman."""
    lines = ["film,patient"]

    def save(kind, number, seed):
        path = folder / kind / f"{kind}{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), breast(seed))
        lines.append(f"{path.stem},{kind}{number // 2}")
        return path

    for number in range(healthy):
        save("healthy", number, number)
    for number in range(unhealthy):
        save("unhealthy", number, 100 + number)
    for number in range(fakes):
        action = actions[number % len(actions)]
        forge_file(save("hosts", number, 200 + number), folder / "set" / f"{number + 1:05d}",
                   Order(ATTACKS[action], size_mm), action, seed=number, modality="MG", spacing=(0.2, 0.2))
    (folder / "patients.csv").write_text("\n".join(lines) + "\n")
    return protocol(folder)


def protocol(folder, **settings):
    """A protocol file for an archive."""
    found = {"title": "Reading of mammograms", "readers": ["Ada", "Ben"], "seed": 5, "patients": "patients.csv",
             "films": {"fake": ["set"], "healthy": ["healthy"], "unhealthy": ["unhealthy"]}} | settings
    plain = [f"{key} = {json.dumps(value)}" for key, value in found.items() if not isinstance(value, dict)]
    tables = [f"[{key}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
              for key, value in found.items() if isinstance(value, dict)]
    path = folder / "protocol.toml"
    path.write_text("\n".join(plain + tables) + "\n")
    return path


def drawn(path, folder):
    """A study made of a protocol file: what `new_study` answers."""
    return new_study(read_protocol(path), folder)


class Browser:
    """A reader's requests, with cookies and the page's token, against `build`'s application."""

    def __init__(self, app, link):
        with warnings.catch_warnings():  # its client would rather have another library, which is not needed
            warnings.simplefilter("ignore")
            from starlette.testclient import TestClient

        self.http = TestClient(app, base_url="http://127.0.0.1", follow_redirects=True)
        self.entered = self.http.get(link)
        self.token = ""
        self.known, self.saves = {}, iter(("unopened-1",))

    def page(self, path="/"):
        answer = self.http.get(path)
        found = re.search(r'<meta name="csrf" content="([^"]*)"', answer.text)
        self.token = unescape(found[1]) if found else self.token
        return answer

    def part(self):
        """The page on which films are read, opened anew."""
        self.page()
        found = self.http.get("/api/part").json()
        page = secrets.token_hex(8)
        self.known = {film["id"]: film["known"] for film in found.get("films", ())}
        self.saves = (f"{page}-{turn}" for turn in count(1))
        return found

    def answer(self, film, answer, **more):
        body = {"answer": answer, "confidence": 3, "marks": [], "remark": "", "seconds": 2.0,
                "save": next(self.saves), "known": self.known.get(film)} | more
        return self.http.put(f"/api/film/{film}", json=body, headers={"X-CSRF": self.token})

    def hand_in(self, number):
        self.page()
        return self.http.post(f"/close/{number}", data={"csrf": self.token})


@contextlib.contextmanager
def served(folder):
    """`scanward study serve` in a process of its own; its address and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "scanward", "study", "serve", str(folder), "--port", str(port)],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, process.stdout.read()
            try:
                urllib.request.urlopen(f"{address}/static/study.css", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address, process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
