"""A second factor: time-based one-time passwords (RFC 6238), and recovery codes for whoever lost the device."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from types import ModuleType

from scanward.errors import MissingExtraError
from scanward.review.access import Access

STEP = 30
"""Seconds for which a code is shown."""
AROUND = (0, -1, 1)
"""Steps beside the present one whose codes count, for clocks that differ."""
KEPT = 86_400.0
"""Seconds for which a used code is remembered, whatever a clock does."""
CODES = 10
"""Recovery codes, of 80 bits each."""
SECRET = re.compile(r"[A-Z2-7]{32}")
DIGITS = re.compile(r"\d{6}", re.ASCII)


def new_secret() -> str:
    """160 random bits, base32."""
    return str(_pyotp().random_base32(32))


def address(secret: str, name: str) -> str:
    """The secret as an `otpauth` address, which authenticator apps take."""
    return str(_pyotp().TOTP(secret, interval=STEP).provisioning_uri(name=name, issuer_name="Scanward"))


def accepted(access: Access, name: str, secret: str, code: str) -> bool:
    """Whether `code` is the one of now, and is used for the first time."""
    given, shown, now = "".join(code.split()), _pyotp().TOTP(secret, interval=STEP), int(time.time())
    if not DIGITS.fullmatch(given):
        return False
    which = hashlib.sha256(secret.encode()).hexdigest()
    for offset in AROUND:
        if hmac.compare_digest(shown.at(now + offset * STEP).encode(), given.encode()):
            return access.spend(KEPT, "code", name, which, str(now // STEP + offset))
    return False


def recovery_codes() -> tuple[str, ...]:
    """Fresh codes, each to be used once: four groups of four letters and digits."""
    texts = (base64.b32encode(secrets.token_bytes(10)).decode() for _ in range(CODES))
    return tuple("-".join(text[i:i + 4] for i in range(0, len(text), 4)) for text in texts)


def _pyotp() -> ModuleType:
    try:
        import pyotp
    except ModuleNotFoundError:
        raise MissingExtraError("A second factor needs pyotp, which is not installed; install "
                                "`scanward[login]`.") from None
    return pyotp  # type: ignore[no-any-return]
