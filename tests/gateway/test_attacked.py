"""The gateway while somebody means it no good, and while it is killed: `scanward serve` as its users run it."""

import contextlib
import os
import re
import signal
import socket
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from serving import storescu, wait_for

pytestmark = pytest.mark.needs("storescu")


@contextlib.contextmanager
def silent(port, number, said=b""):
    """Callers that say `said` and then no more."""
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(number):
            line = stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=30)))
            with contextlib.suppress(OSError):
                line.sendall(said)
            lines.append(line)
        yield lines


def alive(pid):
    """Whether a process runs; one that is only waited for does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def cut_after(line, seconds):
    """The seconds until the other side hangs up."""
    began = time.monotonic()
    line.settimeout(seconds)
    with contextlib.suppress(ConnectionResetError):
        while line.recv(1000):
            pass
    return time.monotonic() - began


def test_eleven_hundred_half_open_requests_stop_neither_objects_nor_pages(start, dicom, tmp_path):
    gateway = start()
    port = urlsplit(gateway.pages).port
    with silent(port, 1100, b"GET / HTTP/1.1\r\nHost: localhost\r\n") as lines:
        storescu(gateway.port, dicom.file(tmp_path / "a.dcm"))
        with urllib.request.urlopen(gateway.pages, timeout=30) as page:
            assert b"Worklist" in page.read()
        assert cut_after(lines[0], 5) < 5  # made room for the others


def test_a_request_that_comes_in_drips_is_cut_off_in_its_head_and_in_its_body(start):
    gateway = start(web={"header_seconds": 1.0, "body_seconds": 1.5})
    port = urlsplit(gateway.pages).port
    heads = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\nname=", b"GET / HTTP/1.1\r\n"
    wait_for(lambda: urllib.request.urlopen(gateway.pages, timeout=30).status == 200)
    for said in heads:
        with silent(port, 1, said) as (line,):
            began = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() < began + 20:
                    line.sendall(b"a")
                    time.sleep(0.1)
            assert time.monotonic() - began < 10


def test_an_answer_that_is_read_in_drips_is_cut_off_and_one_that_is_read_slowly_is_not(start):
    gateway = start(web={"answer_seconds": 1.0})
    key, image, size = "0" * 24, "1" * 32, 24 << 20
    study = gateway.inbox / "done" / key
    (study / "pictures" / image).mkdir(parents=True)
    (study / "study.json").write_text('{"label": "authentic"}')
    (study / "pictures" / image / "volume.nii.gz").write_bytes(bytes(size))

    def taken(some, pause, seconds):
        """Bytes that come where `some` are read at a time, for so long, and then the rest at once."""
        with socket.socket() as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            line.connect(("127.0.0.1", urlsplit(gateway.pages).port))
            line.settimeout(30)
            line.sendall(f"GET /pictures/{key}/{image}/volume.nii.gz HTTP/1.1\r\nHost: localhost\r\n"
                         "Connection: close\r\n\r\n".encode())
            got, end = 0, time.monotonic() + seconds
            while part := line.recv(some):
                got += len(part)
                if time.monotonic() < end:
                    time.sleep(pause)
                else:
                    some = 1 << 20
            return got

    wait_for(lambda: urllib.request.urlopen(gateway.pages, timeout=30).status == 200)
    assert taken(1, 0.1, 5) < size
    assert taken(1 << 18, 0.05, 3) > size
    with urllib.request.urlopen(gateway.pages, timeout=30) as page:
        assert page.status == 200


def test_one_address_has_so_many_connections_and_the_pages_so_many_in_all(start):
    gateway = start(web={"connections": 20, "connections_per_address": 5})
    port = urlsplit(gateway.pages).port
    wait_for(lambda: urllib.request.urlopen(gateway.pages, timeout=30).status == 200)
    with silent(port, 6) as lines:
        assert cut_after(lines[0], 5) < 5
        lines[-1].settimeout(0.5)
        with pytest.raises(TimeoutError):
            lines[-1].recv(1)


def test_what_kills_the_pages_does_not_reach_the_node_and_they_come_again(start, dicom, tmp_path):
    gateway = start()
    wait_for(lambda: gateway.helpers()["pages"])
    (pages,) = gateway.helpers()["pages"]
    os.kill(pages, signal.SIGKILL)
    storescu(gateway.port, dicom.file(tmp_path / "a.dcm"))
    wait_for(lambda: urllib.request.urlopen(gateway.pages, timeout=60).status == 200)
    wait_for(lambda: any(line["event"] == "pages.died" for line in gateway.audit()))


def test_whoever_kills_the_parent_kills_its_helpers_at_once(start, dicom, tmp_path):
    gateway = start()
    storescu(gateway.port, *[dicom.file(tmp_path / f"{i}.dcm", shape=(1000, 800), seed=i, StudyInstanceUID="1.2.9")
                             for i in range(6)])
    wait_for(lambda: list((gateway.inbox / "working").glob("*/.now-*")))
    helpers = [pid for pids in gateway.helpers().values() for pid in pids]
    assert len(helpers) >= 2
    gateway.process.kill()
    gateway.process.wait()
    began = time.monotonic()
    while any(map(alive, helpers)) and time.monotonic() < began + 10:
        time.sleep(0.05)
    assert time.monotonic() - began < 3
    assert list((gateway.inbox / "working").glob("*/.now-*")), "it was done by itself"


def test_a_stop_takes_seconds_and_what_was_done_of_a_study_stays_done(start, dicom, tmp_path):
    gateway = start(work={"workers": 1, "stop_seconds": 0.5, "method": "copy-move"})
    storescu(gateway.port, *[dicom.file(tmp_path / f"{i}.dcm", shape=(400, 300), seed=i, StudyInstanceUID="1.2.9")
                             for i in range(12)])

    def done():
        return {path.name: path.read_bytes() for path in (gateway.inbox / "working").glob("*/.image-*")}

    wait_for(lambda: len(done()) >= 2, 300)
    helpers = [pid for pids in gateway.helpers().values() for pid in pids]
    began = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - began < 20
    assert not any(map(alive, helpers))
    before = done()
    assert 2 <= len(before) < 12
    gateway.start()
    wait_for(gateway.studies, 300)
    (study,) = gateway.studies()
    assert len(study["images"]) == 12 and study["attempts"] == 1
    kept = {image["id"]: image["seconds"] for image in study["images"]}
    for name, text in before.items():
        seconds = float(re.search(rb'"seconds": ([\d.e-]+)', text)[1])
        assert kept[name.removeprefix(".image-").removesuffix(".json")] == seconds
    assert not list((gateway.inbox / "done").glob("*/.image-*"))


def test_below_its_reserve_the_disk_takes_nothing_in_but_what_came_is_scanned_and_the_page_says_so(
        start, dicom, tmp_path):
    gateway = start(store={"quiet_seconds": 600})
    storescu(gateway.port, dicom.file(tmp_path / "a.dcm", shape=(96, 80)))
    with httpx.Client(base_url=gateway.pages.rstrip("/"), timeout=60) as browser:
        assert "data-trouble" not in browser.get("/").text and browser.get("/api/troubles").json() == []
    gateway.stop()
    gateway.change(store={"quiet_seconds": 0.5, "free_mb": 10**9})
    gateway.start()
    wait_for(gateway.studies, 300)
    with httpx.Client(base_url=gateway.pages.rstrip("/"), timeout=60) as browser:
        (trouble,) = browser.get("/api/troubles").json()
        page = browser.get("/").text
    assert trouble["name"] == "disk.full" and str(tmp_path) not in trouble["sentence"]
    assert 'role="alert" data-trouble="disk.full"' in page and "nothing more is taken in" in page
    wait_for(lambda: any(line["event"] == "trouble.began" for line in gateway.audit()))
