"""A small OpenID Connect provider on this machine: one user, who signs in without a question. It can lie."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from webserver import answering

CLIENT, CLIENT_SECRET = "scanward pages", "the client's secret: 100 %"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Provider:
    """What it says, and what it was asked."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://localhost:{port}"
        self.user: dict[str, Any] = {"sub": "u-1", "preferred_username": "dr.open", "groups": ["radiology", "staff"]}
        self.claims: dict[str, Any] = {}
        """Put over the ID token's own; None takes one away."""
        self.header: dict[str, Any] = {}
        self.signed_by: str = "key"
        """`key`, `other` (a key that is not published), `secret` (HMAC with the client's), `public` (HMAC with the
        public key), or `none`."""
        self.description: dict[str, Any] = {}
        self.answer: dict[str, str] = {}
        """Put over what the browser brings back."""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._keys = {name: rsa.generate_private_key(65537, 2048) for name in ("key", "other")}

    def described(self) -> dict[str, Any]:
        return {"issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize?tenant=1",
                "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"]} | self.description

    def published(self) -> dict[str, Any]:
        numbers = self._keys["key"].public_key().public_numbers()
        return {"keys": [{"kty": "RSA", "kid": "k1", "use": "sig", "alg": "RS256", "e": b64(b"\1\0\1"),
                          "n": b64(numbers.n.to_bytes(256, "big"))}]}

    def authorize(self, query: dict[str, str]) -> str:
        assert (query["response_type"], query["client_id"]) == ("code", CLIENT)
        assert query["code_challenge_method"] == "S256" and "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        given = {"code": code, "state": query["state"], "iss": self.issuer} | self.answer
        return f"{query['redirect_uri']}?{urlencode({k: v for k, v in given.items() if v is not None})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if (unquote(user), unquote(password)) != (CLIENT, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        begun = self._codes.pop(form.get("code", ""), None)
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if begun is None or form["redirect_uri"] != begun["redirect_uri"] or challenge != begun["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": self.id_token(begun["nonce"])}

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce, **self.user,
                  **self.claims}
        algorithm = {"secret": "HS256", "public": "HS256", "none": "none"}.get(self.signed_by, "RS256")
        header = {"alg": algorithm, "kid": "k1", "typ": "JWT"} | self.header
        text = ".".join(b64(json.dumps(part).encode()) for part in (
            header, {k: v for k, v in claims.items() if v is not None}))
        return f"{text}.{b64(self._signature(text.encode()))}"

    def _signature(self, text: bytes) -> bytes:
        if self.signed_by == "none":
            return b""
        if self.signed_by == "secret":
            return hmac.digest(CLIENT_SECRET.encode(), text, "sha256")
        if self.signed_by == "public":
            pem = self._keys["key"].public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            return hmac.digest(pem, text, "sha256")
        return self._keys[self.signed_by].sign(text, padding.PKCS1v15(), hashes.SHA256())


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        self.provider.asked.append((parts.path, query))
        if parts.path == "/authorize":
            self.send_response(302)
            self.send_header("Location", self.provider.authorize(query))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        known = {"/.well-known/openid-configuration": self.provider.described, "/keys": self.provider.published}
        self._json(200, known[parts.path]()) if parts.path in known else self._json(404, {})

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self.provider.asked.append((self.path, form))
        self._json(*self.provider.token(form, self.headers.get("Authorization", "")))

    def _json(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def provided() -> Iterator[Provider]:
    """A provider that answers until the block ends."""
    handler = type("Handler", (_Handler,), {})
    with answering(handler) as server:
        handler.provider = Provider(server.server_address[1])
        yield handler.provider
