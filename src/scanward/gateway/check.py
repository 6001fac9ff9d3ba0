"""`gateway.toml` and all that it names, looked at beforehand: nothing is started, and nothing is changed."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scanward.delivery.certificates import DAY, LISTENING, expiry, settings_of
from scanward.delivery.contexts import client_context, server_context
from scanward.delivery.send import echo
from scanward.delivery.spool import Unreachable
from scanward.delivery.webclient import Declined, client, request, secret
from scanward.errors import ArgumentError, ScanwardError
from scanward.formats.guard import shown
from scanward.gateway.trouble import refused
from scanward.setting_file import looked_at
from scanward.setting_types import loopback

if TYPE_CHECKING:
    from scanward.settings import Destination, Gateway, OpenId, Pull

Level = Literal["ok", "warn", "error"]
ANSWER = 15.0
"""Seconds that others have for an answer."""


@dataclass(frozen=True)
class Line:
    """What was found of one thing."""

    level: Level
    """`error` where the gateway would not start, or not do what it is there for; `warn` where it would, and somebody
    should look."""
    what: str
    """The setting."""
    sentence: str


def check(path: Path | None) -> Iterator[Line]:
    """A line for each thing that the settings in `path` name."""
    gateway, wrong = looked_at(path)
    if wrong:
        yield from (Line("error", "settings", sentence) for sentence in wrong)
        return
    yield Line("ok", "settings", f"{'The default settings' if path is None else shown(path)} can be read.")
    yield from _ports(gateway)
    yield from _certificates(gateway)
    yield from _folders(gateway)
    yield from _scanning(gateway)
    yield from _seals(gateway)
    yield from _people(gateway)
    yield from _secrets(gateway)
    yield from _others(gateway)


def _tried(what: str, work: Callable[[], object], well: str = "") -> Iterator[Line]:
    """`work` says what is well, where nothing else does, or raises."""
    try:
        found = work()
        yield Line("ok", what, well or str(found))
    except (Unreachable, Declined) as error:
        yield Line("warn", what, str(error))
    except ScanwardError as error:
        yield Line("error", what, str(error))


def _ports(gateway: Gateway) -> Iterator[Line]:
    running = _running(gateway.store.folder)
    for what, host, port, on in (("node.port", gateway.node.host, gateway.node.port, True),
                                 ("web.port", gateway.web.host, gateway.web.port, gateway.web.on)):
        if on and running:
            yield Line("ok", what, "A gateway works on this inbox; its ports were not tried.")
        elif on:
            yield from _tried(what, partial(_free, what, host, port))


def _free(what: str, host: str, port: int) -> str:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise ArgumentError(f"{shown(host)}:{port} cannot be listened on ({refused(error)}); choose another {what}, or "
                            "end what has it.") from None
    return f"{host}:{port} can be listened on."


def _running(inbox: Path) -> bool:
    """Whether a gateway holds the inbox."""
    try:
        handle = os.open(inbox, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _certificates(gateway: Gateway) -> Iterator[Line]:
    for name, tls in settings_of(gateway).items():
        if tls.cert is not None or tls.on:
            context = server_context if name in LISTENING else client_context
            found = list(_tried(f"{name}.tls", partial(context, tls), "The files can be used, and belong together."))
            yield from found
            if tls.cert is not None and found[0].level == "ok":
                yield _lasting(name, tls.cert, gateway.monitoring.certificate_days)


def _lasting(name: str, path: Path, days: float) -> Line:
    left = (expiry(path) - time.time()) / DAY
    if left < 0:
        return Line("error", f"{name}.tls.cert", "The certificate has ended; give a new one.")
    return Line("warn" if left < days else "ok", f"{name}.tls.cert", f"The certificate ends in {left:.0f} days.")


def _folders(gateway: Gateway) -> Iterator[Line]:
    inbox = gateway.store.folder
    yield from _tried("store.folder", partial(_writable, inbox))
    with suppress(OSError):
        free = shutil.disk_usage(_there(inbox)).free >> 20
        enough = free >= gateway.store.free_mb
        yield Line("ok" if enough else "warn", "store.free_mb", f"{free:,} MB are free" + (
            "." if enough else f", less than {gateway.store.free_mb:,}: nothing would be taken in."))
    if gateway.audit.file is not None:
        yield from _tried("audit.file", partial(_writable, gateway.audit.file.parent))


def _there(path: Path) -> Path:
    """The folder itself, or the first above it that exists."""
    return next(one for one in (path, *path.absolute().parents) if one.exists())


def _writable(folder: Path) -> str:
    there = _there(folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ArgumentError(f"{shown(there)} cannot be written to; choose another folder, or see to its owner.")
    return f"{shown(folder)} can be written to." if there == folder else f"{shown(folder)} can be made."


def _scanning(gateway: Gateway) -> Iterator[Line]:
    from scanward.judging.site import read_site
    from scanward.judging.witnesses import check_site, weights_of
    from scanward.protection import key_in

    work = gateway.work

    def method() -> str:
        check_site(None if work.site is None else read_site(work.site), work.method)
        return f"{work.method}, with {len(weights_of(work.method))} files of weights."

    yield from _tried("work.method", method)
    if work.verify_key is not None:
        yield from _tried("work.verify_key", partial(key_in, work.verify_key), "The key can be read.")


def _seals(gateway: Gateway) -> Iterator[Line]:
    from scanward.protection import key_in
    from scanward.seals.signing import read_certificate
    from scanward.seals.trust import read_trust

    seal = gateway.seal
    named: list[tuple[str, Path, Callable[[Path], object]]] = [("seal.older", one, key_in) for one in seal.older]
    named += [("seal.also", one, partial(read_certificate, authority=True)) for one in seal.also]
    named += [("seal.key", seal.key, key_in)] if seal.key is not None else []
    named += [("seal.trust", seal.trust, read_trust)] if seal.trust is not None else []
    for what, path, read in named:
        yield from _tried(what, partial(read, path), f"{shown(path)} can be read.")


def _people(gateway: Gateway) -> Iterator[Line]:
    from scanward.review.accounts import accounts
    from scanward.review.health import Watched
    from scanward.review.openid import Provider

    web, openid = gateway.web, gateway.web.openid
    if web.on and web.users is not None:
        with suppress(ScanwardError):
            known = accounts(web.users)
            chiefs = sum("administrator" in one.roles for one in known.values())
            if not known or not chiefs:
                yield Line("warn" if known or openid else "error", "web.users", (
                    "Nobody is an administrator" if known else "There are no accounts") + "; use `scanward user`.")
        yield from _tried("web.users", partial(accounts, web.users), "The accounts can be read.")
    if web.on and openid is not None:
        yield from _tried("web.openid", partial(Provider, openid, b""), "The settings can be used.")
        yield from _tried("web.openid.issuer", partial(_issuer, openid))
    if web.on and (gateway.monitoring.token_file or gateway.monitoring.allow):
        yield from _tried("monitoring", partial(Watched, gateway.monitoring), "/metrics is open to whom it names.")


def _issuer(openid: OpenId) -> str:
    with client(openid.issuer, "", None, openid.tls, timeout=ANSWER) as web:
        found = request(web, "GET", f"{openid.issuer.rstrip('/')}/.well-known/openid-configuration",
                        openid.issuer).json_or_none()
    if not isinstance(found, dict) or found.get("issuer") != openid.issuer:
        raise ArgumentError(f"{shown(openid.issuer)} calls itself otherwise; write web.openid.issuer as it does.")
    return f"{shown(openid.issuer)} answers."


def _secrets(gateway: Gateway) -> Iterator[Line]:
    """Files that nobody else should read, and what goes over the network in the clear."""
    named = {"seal.key": gateway.seal.key, "work.verify_key": gateway.work.verify_key, "web.users": gateway.web.users,
             "monitoring.token_file": gateway.monitoring.token_file}
    named |= {f"{name}.tls.key": tls.key for name, tls in settings_of(gateway).items()}
    if gateway.web.openid is not None:
        named["web.openid.client_secret_file"] = gateway.web.openid.client_secret_file
    remote: list[Destination | Pull] = [*gateway.destination, *gateway.pull]
    named |= {f"{one.name}.password_file": one.password_file for one in remote}
    for number, hook in enumerate(gateway.webhook):
        what = f"webhook.{number}.secret_file"
        named[what] = hook.secret_file
        if hook.secret_file is None:
            yield Line("warn", what, "None is named: its messages are not signed, and anybody could send such.")
        elif not _read(hook.secret_file):
            yield Line("error", what, "The file is empty; write the webhook's secret into it.")
    for what, path in named.items():
        if path is not None and stat.S_IMODE(path.stat().st_mode) & stat.S_IROTH:
            yield Line("warn", what, f"Everybody on this machine can read {shown(path)}; take that away (chmod o-r).")
    for one in remote:
        host = one.url.removeprefix("http://").partition("/")[0].rpartition("@")[2].rsplit(":", 1)[0].strip("[]")
        if one.user and one.url.startswith("http://") and not loopback(host):
            yield Line("warn", f"{one.name}.url", "The password goes over the network in the clear; use https://.")


def _read(path: Path) -> str:
    with suppress(ArgumentError):
        return secret(path)
    return ""


def _others(gateway: Gateway) -> Iterator[Line]:
    """Whether those answer with whom the gateway works. One that is away now may be there later: a warning."""
    for to in gateway.destination:
        yield from _tried(f"destination {to.name}", partial(_answers, to, gateway.node.aet))
    for pull in gateway.pull:
        path = "/system" if pull.kind == "orthanc" else "/studies?limit=1"
        yield from _tried(f"pull {pull.name}", partial(_asked, pull, path))


def _answers(to: Destination, calling: str) -> str:
    if to.kind == "stow":
        return _asked(to, "/studies?limit=1")
    echo(to, calling=calling)
    return "It answers C-ECHO."


def _asked(one: Destination | Pull, path: str) -> str:
    with client(one.url, one.user, one.password_file, one.tls, timeout=ANSWER) as web:
        request(web, "GET", one.url.rstrip("/") + path, one.name, passed=(200, 204),
                headers={"Accept": "application/json, application/dicom+json"})
    return "It answers."
