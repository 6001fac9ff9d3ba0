"""Attacks on the gateway, each against a `scanward serve` of its own: what happens.

    python benchmarks/gateway_attacks.py              # all of them
    python benchmarks/gateway_attacks.py bombs login  # these

Times are the clock's; an otherwise idle machine is meant. Needs DCMTK (Debian: dcmtk).
"""

from __future__ import annotations

import argparse
import io
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pydicom
from gateway import MG, Gateway, objects, storescu
from PIL import Image as Pillow
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from scanward.bench.tables import table

Rows = Iterator[tuple[str, str]]
PORT = 14104
SIDE = 14_000
"""What the bombs claim."""
PASSWORD = "a long enough password"  # noqa: S105


@contextmanager
def gateway(folder: Path, more: str = "", **settings: int) -> Iterator[Gateway]:
    one = Gateway(folder, None, PORT, more=more, **settings)
    one.ready()
    try:
        yield one
    finally:
        one.kill()


def until(condition: Callable[[], object], seconds: float = 600) -> float:
    """Seconds until it holds."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            return float("inf")
        time.sleep(0.05)
    return time.monotonic() - start


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    with suppress(OSError):
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(one for child in map(int, below) for one in tree(child))]
    return []


def peak(pid: int) -> float:
    """MB that a process held at most, so far."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def half_open(folder: Path) -> Rows:
    """1,100 requests that never end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    with gateway(folder / "g") as one, ExitStack() as stack:
        objects(folder / "in", 1, 64, 1, MG, "41")
        before = storescu(folder / "in", PORT, "SCANWARD")
        address = httpx.URL(one.pages)
        for _ in range(1100):
            line = stack.enter_context(closing(socket.create_connection((address.host, address.port or 80))))
            with suppress(OSError):
                line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        start = time.monotonic()
        page = httpx.get(one.pages, timeout=60).status_code
        seconds, under = time.monotonic() - start, storescu(folder / "in", PORT, "SCANWARD")
        yield ("1,100 half-open requests",
               f"C-STORE in {under:.2f} s (before: {before:.2f}), the page in {seconds:.2f} s (status {page})")


def bombs(folder: Path) -> Rows:
    """Kilobytes that claim gigabytes, through the node."""
    small = np.random.default_rng(1).integers(0, 4096, (64, 64)).astype(np.uint16)
    made = io.BytesIO()
    Pillow.fromarray(small).save(made, "JPEG2000", irreversible=False, no_jp2=True)
    stream = bytearray(made.getvalue())
    at = stream.index(b"\xff\x51") + 6
    for where in (at, at + 16):
        struct.pack_into(">II", stream, where, SIDE, SIDE)
    runs = b"\x81\0" * -(-SIDE * SIDE // 128)
    rle = struct.pack("<16I", 2, 64, 64 + len(runs), *[0] * 13) + runs * 2
    for name, syntax, frame in (("JPEG 2000", JPEG2000Lossless, bytes(stream)), ("RLE", RLELossless, rle)):
        (path,) = objects(folder / name, 1, 64, 1, MG, "42")
        data = pydicom.dcmread(path)
        data.Rows = data.Columns = SIDE
        data.file_meta.TransferSyntaxUID, data.PixelData = syntax, encapsulate([frame])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        data.save_as(path, enforce_file_format=True)
        with gateway(folder / f"g {name}") as one:
            storescu(folder / name, PORT, "SCANWARD", syntax="-xv" if name == "JPEG 2000" else "-xr")
            highest = 0.0

            def done(one: Gateway = one) -> bool:
                nonlocal highest
                highest = max(highest, *map(peak, tree(one.process.pid)))
                return not one.waiting()

            seconds = until(done)
            key = next(path.name for path in one.inbox.glob("*/[!.]*") if (path / "study.json").is_file())
            study = httpx.get(f"{one.pages}api/studies/{key}").json()
            yield (f"{name} of {path.stat().st_size:,} bytes that claims {SIDE:,}²",
                   f"answered after {seconds:.1f} s, two of them quiet; no process above {highest:.0f} MB; the page: "
                   f"{study['images'][0]['error'] or study['label']}")


def drips(folder: Path) -> Rows:
    """A study to which something comes every .8 s."""
    with gateway(folder / "g", longest_seconds=10) as one:
        paths = objects(folder / "in", 60, 64, 60, MG, "43")
        start, scanned = time.monotonic(), None
        for path in paths:
            storescu(path, PORT, "SCANWARD")
            if scanned is None and any((one.inbox / "done").glob("[!.]*/study.json")):
                scanned = time.monotonic() - start
            time.sleep(max(0.0, 0.8 - (time.monotonic() - start) % 0.8))
        late = until(lambda: not one.waiting())
        (study,) = (one.inbox / "done").glob("[!.]*")
        yield ("an object every 0.8 s, `longest_seconds` 10",
               f"first answer after {scanned or float('inf'):.0f} s; {late:.0f} s after the last object all "
               f"{len(list((study / 'objects').glob('*.dcm')))} are judged")


def csrf(http: httpx.Client, page: str) -> str:
    found = re.search(r'name="csrf" content="([^"]+)"', http.get(page).text)
    return found[1] if found else ""


def login(folder: Path) -> Rows:
    """The victim's bucket emptied from elsewhere; a session that ended, after a restart."""
    users = folder / "users.json"
    subprocess.run([sys.executable, "-m", "scanward", "user", "victim", "--users", str(users)],
                   input=PASSWORD + "\n", text=True, check=True, stdout=subprocess.DEVNULL)
    with gateway(folder / "g", more=f'users = "{users}"\n') as one:
        def entered(address: str, password: str) -> tuple[int, httpx.Client]:
            http = httpx.Client(base_url=one.pages, transport=httpx.HTTPTransport(local_address=address), timeout=60)
            form = {"csrf": csrf(http, "/login"), "name": "victim", "password": password}
            return http.post("/login", data=form).status_code, http

        wrong = [entered("127.0.0.9", "wrong password")[0] for _ in range(40)]
        right, http = entered("127.0.0.1", PASSWORD)
        cookies = dict(http.cookies)
        http.post("/logout", data={"csrf": csrf(http, "/")})
        one.kill()
        one.start()
        one.ready()
        to = httpx.get(one.pages, cookies=cookies).headers.get("location", "")
        yield ("40 wrong passwords for one name from one address",
               f"{wrong.count(429)} of 40 refused as too many; the right one from elsewhere: "
               f"{'signed in' if right == 303 else f'status {right}'}")
        yield "a cookie that was logged out, after a restart", "sent to the login" if "/login" in to else "let in"


def ends(folder: Path) -> Rows:
    """`kill -9` of the node, and SIGTERM, while a study is scanned."""
    with gateway(folder / "g") as one:
        objects(folder / "in", 8, 2000, 8, MG, "44")

        def busy() -> bool:
            return any((one.inbox / "working").glob("[!.]*"))

        storescu(folder / "in", PORT, "SCANWARD")
        until(busy)
        time.sleep(3)
        children = tree(one.process.pid)[1:]
        one.process.kill()
        one.process.wait()
        gone = until(lambda: not any(map(running, children)))
        yield ("`kill -9` of the node in the middle of a scan",
               f"its {len(children)} processes are gone after {gone:.2f} s")
        one.start()
        one.ready()
        until(lambda: any((one.inbox / "working").glob("*/.image-*")))
        start = time.monotonic()
        one.process.send_signal(signal.SIGTERM)
        one.process.wait()
        seconds, kept = time.monotonic() - start, len(list((one.inbox / "working").glob("*/.image-*")))
        one.start()
        one.ready()
        until(lambda: not one.waiting())
        yield ("SIGTERM in the middle of a scan", f"ended after {seconds:.1f} s; what was judged, {kept} of 8 images, "
                                                  "is kept, and the rest is judged after the next start")


def running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


ATTACKS = {"half-open": half_open, "bombs": bombs, "drips": drips, "login": login, "ends": ends}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", choices=[[], *ATTACKS], help="none named: all")
    rows = []
    for name in parser.parse_args().attacks or ATTACKS:
        with tempfile.TemporaryDirectory() as folder:
            for row in ATTACKS[name](Path(folder)):
                print(*row, sep=": ", flush=True)
                rows.append(row)
    print(table(("attack", "what happens"), rows))


if __name__ == "__main__":
    main()
