"""Who may call, and who is hung up on: with real sockets, and a clock of the test's own."""

import contextlib
import itertools
import os
import socket
import ssl
import subprocess
import time

import pytest
from pynetdicom import AE

from scanward.delivery.contexts import server_context
from scanward.gateway.callers import Callers
from scanward.gateway.processes import Kept
from scanward.gateway.receive import Receiver
from scanward.inbox.folders import Inbox
from scanward.settings import Node, Tls

MG_CLASS = "1.2.840.10008.5.1.4.1.1.1.2"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def crowd():
    """Callers of a clock: `call(address)` gives a caller's own end, or None where there was no room."""
    clock, ports, ends = Clock(), itertools.count(1), []

    class Crowd(Callers):
        def call(self, address):
            ours, theirs = socket.socketpair()
            ends.extend((ours, theirs))
            peer = (address, next(ports))
            if not self.enter(peer, ours, 10):
                return None
            theirs.peer, theirs.ours = peer, ours
            theirs.setblocking(False)
            return theirs

    class Theirs(socket.socket):
        """May be given attributes."""

    plain = socket.socketpair

    def pair():
        one, other = plain()
        return one, Theirs(fileno=other.detach())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socketpair", pair)
        yield lambda most, each: (Crowd(most, each, clock), clock)
    for end in ends:
        end.close()


def cut(line):
    """Whether it was hung up on."""
    try:
        return line.recv(1) == b""
    except BlockingIOError:
        return False


def test_the_first_of_the_largest_crowd_gives_way(crowd):
    callers, _ = crowd(4, 4)
    lone = callers.call("10.0.0.1")
    flood = [callers.call("10.0.0.2") for _ in range(20)]
    assert not cut(lone) and [cut(line) for line in flood] == [True] * 17 + [False] * 3
    assert callers.call("10.0.0.3") is not None and not cut(lone)


def test_who_is_busy_never_gives_way_and_where_all_are_there_is_no_room(crowd):
    callers, _ = crowd(2, 2)
    lines = [callers.call("10.0.0.1") for _ in range(2)]
    for line in lines:
        callers.busy(line.peer)
    assert callers.call("10.0.0.2") is None and not any(map(cut, lines))
    lines[0].ours.close()
    assert callers.call("10.0.0.2") is not None


def test_one_address_and_one_network_have_their_share(crowd):
    callers, _ = crowd(100, 2)
    ours = [callers.call(f"2001:db8:1:1::{i}") for i in range(3)]
    other = callers.call("2001:db8:1:2::1")
    assert [cut(line) for line in ours] == [True, False, False] and not cut(other)


def test_who_has_not_spoken_in_time_is_cut_off(crowd):
    callers, clock = crowd(9, 9)
    late, busy, again = (callers.call("10.0.0.1") for _ in range(3))
    callers.busy(busy.peer)
    clock.now = 5
    callers.waits(again.peer, 30)
    clock.now = 11
    callers.sweep()
    assert [cut(line) for line in (late, busy, again)] == [True, False, False]


def test_who_is_slow_gives_way_to_nobody_and_is_cut_off_once_his_time_is_over(crowd):
    callers, clock = crowd(2, 2)
    slow, quick = (callers.call("10.0.0.1") for _ in range(2))
    for line in (slow, quick):
        callers.busy(line.peer)
        callers.slow(line.peer, 30)
    assert callers.call("10.0.0.2") is None
    callers.busy(quick.peer)
    clock.now = 29
    callers.sweep()
    assert not cut(slow)
    clock.now = 31
    callers.sweep()
    assert [cut(line) for line in (slow, quick)] == [True, False]


def test_so_many_are_admitted_in_all_and_from_one_address(crowd):
    callers, _ = crowd(9, 9)
    lines = [callers.call(address) for address in ("10.0.0.1",) * 3 + ("10.0.0.2", "10.0.0.3")]
    assert [callers.admit(line.peer, 3, 2) for line in lines] == [True, True, False, True, False]
    lines[0].ours.close()
    assert callers.admit(lines[2].peer, 3, 2)


@pytest.fixture
def receive(tmp_path):
    started = []

    def _start(**settings):
        node = Node(port=0, **settings)
        said = []
        started.append(Receiver(node, Inbox(tmp_path / "inbox"), server_context(node.tls),
                                lambda *what, **facts: said.append((what[0], facts))))
        return started[-1].port, said

    yield _start
    for one in started:
        one.stop()


@contextlib.contextmanager
def silent(port, number, said=b""):
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            line = stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=30)))
            with contextlib.suppress(OSError):
                line.sendall(said)
        yield


def send(port, path, *options):
    done = subprocess.run(["storescu", "-v", "-to", "20", "-aec", "SCANWARD", *options, "127.0.0.1", str(port), path],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("storescu")
@pytest.mark.parametrize("said", [b"", b"\x01\0\0\0\1\0abc"], ids=["nothing", "half a request"])
def test_eleven_hundred_half_open_associations_keep_nobody_out(receive, dicom, tmp_path, said):
    port, _ = receive()
    path = dicom.file(tmp_path / "a.dcm")
    with silent(port, 1100, said):
        send(port, path)


@pytest.mark.needs("storescu", "openssl")
def test_nor_do_those_that_never_end_their_tls_handshake(receive, dicom, tmp_path, certificates):
    port, _ = receive(tls=Tls(certificates.cert, certificates.key))
    with silent(port, 300, b"\x16\x03\x01"):
        send(port, dicom.file(tmp_path / "a.dcm"), "+tla", "+cf", str(certificates.ca))


@pytest.mark.needs("storescu")
def test_descriptors_beyond_1023_are_heard(receive, dicom, tmp_path):
    port, _ = receive()
    with contextlib.ExitStack() as stack:
        for _ in range(1100):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        send(port, dicom.file(tmp_path / "a.dcm"))


def associate(port, address="127.0.0.1"):
    entity = AE("CROWD")
    entity.add_requested_context(MG_CLASS)
    return entity.associate("127.0.0.1", port, ae_title="SCANWARD", bind_address=(address, 0))


@pytest.mark.parametrize(("settings", "third"), [({"associations": 2}, False), ({"associations_per_address": 2}, True)])
def test_who_asks_for_more_than_there_is_is_told_so_and_may_come_again(receive, settings, third):
    """Third is whether one from another address is still served."""
    port, said = receive(**settings)
    held = [associate(port) for _ in range(2)]
    assert all(one.is_established for one in held)
    # on a busy machine a caller may see the line hung up before it has read why
    refused = next(one for one in (associate(port) for _ in range(5)) if one.is_rejected)
    primitive = refused.acceptor.primitive
    assert (primitive.result, primitive.result_source, primitive.diagnostic) == (2, 3, 2)  # PS3.8 table 9-21
    reasons = {(facts["reason"], facts["aet"]) for what, facts in said if what == "association.rejected"}
    assert reasons == {("Local limit exceeded", "CROWD")}
    other = associate(port, "127.0.0.2")
    assert other.is_established is third
    if third:
        other.release()
    held.pop().release()
    end = time.monotonic() + 10
    while not (again := associate(port)).is_established and time.monotonic() < end:
        time.sleep(0.1)
    assert again.is_established
    for one in (*held, again):
        one.release()


def test_a_caller_with_tls_who_says_nothing_is_cut_off_in_time(receive, certificates):
    port, _ = receive(tls=Tls(certificates.cert, certificates.key), request_seconds=0.5)
    trust = ssl.create_default_context(cafile=certificates.ca)
    for silent_in_handshake in (True, False):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            shown = line if silent_in_handshake else trust.wrap_socket(line, server_hostname="localhost")
            with contextlib.suppress(ssl.SSLError, ConnectionResetError):
                assert shown.recv(1) == b""
            shown.close()


@pytest.mark.parametrize("code", [3])
def test_a_process_that_dies_at_once_is_started_later_and_later_and_it_is_told(code):
    clock, said = Clock(), []
    kept = Kept("worker", "A process that scans", os._exit, (code,), clock)
    waits = []
    for _ in range(4):
        kept._process.join()
        kept.tend(lambda *what, **facts: said.append((*what, facts["reason"])))
        assert kept._process is None
        began = clock.now
        while kept._process is None:
            clock.now += 0.25
            kept.tend(lambda *what, **facts: said.append((*what, facts["reason"])))
        waits.append(clock.now - began)
    assert waits == [1, 2, 4, 8]
    assert [one[:2] for one in said] == [("worker.died", "serious")] * 4 and "exit code 3" in said[0][2]
    assert kept.trouble.name == "worker.dies" and "4 times in a row (exit code 3)" in kept.trouble.sentence
    kept.end(clock.now)


def test_a_process_that_lived_for_a_while_is_started_anew_at_once_and_is_no_trouble():
    clock = Clock()
    kept = Kept("worker", "A process that scans", time.sleep, (600,), clock)
    for _ in range(3):
        clock.now += 1000
        kept._process.kill()
        kept._process.join()
        kept.tend(lambda *what, **facts: None)
        assert kept.trouble is None
        clock.now += 1
        kept.tend(lambda *what, **facts: None)
        assert kept._process is not None
    kept.end(clock.now)
