"""Hears Scanward's webhooks, and believes those alone that are signed with the shared secret and fresh.

    python webhook_receiver.py hook.secret 9000

Behind a web server with TLS it may serve as it is; `verified` is what a receiver of your own needs.
"""

import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FRESH = 300
"""Seconds that a message's time may be away from our clock's: who records one cannot send it again later."""
MOST = 100_000
"""Bytes of a message."""


def verified(secret: bytes, header: str, body: bytes, now: float) -> bool:
    """Whether `X-Scanward-Signature` is `t=SECONDS,v1=HEX`, with the HMAC-SHA256 of `SECONDS.BODY`, and fresh."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    moment, given = parts.get("t", ""), parts.get("v1", "")
    if not (moment.isascii() and moment.isdecimal() and len(moment) < 15 and abs(now - int(moment)) <= FRESH):
        return False
    wanted = hmac.new(secret, moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given.encode(), wanted.encode())  # takes as long for any wrong one


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what it believes, and 401 to the rest."""

    secret = b""
    timeout = 10

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST:
            self.answer(413)
            return
        body = self.rfile.read(int(length))
        if not verified(self.secret, self.headers.get("X-Scanward-Signature", ""), body, time.time()):
            self.answer(401)
            return
        self.answer(204)
        heard(self.headers.get("X-Scanward-Delivery", ""), json.loads(body))

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing of every request."""


def heard(delivery: str, message: dict[str, object]) -> None:
    """Put what should happen here. Where our answer was lost a message comes again, under the same `delivery`."""
    print(delivery, json.dumps(message), flush=True)


if __name__ == "__main__":
    Receiver.secret = Path(sys.argv[1]).read_text().split("\n", 1)[0].encode()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver).serve_forever()
