"""TLS contexts from the settings: for connections that we open, and for those that we accept."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from scanward.errors import ArgumentError
from scanward.formats.guard import shown

if TYPE_CHECKING:
    from scanward.setting_types import Tls


def client_context(tls: Tls) -> ssl.SSLContext | None:
    """For connecting: TLS 1.2 or newer, the server's certificate and host name checked; None where TLS is off.

    Without `tls.ca` the system's authorities are believed. `ArgumentError` for files that are no such PEM.
    """
    if not tls.on:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(tls.ca) if tls.ca else None)
    except (OSError, ValueError) as error:
        raise _unusable(tls, error) from None
    return _with_ours(context, tls)


def server_context(tls: Tls) -> ssl.SSLContext | None:
    """For listening: TLS 1.2 or newer, and with `tls.ca` only clients with a certificate of that authority; None where
    there is no certificate of ours. `ArgumentError` for files that are no such PEM."""
    if tls.cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls.ca is not None:
        try:
            context.load_verify_locations(str(tls.ca))
        except (OSError, ValueError) as error:
            raise _unusable(tls, error) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return _with_ours(context, tls)


def web_context(tls: Tls) -> ssl.SSLContext:
    """For `https://`, where TLS is never off: as `client_context`, or with the system's authorities alone."""
    return client_context(tls) or ssl.create_default_context()


def _with_ours(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert is not None:
        try:
            # A key with a passphrase would make OpenSSL ask at the terminal, where nobody sits.
            context.load_cert_chain(str(tls.cert), str(tls.key) if tls.key else None, password=lambda: "")
        except (OSError, ValueError) as error:
            raise _unusable(tls, error) from None
    return context


def _unusable(tls: Tls, error: Exception) -> ArgumentError:
    files = ", ".join(shown(path) for path in (tls.cert, tls.key, tls.ca) if path is not None)
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
    return ArgumentError(f"A certificate or key cannot be used ({files}: {reason}); give PEM files that belong "
                         "together, the key without a passphrase.")
