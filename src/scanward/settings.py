"""What `gateway.toml` may say: every setting with its default, checked before anything is opened.

docs/gateway.md has the whole file with comments.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from scanward.errors import ArgumentError
from scanward.formats.guard import shown
from scanward.roles import Role
from scanward.setting_types import SETTINGS, Near, Port, Seconds, Some, Tls, Viewer, loopback
from scanward.verdict import StudyLabel

AET = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
"""An AE title: up to 16 characters of ASCII without a backslash (PS3.5 6.2)."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True, config=SETTINGS)
class Node:
    """The C-STORE SCP."""

    aet: str = "SCANWARD"
    host: str = "127.0.0.1"
    port: Port = 11112
    allow: tuple[str, ...] = ()
    """AE titles that may send. None named: any, which is refused unless `host` is a loopback address."""
    check_called: bool = True
    """Refuse who calls another title than `aet`."""
    tls: Tls = Tls()
    associations: Some = 32
    associations_per_address: Some = 16
    """Whoever asks for more is refused for now, with "local limit exceeded"; so is who comes when all are taken."""
    request_seconds: Annotated[float, Field(gt=0)] = 10.0
    """In which who calls must have asked for an association."""
    idle_seconds: Annotated[float, Field(gt=0)] = 60.0
    largest_mb: Some = 1024
    """Of one object; twice as much of all that are on their way."""
    keep_unknown: bool = True
    """Keep objects that are no images scanned here, untouched, beside the study; otherwise refuse them."""


@dataclass(frozen=True, config=SETTINGS)
class Store:
    """The inbox."""

    folder: Near = Path("scanward-inbox")
    quiet_seconds: Seconds = 10.0
    """A study is complete when nothing of it came for so long."""
    longest_seconds: Annotated[float, Field(gt=0)] = 600.0
    """It is scanned so long after its first object though more come, and again with those that come later."""
    keep_days: Seconds = 30.0
    """How long finished studies stay; 0 keeps them for good."""
    free_mb: Annotated[int, Field(ge=0)] = 512
    """C-STORE answers out-of-resources while less is free."""


@dataclass(frozen=True, config=SETTINGS)
class Work:
    """Scanning."""

    workers: Some | None = None
    """Processes, each of which holds the networks. None named: one for every two cores, eight at most."""
    method: str = "default"
    site: Near | None = None
    """Thresholds of this site, from `scanward calibrate`."""
    attempts: Some = 3
    """How often a study is tried whose scan broke down."""
    study_seconds: Annotated[float, Field(gt=0)] = 1800.0
    """How long the scan of a study of 100 MB may take; of a larger one, longer in proportion. Then it is set aside."""
    stop_seconds: Seconds = 5.0
    """How long the gateway waits at its end for what is being scanned; what is not done by then is done after the
    next start."""
    verify_key: Near | None = None
    """Verifies images that an earlier version wove evidence into with this key."""
    records: Near | None = None
    """Where their records lie; those that an earlier version kept in the inbox are found without."""

    @property
    def processes(self) -> int:
        """How many processes scan."""
        return self.workers or max(1, min(8, len(os.sched_getaffinity(0)) // 2))


@dataclass(frozen=True, config=SETTINGS)
class Rule:
    """Images of which all that it names is so."""

    sender: Annotated[str, Field(alias="from")] = "*"
    """Pattern of the AE title that one of its objects came from; what was pulled has none."""
    modality: str = "*"
    patient: str = "*"
    """Pattern of the Patient ID."""

    def takes(self, senders: Iterable[str], modality: str, patient: str) -> bool:
        """Whether it is about such an image."""
        return (any(fnmatchcase(sender, self.sender) for sender in senders) and fnmatchcase(modality, self.modality)
                and fnmatchcase(patient, self.patient))


@dataclass(frozen=True, config=SETTINGS)
class Seal:
    """Images are sealed as they come from modalities, and whatever comes is held against what was sealed."""

    key: Near | None = None
    """The site's secret, made with `scanward key`."""
    senders: Annotated[tuple[str, ...], Field(alias="from")] = ()
    """Patterns of AE titles whose images are sealed: modalities."""
    also: tuple[Near, ...] = ()
    """Certificates of others whose seals count, too, or of their authorities."""
    older: tuple[Near, ...] = ()
    """Secrets of the site before `key`: what they sealed counts, and nothing is sealed with them."""
    trust: Near | None = None
    """A trust file: more certificates, and since when a key is compromised."""
    must_be_sealed: tuple[Rule, ...] = ()
    """Images that are at least inconclusive without a seal that counts."""

    @property
    def on(self) -> bool:
        return self.key is not None or bool(self.also or self.older) or self.trust is not None

    def by(self, sender: str) -> bool:
        """Whether images from this AE title are sealed."""
        return self.key is not None and any(fnmatchcase(sender, pattern) for pattern in self.senders)


@dataclass(frozen=True, config=SETTINGS)
class Results:
    """What is made of a verdict."""

    objects: tuple[Literal["sr", "seg", "sc"], ...] = ("sr", "seg", "sc")


@dataclass(frozen=True, config=SETTINGS)
class Destination:
    """Where results go: `dimse` by C-STORE, `stow` by STOW-RS."""

    name: str
    kind: Literal["dimse", "stow"] = "dimse"
    host: str = "127.0.0.1"
    port: Port = 104
    aet: str = "ORTHANC"
    calling: str = ""
    """Our own title there; the node's where none is named."""
    url: str = ""
    """Of a DICOMweb root, such as https://pacs/dicom-web."""
    user: str = ""
    password_file: Near | None = None
    tls: Tls = Tls()
    results: bool = True
    """Gets the results of every study; without, nothing for now."""


@dataclass(frozen=True, config=SETTINGS)
class Webhook:
    """A web address that is told of finished studies, without patient data."""

    url: str
    secret_file: Near | None = None
    """Signs each message (HMAC-SHA256, header X-Scanward-Signature)."""
    labels: tuple[StudyLabel, ...] = ()
    """Only these; none named: all."""


@dataclass(frozen=True, config=SETTINGS)
class Pull:
    """A server that is followed: Orthanc by `/changes`, any DICOMweb server by QIDO and WADO."""

    name: str
    url: str
    kind: Literal["orthanc", "dicomweb"] = "orthanc"
    user: str = ""
    password_file: Near | None = None
    every_seconds: Annotated[float, Field(gt=0)] = 10.0
    modalities: tuple[str, ...] = ("MG", "CT")
    days: Some = 2
    """How far back DICOMweb is searched, by study date."""
    tls: Tls = Tls()


@dataclass(frozen=True, config=SETTINGS)
class Audit:
    """Who did what: JSON lines, and DICOM audit messages (PS3.15 A.5) over syslog."""

    file: Near | None = None
    """audit.jsonl in the inbox where none is named."""
    syslog: str = ""
    """HOST:PORT."""
    protocol: Literal["tls", "udp"] = "tls"
    tls: Tls = Tls()


@dataclass(frozen=True, config=SETTINGS)
class OpenId:
    """Sign-in by an OpenID Connect provider, beside local accounts."""

    issuer: str
    """Its address; `/.well-known/openid-configuration` below it says the rest."""
    client_id: str
    url: str
    """Where browsers find our pages; the provider sends them back to `URL/openid`."""
    roles: Annotated[dict[str, Role], Field(min_length=1)]
    """A value of `roles_claim`, and the role that it gives. Who has none is not let in."""
    client_secret_file: Near | None = None
    name: str = "single sign-on"
    """On the button."""
    scope: str = "openid profile"
    name_claim: str = "preferred_username"
    """Under which a person signs in and reviews; one that its users cannot change themselves."""
    roles_claim: str = "groups"
    tls: Tls = Tls()
    """`ca`: whom to believe that the provider is itself, where it is no public authority."""


@dataclass(frozen=True, config=SETTINGS)
class Web:
    """The pages and the REST API."""

    on: bool = True
    host: str = "127.0.0.1"
    port: Port = 8042
    users: Near | None = None
    """Accounts, made with `scanward user`. Without them and `openid`: no login, which is refused unless `host` is a
    loopback address."""
    openid: OpenId | None = None
    hosts: tuple[str, ...] = ()
    """Other names of the pages, where a proxy on this machine passes requests on."""
    connections: Annotated[int, Field(gt=0, le=512)] = 256
    connections_per_address: Some = 64
    """Does not count where `hosts` names a proxy, which has one address for all."""
    header_seconds: Annotated[float, Field(gt=0)] = 10.0
    """In which a request's head must be there, TLS included."""
    body_seconds: Annotated[float, Field(gt=0)] = 30.0
    viewer: Viewer = ""
    """Where a study is opened in another viewer, such as https://ohif/viewer?StudyInstanceUIDs={study}."""
    tls: Tls = Tls()


@dataclass(frozen=True, config=SETTINGS)
class Gateway:
    """The whole file."""

    node: Node = Node()
    store: Store = Store()
    work: Work = Work()
    seal: Seal = Seal()
    results: Results = Results()
    audit: Audit = Audit()
    web: Web = Web()
    destination: tuple[Destination, ...] = ()
    webhook: tuple[Webhook, ...] = ()
    pull: tuple[Pull, ...] = ()


def read_config(path: Path | None) -> Gateway:
    """The settings in `path`, or the defaults; `ArgumentError` names the file, the setting and what it may be."""
    if path is None:
        return _checked(Gateway(), "The default settings")
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ArgumentError(f"{shown(path)} cannot be read ({error.strerror}); name the gateway's TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{shown(path)} is no TOML ({error}); mend that line.") from None
    if "protect" in values:
        raise ArgumentError(f"{shown(path)}: [protect] wove evidence into whatever arrived, and is no more; name the "
                            "key in [seal], and in seal.from the modalities whose images are sealed.")
    try:
        gateway = TypeAdapter(Gateway).validate_python(values, context={"base": path.parent})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArgumentError(f"{shown(path)}: {where}: {first['msg']}; docs/gateway.md has every setting.") from None
    return _checked(gateway, shown(path))


def _checked(gateway: Gateway, file: str) -> Gateway:
    for complaint in (*_node(gateway), *_web(gateway), *_names(gateway), *_seals(gateway), *_files(gateway)):
        raise ArgumentError(f"{file}: {complaint}")
    return gateway


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
        "seal.trust": gateway.seal.trust, "web.users": gateway.web.users}
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

