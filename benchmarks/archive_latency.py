"""What it is worth that a worker fetches the next image while it judges one: a server here that waits before each
answer, and sends no faster than a line does.

    python benchmarks/archive_latency.py FILM [--images 24] [--latency 0.2] [--rate 12.5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from scanward.archive.run import Run
from scanward.archive.servers import OrthancServer
from scanward.archive.work import Judging
from scanward.bench.tables import table
from scanward.judging.watched import Limits, Watched

PIECE = 1 << 18


class OneByOne(OrthancServer):
    """Whose images are fetched when they are judged, and not before."""

    distant = False


@contextmanager
def slow_orthanc(film: bytes, images: int, latency: float, rate: float) -> Iterator[str]:
    """The address of a server that has `images` films and speaks Orthanc's language; seconds and MB a second."""
    names = [f"{n:08x}-{0:08x}-{0:08x}-{0:08x}-{0:08x}" for n in range(images)]
    series = [{"ID": f"{name[:-1]}f", "MainDicomTags": {"Modality": "MG"}, "Instances": [name]} for name in names]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(latency)
            path, asked = urlsplit(self.path).path, urlsplit(self.path).query
            if path.endswith("/file"):
                self._send(film, rate)
            elif path == "/series":
                self._send(json.dumps(series if "since=0" in asked else []).encode())
            else:
                self._send(json.dumps({"CountSeries": len(series)}).encode())

        def _send(self, body: bytes, rate: float = 1e9) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for at in range(0, len(body), PIECE):
                self.wfile.write(body[at:at + PIECE])
                time.sleep(PIECE / rate / 1e6)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def took(kind: type[OrthancServer], url: str, method: str) -> float:
    """Seconds from the first answer to the last: networks are loaded before that."""
    times = []
    with tempfile.TemporaryDirectory() as out:
        run = Run(Path(out, "out"), Judging(kind(url), method))
        keep = run._take
        run._take = lambda done: (times.append(time.perf_counter()), keep(done))[1]  # type: ignore[method-assign]
        counts = run.go(Watched(1, Limits()), lambda _: None)
    if counts.errors:
        sys.exit("Some images could not be judged.")
    return times[-1] - times[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path, help="one image, which the server has again and again")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds before each answer")
    parser.add_argument("--rate", type=float, default=12.5, help="MB a second")
    parser.add_argument("--method", default="default")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows = []
    with slow_orthanc(given.film.read_bytes(), given.images, given.latency, given.rate) as url:
        for _ in range(given.rounds):  # by turns: the machine may have other work, too
            rows.append([took(kind, url, given.method) / (given.images - 1) for kind in (OneByOne, OrthancServer)])
            print(rows[-1], flush=True)
    before, after = (statistics.median(column) for column in zip(*rows, strict=True))
    print(table(("", "seconds an image"), [("one by one", f"{before:.2f}"), ("fetched ahead", f"{after:.2f}"),
                                           ("ratio", f"{before / after:.2f}")]))


if __name__ == "__main__":
    main()
