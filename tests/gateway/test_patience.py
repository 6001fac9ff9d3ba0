"""Other systems that are slow on purpose: nobody waits for them but they themselves."""

import contextlib
import json
import socket
import threading
import time

import pytest
from serving import wait_for

from scanward.delivery import webclient
from scanward.delivery.hooks import name_of
from scanward.delivery.spool import Refused, Unreachable
from scanward.setting_types import Tls
from scanward.settings import Webhook

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"  # as it does: else a client may ask again on a line just closed


@pytest.fixture(name="drips")
def dripping():
    """A web server that says `first`, and then `again` ten times a second for as long as one listens; or takes what it
    is sent so slowly. Its address."""
    with contextlib.ExitStack() as stack:
        over = threading.Event()
        stack.callback(over.set)

        def start(first, again, *, length=0):
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def one(line):
                with line, contextlib.suppress(OSError):
                    line.recv(100)
                    line.sendall(first)
                    for _ in range(length or 10_000):
                        if over.wait(0.1):
                            return
                        line.sendall(again)

            def all_of_them():
                with contextlib.suppress(OSError):
                    while True:
                        threading.Thread(target=one, args=(listening.accept()[0],), daemon=True).start()

            threading.Thread(target=all_of_them, daemon=True).start()
            return f"http://127.0.0.1:{listening.getsockname()[1]}/"

        yield start


@pytest.mark.parametrize(("first", "again"), [
    (HEAD + b"Content-Length: 60000\r\n\r\n", b"["),
    (HEAD + b"Content-Type: application/json\r\n\r\n", b"["),  # ends where the connection does
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;a\r\n[\r\n"),
    (HEAD + b"X: ", b"a"),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
])
def test_an_answer_in_drips_is_not_waited_for(drips, first, again):
    began = time.monotonic()
    with (webclient.client(drips(first, again), "", None, Tls(), timeout=1.0) as web,
          pytest.raises(Unreachable, match="the server did not answer in time")):
        webclient.request(web, "GET", drips(first, again), "the server")
    assert time.monotonic() - began < 5


def test_a_long_answer_may_take_longer_than_a_short_one_while_it_comes_fast_enough(drips):
    head = HEAD + b"Content-Length: %d\r\n\r\n" % (25 * 4000)
    url = drips(head, bytes(4000), length=25)
    with webclient.client(url, "", None, Tls(), timeout=1.0) as web:
        with webclient.streamed(web, "GET", url, "the server", long=True) as answer:
            assert len(answer.read()) == 25 * 4000
        with pytest.raises(Unreachable, match="in time"):
            webclient.request(web, "GET", url, "the server")
        slow = drips(HEAD + b"\r\n", b"a")
        with (pytest.raises(Unreachable, match="in time"),
              webclient.streamed(web, "GET", slow, "the server", long=True) as answer):
            answer.read()


def test_an_answer_that_is_no_gzip_is_said_to_be_none(drips):
    url = drips(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n", b"abc", length=1)
    with webclient.client(url, "", None, Tls(), timeout=5.0) as web, pytest.raises(Refused, match="cannot be read"):
        webclient.request(web, "GET", url, "the server")


def test_a_webhook_that_answers_for_ever_keeps_neither_others_waiting_nor_the_gateway_from_its_end(start, drips):
    slow = drips(HEAD + b"X: ", b"a")
    well = drips(HEAD + b"Content-Length: 0\r\n\r\n", b"", length=1)
    gateway = start(f'[[webhook]]\nurl = "{slow}"\n[[webhook]]\nurl = "{well}"\n', store={"free_mb": 100_000_000})
    queue = gateway.inbox / "outgoing-hooks"
    wait_for(lambda: queue.is_dir() and len([path for path in queue.iterdir() if path.is_dir()]) == 1)
    time.sleep(2)  # it is being told

    def stop():
        began = time.monotonic()
        assert gateway.stop() == 0
        return time.monotonic() - began

    assert stop() < 15
    folder = queue / "trouble-later"
    folder.mkdir()
    (folder / "message.json").write_text("{}")
    (folder / "to.json").write_text(json.dumps({"to": name_of(Webhook(well)), "tries": 0, "next": 0, "error": "",
                                                "added": time.time()}))
    gateway.start()
    wait_for(lambda: not folder.exists())
    assert stop() < 15
