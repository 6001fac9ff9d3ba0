"""What settings are made of: paths that start at their file, ports, certificates."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo
from pydantic.dataclasses import dataclass

SETTINGS = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)


def _beside(path: Path, info: ValidationInfo) -> Path:
    try:
        if "\0" in str(path):
            raise ValueError("no file has a name with NUL in it")
        return (info.context or {}).get("base", Path()) / path.expanduser()  # type: ignore[no-any-return]
    except RuntimeError:
        raise ValueError(f"there is no user {path.parts[0]}") from None


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is no address and no network such as 10.1.0.0/16") from None
    return text


Near = Annotated[Path, AfterValidator(_beside)]
"""A path that starts at the folder of the file where it is relative."""
Network = Annotated[str, AfterValidator(_network)]
"""An IP address, or a network."""
VIEWER_NAMES = ("study", "accession", "patient")
"""What may stand in braces in the address of another viewer."""


def _viewer(template: str) -> str:
    """Names stand below a host that the settings name: no header may choose whom a browser asks."""
    if template and not re.fullmatch(r"(https?://[^/?#@\s{}\\]+)?/(?![/\\])[^\s\\]*", template):
        raise ValueError("it is no web address; one begins with https://, http:// or one /, and has a path")
    names = re.findall(r"{(.*?)}", template)
    if any(name not in VIEWER_NAMES for name in names) or re.search("[{}]", re.sub(r"{.*?}", "", template)):
        raise ValueError(f"there is nothing else to fill in than {{{'}, {'.join(VIEWER_NAMES)}}}")
    return template


Viewer = Annotated[str, AfterValidator(_viewer)]
"""The address of a study in another viewer, with names in braces; empty for none."""
Port = Annotated[int, Field(ge=0, le=65535)]
MOST = 1_000_000
"""Of what is counted, and of seconds and days: systems wait 24 days at a time, and calendars end."""
Some = Annotated[int, Field(gt=0, le=MOST)]
Seconds = Annotated[float, Field(ge=0, le=MOST)]
Span = Annotated[float, Field(gt=0, le=MOST)]


@dataclass(frozen=True, config=SETTINGS)
class Tls:
    """Certificates in PEM."""

    cert: Near | None = None
    """Ours; a node with one speaks TLS only."""
    key: Near | None = None
    ca: Near | None = None
    """Whom we believe. For a node that listens: only peers with a certificate of this authority are heard."""

    @property
    def on(self) -> bool:
        return self.cert is not None or self.ca is not None


def loopback(host: str) -> bool:
    """True for addresses that only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
