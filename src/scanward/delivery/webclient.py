"""Web requests to other systems: TLS, passwords and what an answer's status means for those who wait."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanward.delivery.contexts import web_context
from scanward.delivery.patience import Patience
from scanward.delivery.spool import Refused, Unreachable
from scanward.errors import ArgumentError
from scanward.formats.guard import clean, shown
from scanward.version import __version__

if TYPE_CHECKING:
    import httpx

    from scanward.setting_types import Tls

LARGEST = 16 << 20
"""Bytes of an answer that is read into memory: as JSON it may need thirty times as many."""
PLAIN: tuple[list[str], ...] = ([], ["identity"], ["gzip"])
"""Content codings of an answer that is read. One within another, or one that was not asked for, may turn a few bytes
into more than the memory holds before the first of them is counted."""
LATER = frozenset({408, 425, 429})
CONNECT, ANSWER = 15.0, 120.0
"""Seconds to wait for a connection, and for each answer of a destination."""


class NotFound(Refused):
    """404 or 410: what was asked for is not there, or no longer."""


class Unauthorised(Refused):
    """401 or 403."""


class Declined(Refused):
    """Another 4xx: this very request, and maybe no other."""


class Faulty(Unreachable):
    """500, or an answer without its end: a fault of the server with this very request, maybe for good."""


@dataclass(frozen=True)
class Answer:
    """Status and body of one that was waited for."""

    status: int
    body: bytes

    def json_or_none(self) -> Any:
        """The JSON in it, None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@contextmanager
def client(url: str, user: str, password_file: Path | None, tls: Tls, *, timeout: float) -> Iterator[httpx.Client]:
    """Connections to one server, for one thread. It follows no redirects and reads no proxy from the environment, and
    has `timeout` seconds for an answer, as `Patience` counts them."""
    import httpx

    verify: ssl.SSLContext | bool = web_context(tls) if url.startswith("https:") else False
    with httpx.Client(verify=verify, auth=(user, secret(password_file)) if user else None, trust_env=False,
                      follow_redirects=False, timeout=httpx.Timeout(timeout, connect=CONNECT),
                      event_hooks={"request": [Patience(timeout).begin]},
                      headers={"User-Agent": f"scanward/{__version__}", "Accept-Encoding": "gzip"}) as made:
        yield made


def secret(path: Path | None) -> str:
    """The first line of a file with a password; `ArgumentError` where it cannot be read."""
    if path is None:
        return ""
    try:
        return path.read_text("utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{shown(path)} cannot be read ({clean(error)}); it holds a secret in one line.") from error


def request(web: httpx.Client, method: str, url: str, name: str, *, passed: tuple[int, ...] = (200,),
            **options: Any) -> Answer:
    """One request and its whole answer, of at most `LARGEST` bytes.

    Raises `Unreachable` or `Refused`, with `name` in the sentence, where the status is none of `passed`.
    """
    with streamed(web, method, url, name, passed=passed, **options) as answer:
        body = bytearray()
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > LARGEST:
                raise Refused(f"{name} answers with more than {LARGEST >> 20} MB.")
    return Answer(answer.status_code, bytes(body))


@contextmanager
def streamed(web: httpx.Client, method: str, url: str, name: str, *, passed: tuple[int, ...] = (200,),
             long: bool = False, **options: Any) -> Iterator[httpx.Response]:
    """One request whose answer is read piece by piece; raises as `request`, also while it is read. A `long` answer may
    take more time, as long as it comes fast enough."""
    with wire_errors(name):
        built = web.build_request(method, url, **options)
    try:
        with wire_errors(name), closing(web.send(built, stream=True)) as answer:
            if answer.status_code not in passed:
                raise failure(answer.status_code, name, answer.headers.get("Retry-After", ""))
            coded = answer.headers.get_list("Content-Encoding", split_commas=True)
            if [one.lower() for one in coded] not in PLAIN:
                raise Refused(f"{name} packs its answer in a way that nobody asked for ({clean(', '.join(coded))}).")
            if long:
                _patience(built).long(answer)
            yield answer
    except Unreachable as error:
        if _patience(built).over:
            raise late(name) from error
        raise
    finally:
        _patience(built).end()
    if _patience(built).over:  # or what was cut off looks like the end of an answer that says no length
        raise late(name)


def _patience(request: httpx.Request) -> Patience:
    """That of the client; one that has nothing to wait for where nothing was sent."""
    found = request.extensions.get("patience")
    return found if isinstance(found, Patience) else Patience(0.0)


def late(name: str) -> Unreachable:
    """Of who takes too long."""
    return Unreachable(f"{name} did not answer in time.")


@contextmanager
def wire_errors(name: str) -> Iterator[None]:
    """Turns what goes wrong with a connection into `Unreachable`, or `Refused` for certificates."""
    import httpx

    try:
        yield
    except httpx.TimeoutException as error:
        raise late(name) from error
    except httpx.TransportError as error:
        why = clean(error) or type(error).__name__
        raise _of_tls(name, error) or Unreachable(f"{name} cannot be reached ({why}).") from error
    except httpx.DecodingError as error:
        raise Refused(f"{name} packs its answer in a way that cannot be read ({clean(error)}).") from error
    except (httpx.InvalidURL, UnicodeError) as error:  # a host or a path that cannot be encoded
        raise Refused(f"{name} has an address that is none ({clean(error)}); mend its url.") from error


def _of_tls(name: str, error: BaseException) -> Refused | Unreachable | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return tls_refusal(name, seen)
        seen = seen.__cause__ or seen.__context__
    return None


def tls_refusal(name: str, error: ssl.SSLError) -> Refused | Unreachable:
    """What a failed handshake means for those who wait."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused(f"{name} shows a certificate that is not trusted ({clean(error.verify_message)}); check tls.ca "
                       "and the host's name.")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Unreachable(f"{name} broke the TLS handshake off.")
    return Refused(f"{name} refused the TLS handshake ({clean(error.reason or error)}); check the certificates and "
                   "whether it speaks TLS.")


def failure(status: int, name: str, retry_after: str = "") -> Refused | Unreachable:
    """The error that an HTTP status stands for."""
    if status == 500:
        return Faulty(f"{name} broke down over a request (HTTP 500); see its log for the reason.",
                      _seconds(retry_after))
    if status > 500 or status in LATER:
        return Unreachable(f"{name} cannot take it now (HTTP {status}).", _seconds(retry_after))
    if status in (401, 403):
        return Unauthorised(f"{name} refused the user or the password (HTTP {status}); check both.")
    if status in (404, 410):
        return NotFound(f"{name} has nothing at that address (HTTP {status}); check its url.")
    if 300 <= status < 400:
        return Refused(f"{name} points to another address (HTTP {status}), which is not followed; name that one.")
    return Declined(f"{name} refused a request (HTTP {status}); see its log for the reason.")


def _seconds(retry_after: str) -> float | None:
    """Of a Retry-After header: a number, or a date."""
    if retry_after.isdecimal() and len(retry_after) < 10:
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except (ValueError, TypeError, IndexError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.fromtimestamp(time.time(), UTC)).total_seconds())
