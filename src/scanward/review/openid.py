"""Sign-in by an OpenID Connect provider: authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from scanward.delivery.webclient import client, request, secret
from scanward.errors import MissingExtraError, ScanwardError
from scanward.formats.guard import clean
from scanward.review.accounts import LONGEST_NAME
from scanward.roles import ROLES, Role
from scanward.setting_types import loopback

if TYPE_CHECKING:
    import httpx

    from scanward.settings import OpenId

FLOW_LIFETIME = 600
"""Seconds that somebody may take at the provider."""
ALGORITHMS = ("RS256", "PS256", "ES256", "RS384", "PS384", "ES384", "RS512", "PS512", "ES512", "EdDSA", "Ed25519")
"""Of ID tokens: with a public key only. With `none`, or the client's own secret as a key, others could make one."""
LEEWAY = 60
"""Seconds that the provider's clock may differ."""
FRESH = 3600.0
"""Seconds for which the provider's own description is believed."""
ANSWER = 10.0
"""Seconds that the provider is given for an answer."""


class ProviderError(ScanwardError):
    """The provider did not vouch for anybody. The message is for the log."""


@dataclass(frozen=True)
class Person:
    """Whom the provider vouches for."""

    name: str
    subject: str
    """What the provider calls the person for good."""
    roles: tuple[Role, ...]


class Provider:
    """One provider. Nothing is asked of it before somebody signs in."""

    def __init__(self, settings: OpenId, key: bytes) -> None:
        """`key` signs what the browser brings back. Raises `MissingExtraError` without authlib, `ArgumentError` where
        the client's secret cannot be read."""
        try:
            import authlib.oidc.core  # noqa: F401
            import joserfc  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"Sign-in by OpenID Connect needs {error.name}, which is not installed; install "
                                    "`scanward[login]`.") from None
        from itsdangerous import URLSafeTimedSerializer

        self._settings, self._lock = settings, threading.Lock()
        self._secret = secret(settings.client_secret_file)
        self._signer = URLSafeTimedSerializer(hashlib.sha256(b"scanward openid" + key).digest(), salt="flow")
        self._known: tuple[float, dict[str, Any]] | None = None
        self.name = settings.name
        self.address = f"{settings.url.rstrip('/')}/openid"
        facts = [settings.issuer, settings.client_id, settings.name_claim, settings.roles_claim, settings.roles]
        self.stamp = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        """Changes with what decides who is let in; sessions from before end."""

    def start(self, to: str) -> tuple[str, str]:
        """Where to send the browser, and what it has to bring back. `to` is where it wants to go in the end."""
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        flow = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        with self._web() as web:
            endpoint = self._endpoint(self._description(web), "authorization_endpoint")
        url = prepare_grant_uri(
            endpoint, self._settings.client_id, "code", redirect_uri=self.address, scope=self._settings.scope,
            state=flow["state"], nonce=flow["nonce"], code_challenge=create_s256_code_challenge(flow["verifier"]),
            code_challenge_method="S256")
        return str(url), str(self._signer.dumps(flow | {"to": to}))

    def finish(self, flow: str, query: Mapping[str, str]) -> tuple[Person, str]:
        """Whom the provider vouches for, and where they wanted to go. `flow` is what the browser brought back, `query`
        what the provider sent. Raises `ProviderError`."""
        from itsdangerous import BadData

        try:
            begun = self._signer.loads(flow, max_age=FLOW_LIFETIME)
        except BadData:
            raise ProviderError("this browser did not begin it, or took too long") from None
        if not hmac.compare_digest(begun["state"].encode(), query.get("state", "").encode("utf-8", "replace")):
            raise ProviderError("the state is not the one that was sent")
        if query.get("iss", self._settings.issuer) != self._settings.issuer:
            raise ProviderError("another issuer answered")
        if "error" in query or not query.get("code"):
            raise ProviderError(f"the provider answers {clean(query.get('error') or 'nothing')}")
        with self._web() as web:
            token = self._token(web, query["code"], begun["verifier"])
            return self._person(self._claims(web, token, begun["nonce"])), begun["to"]

    def _web(self) -> Any:
        return client(self._settings.issuer, "", None, self._settings.tls, timeout=ANSWER)

    def _description(self, web: httpx.Client) -> dict[str, Any]:
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > FRESH:
                issuer = self._settings.issuer
                found = self._json(web, "GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
                if found.get("issuer") != issuer:
                    raise ProviderError(f"the provider calls itself {clean(found.get('issuer'))}")
                self._known = (time.monotonic(), found)
            return self._known[1]

    def _endpoint(self, description: Mapping[str, Any], name: str) -> str:
        """An address that the provider names: over TLS, or on this machine as the provider itself."""
        url = description.get(name)
        try:
            parts = urlsplit(url if isinstance(url, str) else "")
        except ValueError:
            raise ProviderError(f"{name} is no address") from None
        near = loopback(parts.hostname or "") and self._settings.issuer.startswith("http://")
        if not parts.hostname or parts.scheme not in (("http", "https") if near else ("https",)):
            raise ProviderError(f"{name} is no address over https")
        return str(url)

    def _token(self, web: httpx.Client, code: str, verifier: str) -> dict[str, Any]:
        """What the provider gives for the code; the verifier proves that we asked for it."""
        description, ours = self._description(web), self._settings
        body = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.address,
                "code_verifier": verifier, "client_id": ours.client_id}
        headers: dict[str, str] = {}
        said = description.get("token_endpoint_auth_methods_supported")
        ways = said if said and isinstance(said, list) else ["client_secret_basic"]
        if self._secret and "client_secret_basic" in ways:
            pair = f"{quote(ours.client_id, safe='')}:{quote(self._secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif self._secret:
            body["client_secret"] = self._secret
        return self._json(web, "POST", self._endpoint(description, "token_endpoint"), data=body, headers=headers)

    def _claims(self, web: httpx.Client, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """The ID token's, when signature, issuer, audience, times and nonce are right."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        ours = self._settings
        keys = self._json(web, "GET", self._endpoint(self._description(web), "jwks_uri"))
        try:
            read = jwt.decode(str(token.get("id_token", "")), KeySet.import_key_set({"keys": keys["keys"]}),
                              algorithms=list(ALGORITHMS))
            claims = CodeIDToken(
                read.claims, read.header,
                {"iss": {"essential": True, "value": ours.issuer}, "aud": {"essential": True, "value": ours.client_id},
                 "nonce": {"essential": True, "value": nonce}},
                {"nonce": nonce, "client_id": ours.client_id, "access_token": token.get("access_token")})
            claims.validate(leeway=LEEWAY)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ProviderError(f"the ID token does not hold ({type(error).__name__}: {clean(error)})") from None
        return dict(claims)

    def _person(self, claims: Mapping[str, Any]) -> Person:
        name, subject = claims.get(self._settings.name_claim), claims.get("sub")
        if not isinstance(name, str) or not isinstance(subject, str) or not subject:
            raise ProviderError(f"the ID token says no {self._settings.name_claim}")
        if name != clean(name, LONGEST_NAME) or not name.isprintable() or not name:
            raise ProviderError(f"{clean(name)} is no name of 1 to {LONGEST_NAME} printable characters")
        groups = _within(claims, self._settings.roles_claim)
        held = {groups} if isinstance(groups, str) else set(map(str, groups)) if isinstance(groups, list) else set()
        given = {role for group, role in self._settings.roles.items() if group in held}
        if not given:
            raise ProviderError(f"{clean(name)} has no role here")
        return Person(name, f"{self._settings.issuer} {subject}", tuple(role for role in ROLES if role in given))

    def _json(self, web: httpx.Client, method: str, url: str, *, headers: Mapping[str, str] | None = None,
              **options: Any) -> dict[str, Any]:
        found = request(web, method, url, "The OpenID provider",
                        headers={"Accept": "application/json", **(headers or {})}, **options).json_or_none()
        if not isinstance(found, dict):
            raise ProviderError(f"{urlsplit(url).path} answers with no JSON object")
        return found


def _within(claims: Mapping[str, Any], name: str) -> object:
    """A claim by its name; `a.b` may lie in another one."""
    if name in claims or "." not in name:
        return claims.get(name)
    first, rest = name.split(".", 1)
    inner = claims.get(first)
    return _within(inner, rest) if isinstance(inner, dict) else None
