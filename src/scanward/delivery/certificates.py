"""Until when the certificates hold that the gateway shows to others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scanward.errors import ArgumentError
from scanward.formats.guard import clean, shown

if TYPE_CHECKING:
    from scanward.setting_types import Tls
    from scanward.settings import Gateway

DAY = 86400.0
LISTENING = ("node", "web")
"""Whose certificates are read at the start, and shown until the end."""


def settings_of(gateway: Gateway) -> dict[str, Tls]:
    """Every table of certificates in the settings that is in use, by what machines call it."""
    tables = {"node": gateway.node.tls, "audit": gateway.audit.tls}
    if gateway.web.on:
        tables["web"] = gateway.web.tls
        if gateway.web.openid is not None:
            tables["openid"] = gateway.web.openid.tls
    tables |= {f"destination-{one.name}": one.tls for one in gateway.destination}
    return tables | {f"pull-{one.name}": one.tls for one in gateway.pull}


def expiry(path: Path) -> float:
    """When the first of the certificates in a PEM file ends, in seconds since 1970. `ArgumentError` where it holds
    none, or cannot be read."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{shown(path)} is no certificate that can be read ({clean(error)}); give a PEM "
                            "file.") from None
    return min(one.not_valid_after_utc.timestamp() for one in found)


class Certificates:
    """Those of ours that the settings name."""

    def __init__(self, gateway: Gateway) -> None:
        """Raises `ArgumentError` where one of a listening port cannot be read."""
        ours = {name: tls.cert for name, tls in settings_of(gateway).items() if tls.cert is not None}
        # A new file is of use to a port that listens after the next start only.
        self._held = {name: expiry(path) for name, path in ours.items() if name in LISTENING}
        self._files = {name: path for name, path in ours.items() if name not in LISTENING}

    def ends(self) -> dict[str, float]:
        """When each ends, in seconds since 1970; what cannot be read any more ended at 0."""
        found = dict(self._held)
        for name, path in self._files.items():
            try:
                found[name] = expiry(path)
            except ArgumentError:
                found[name] = 0.0
        return found
