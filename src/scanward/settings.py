"""What `gateway.toml` may say: every setting with its default.

docs/gateway.md has the whole file with comments.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from scanward.roles import Role
from scanward.setting_types import SETTINGS, Near, Network, Port, Seconds, Some, Span, Tls, Viewer
from scanward.verdict import StudyLabel


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
    request_seconds: Span = 10.0
    """In which who calls must have asked for an association."""
    idle_seconds: Span = 60.0
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
    longest_seconds: Span = 600.0
    """It is scanned so long after its first object though more come, and again with those that come later."""
    keep_days: Seconds = 30.0
    """How long finished studies stay; 0 keeps them for good."""
    free_mb: Annotated[int, Field(ge=0)] = 512
    """C-STORE answers out-of-resources while less is free."""


@dataclass(frozen=True, config=SETTINGS)
class Work:
    """Scanning."""

    workers: Annotated[int, Field(gt=0, le=512)] | None = None
    """Processes, each of which holds the networks. None named: one for every two cores, eight at most."""
    method: str = "default"
    site: Near | None = None
    """Thresholds of this site, from `scanward calibrate`."""
    attempts: Some = 3
    """How often a study is tried whose scan broke down."""
    study_seconds: Span = 1800.0
    """How long the scan of a study of 100 MB may take; of a larger one, longer in proportion. Then it is set aside."""
    stop_seconds: Seconds = 5.0
    """How long the gateway waits at its end for what is being scanned; what is not done by then is done after the
    next start."""
    verify_key: Near | None = None
    """Verifies images that an earlier version wove evidence into with this key, and reads its watermark."""
    marked: bool = False
    """Every chest CT is to carry the watermark of `verify_key`: one that shows none is inconclusive."""
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
    commitment: bool = False
    commitment_seconds: Annotated[float, Field(gt=0, le=86400)] = 3600.0
    """Asked by storage commitment (PS3.4 J) whether it keeps what it took, and again where no answer came so long."""


@dataclass(frozen=True, config=SETTINGS)
class Webhook:
    """A web address that is told of finished studies and of troubles, without patient data."""

    url: str
    secret_file: Near | None = None
    """Signs each message (HMAC-SHA256, header X-Scanward-Signature)."""
    labels: tuple[StudyLabel, ...] = ()
    """Only studies with these; none named: all."""
    events: Annotated[tuple[Literal["study", "trouble"], ...], Field(min_length=1)] = ("study", "trouble")
    """What it is told of."""


@dataclass(frozen=True, config=SETTINGS)
class Pull:
    """A server that is followed: Orthanc by `/changes`, any DICOMweb server by QIDO and WADO."""

    name: str
    url: str
    kind: Literal["orthanc", "dicomweb"] = "orthanc"
    user: str = ""
    password_file: Near | None = None
    every_seconds: Span = 10.0
    modalities: tuple[str, ...] = ("MG", "CT")
    days: Annotated[int, Field(gt=0, le=36500)] = 2
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
    header_seconds: Span = 10.0
    """In which a request's head must be there, TLS included."""
    body_seconds: Span = 30.0
    answer_seconds: Span = 30.0
    """In which who is sent a long answer must take on 48 KB of it, and of the next, and so on."""
    viewer: Viewer = ""
    """Where a study is opened in another viewer, such as https://ohif/viewer?StudyInstanceUIDs={study}."""
    tls: Tls = Tls()


@dataclass(frozen=True, config=SETTINGS)
class Monitoring:
    """Who watches the gateway, and when it complains."""

    token_file: Near | None = None
    """Holds a secret that opens `/metrics`: `Authorization: Bearer SECRET`."""
    allow: tuple[Network, ...] = ()
    """Addresses that may ask for `/metrics`. With a token, both are needed; without either it is closed."""
    certificate_days: Seconds = 21.0
    """How long before its end a certificate is a trouble, in days."""


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
    monitoring: Monitoring = Monitoring()
    destination: tuple[Destination, ...] = ()
    webhook: tuple[Webhook, ...] = ()
    pull: tuple[Pull, ...] = ()
