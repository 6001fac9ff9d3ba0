"""An OpenID provider whose own description is odd: nobody is let in, and nothing breaks."""

import json
from http.server import BaseHTTPRequestHandler

import pytest
from webserver import answering

pytest.importorskip("authlib")
pytest.importorskip("joserfc")

from scanward.errors import ScanwardError
from scanward.review.openid import Provider
from scanward.settings import OpenId


@pytest.fixture(name="issuer")
def provider():
    """Its address, and what it says of itself."""
    says = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(says).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

    with answering(Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        says |= {"issuer": address, "authorization_endpoint": f"{address}/a", "token_endpoint": f"{address}/t",
                 "jwks_uri": f"{address}/j"}
        yield address, says


@pytest.mark.parametrize("odd", [
    {"authorization_endpoint": "http://[x"}, {"token_endpoint": "https://[x"}, {"jwks_uri": 5},
    {"token_endpoint": "http://127.0.0.1/\ud800"}, {"token_endpoint": f"https://{'a' * 70}.x/"},
    {"token_endpoint_auth_methods_supported": 5}, {"token_endpoint": "https://\ud800.x/"},
])
def test_an_odd_description_lets_nobody_in(issuer, odd, tmp_path):
    address, says = issuer
    says |= odd
    (tmp_path / "secret").write_text("s")
    one = Provider(OpenId(issuer=address, client_id="c", url=address, roles={"r": "reviewer"},
                          client_secret_file=tmp_path / "secret"), b"key")
    with pytest.raises(ScanwardError):
        _, flow = one.start("/")
        begun = one._signer.loads(flow)
        one.finish(flow, {"state": begun["state"], "code": "x"})
