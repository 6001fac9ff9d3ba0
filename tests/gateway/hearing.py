"""A real web server that is told things."""

from http.server import BaseHTTPRequestHandler

import pytest
from webserver import answering


@pytest.fixture(name="server")
def listener():
    """A web server that keeps what it is told, and answers `server.status`."""
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append((self.path, dict(self.headers), body))
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with answering(Handler) as found:
        found.requests, found.status, found.headers = [], 204, {}
        found.url = f"http://127.0.0.1:{found.server_port}/hooks/T0K3N"
        yield found
