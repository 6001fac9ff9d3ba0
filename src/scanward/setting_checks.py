"""What no setting shows by itself: settings that do not go together, and files that are not there."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scanward.formats.guard import shown
from scanward.setting_types import loopback

if TYPE_CHECKING:
    from scanward.settings import Destination, Gateway, OpenId, Pull

AET = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
"""An AE title: up to 16 characters of ASCII without a backslash (PS3.5 6.2)."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


def complaints(gateway: Gateway) -> list[str]:
    """Each a sentence; empty where all fits."""
    return [*_hosts(gateway), *_node(gateway), *_web(gateway), *_names(gateway), *_seals(gateway), *_files(gateway)]


def _hosts(gateway: Gateway) -> list[str]:
    """Names that no network knows how to ask for."""
    named = {"node.host": gateway.node.host, "web.host": gateway.web.host,
             "audit.syslog": gateway.audit.syslog.rpartition(":")[0],
             **{f"destination {one.name}.host": one.host for one in gateway.destination}}
    return [f"{where} {shown(host)} is no host's name." for where, host in named.items() if not _name(host)]


def _name(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return "\0" not in host


def _node(gateway: Gateway) -> list[str]:
    node, complaints = gateway.node, []
    titles = {"node.aet": node.aet, **{f"node.allow {aet!r}": aet for aet in node.allow}}
    for one in gateway.destination:
        if one.kind == "dimse":
            titles[f"destination {one.name}.aet"] = one.aet
        if one.calling:
            titles[f"destination {one.name}.calling"] = one.calling
    complaints += [f"{where} is no AE title; it has 1 to 16 characters of ASCII." for where, aet in titles.items()
                   if not AET.fullmatch(aet)]
    if not node.allow and not loopback(node.host):
        complaints.append(f"node.host {node.host} is open to the network; name in node.allow who may send.")
    return complaints


def _web(gateway: Gateway) -> list[str]:
    web, complaints = gateway.web, _openid(gateway.web.openid)
    if web.on and web.users is None and web.openid is None and (web.hosts or not loopback(web.host)):
        what = f"web.hosts names {web.hosts[0]}" if web.hosts else f"web.host {web.host} is open to the network"
        complaints.append(f"{what}; name web.users, made with `scanward user`, or [web.openid].")
    if web.on and not loopback(web.host) and web.tls.cert is None:
        complaints.append(f"web.host {web.host} is open to the network, and passwords would go over it in the clear; "
                          "name web.tls.cert, or put a proxy with TLS before a loopback address.")
    return complaints


def _openid(openid: OpenId | None) -> list[str]:
    if openid is None:
        return []
    complaints = []
    for name, url in (("issuer", openid.issuer), ("url", openid.url)):
        if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", url):
            complaints.append(f"web.openid.{name} {url!r} is no web address; it begins with https://.")
        elif url.startswith("http://") and not loopback(urlsplit(url).hostname or ""):
            complaints.append(f"web.openid.{name} {url} goes over the network in the clear; use https://.")
    return complaints


def _names(gateway: Gateway) -> list[str]:
    complaints = []
    for kind, names in (("destination", [d.name for d in gateway.destination]),
                        ("pull", [p.name for p in gateway.pull])):
        complaints += [f"{kind}.name {name!r} has other characters than letters, digits, - and _." for name in names
                       if not NAME.fullmatch(name)]
        if len(set(names)) < len(names):
            complaints.append(f"two of [[{kind}]] have one name; names tell them apart.")
    for one in (one for one in gateway.destination if one.commitment):
        if one.kind == "stow":
            complaints.append(f"destination {one.name}.commitment asks by DICOM messages, and STOW-RS has none.")
        elif gateway.node.allow and one.aet not in gateway.node.allow:
            complaints.append(f"destination {one.name}.commitment: name {one.aet} in node.allow, or no answer comes.")
        elif gateway.node.check_called and one.calling not in ("", gateway.node.aet):
            complaints.append(f"destination {one.name}.commitment is answered to {one.calling}, and the node hears "
                              f"{gateway.node.aet} alone; leave out its calling, or set node.check_called = false.")
    urls = [(f"pull {p.name}.url", p.url) for p in gateway.pull] + [("webhook.url", w.url) for w in gateway.webhook]
    urls += [(f"destination {d.name}.url", d.url) for d in gateway.destination if d.kind == "stow"]
    complaints += [f"{where} {url!r} is no web address; it begins with http:// or https://." for where, url in urls
                   if not re.match(r"https?://[^/]", url)]
    if gateway.audit.syslog and not re.fullmatch(r"[^\s:]+:\d{1,5}|\[[0-9A-Fa-f:]+\]:\d{1,5}", gateway.audit.syslog):
        complaints.append(f"audit.syslog {gateway.audit.syslog!r} is no HOST:PORT.")
    return complaints


def _seals(gateway: Gateway) -> list[str]:
    seal, complaints = gateway.seal, []
    if seal.senders and seal.key is None:
        complaints.append("seal.from is named, and seal.key is not; nothing would be sealed.")
    if gateway.work.marked and gateway.work.verify_key is None:
        complaints.append("work.marked is on, and work.verify_key names no key; no watermark would count.")
    if seal.must_be_sealed and not seal.on:
        complaints.append("seal.must_be_sealed is named, and no key or certificate is; no seal would count.")
    for pattern in seal.senders:
        known = {d.aet: d.name for d in gateway.destination if d.kind == "dimse"}
        pacs = next((aet for aet in known if fnmatchcase(aet, pattern)), None)
        if not pattern.strip("*?"):
            complaints.append(f"seal.from {pattern!r} matches every AE title, a PACS's too, and would seal whatever "
                              "arrives; name the modalities.")
        elif pacs is not None:
            complaints.append(f"seal.from {pattern!r} matches {pacs}, the [[destination]] {known[pacs]}; name the "
                              "modalities alone, as a PACS also sends what others sent to it.")
        elif gateway.node.allow and not any(fnmatchcase(aet, pattern) for aet in gateway.node.allow):
            complaints.append(f"seal.from {pattern!r} matches no AE title in node.allow; nothing would be sealed.")
    return complaints


def _files(gateway: Gateway) -> list[str]:
    named: dict[str, Path | None] = {
        "work.site": gateway.work.site, "work.verify_key": gateway.work.verify_key, "seal.key": gateway.seal.key,
        "seal.trust": gateway.seal.trust, "web.users": gateway.web.users,
        "monitoring.token_file": gateway.monitoring.token_file}
    if gateway.web.openid is not None:
        named["web.openid.client_secret_file"] = gateway.web.openid.client_secret_file
        named["web.openid.tls.ca"] = gateway.web.openid.tls.ca
    named |= {f"seal.also {shown(path)}": path for path in gateway.seal.also}
    named |= {f"seal.older {shown(path)}": path for path in gateway.seal.older}
    remote: dict[str, Destination | Pull] = {f"destination {d.name}": d for d in gateway.destination}
    remote |= {f"pull {p.name}": p for p in gateway.pull}
    named |= {f"{where}.password_file": one.password_file for where, one in remote.items()}
    named |= {f"webhook {w.url} secret_file": w.secret_file for w in gateway.webhook}
    certificates = {"node": gateway.node.tls, "audit": gateway.audit.tls, "web": gateway.web.tls,
                    **{where: one.tls for where, one in remote.items()}}
    for where, tls in certificates.items():
        named |= {f"{where}.tls.cert": tls.cert, f"{where}.tls.key": tls.key, f"{where}.tls.ca": tls.ca}
    complaints = [f"{where}: there is no file {shown(path)}; check the path." for where, path in named.items()
                  if path is not None and not path.is_file()]
    for where, tls in (("node", gateway.node.tls), ("web", gateway.web.tls)):
        if (tls.ca or tls.key) and not tls.cert:
            complaints.append(f"{where}.tls names a key or an authority and no cert; without it nothing is encrypted.")
    if gateway.work.records and not gateway.work.records.is_dir():
        complaints.append(f"work.records: there is no folder {shown(gateway.work.records)}; check the path.")
    return complaints
