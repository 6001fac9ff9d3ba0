"""Whose seals count, and until when: the certificates that a verifier was given, and the dates on which keys were lost.

Who has a stolen key writes any date into a seal. So of a key that was compromised only those seals count that a log
held before, by a head that somebody else has kept since.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from scanward.arguments import PathLike, path_of
from scanward.brief import brief
from scanward.errors import UnreadableError
from scanward.formats.guard import shown
from scanward.seals.heads import Head, read_heads
from scanward.seals.signing import bytes_of, genuine, name_of, read_certificate, same_key

Moment = datetime.datetime
SIGNING = (ObjectIdentifier("1.3.6.1.5.5.7.3.36"), ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
"""Extended key usages of who signs documents (RFC 9336): an authority issues certificates to servers, too."""
UNDERSTOOD = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True)
class Anchor:
    """A certificate whose key's seals count, or the seals of those to whom it issued certificates."""

    certificate: x509.Certificate
    compromised: Moment | None = None
    """From when on somebody else may have had its key."""

    @property
    def said(self) -> list[str]:
        """What tells it from others, as JSON values."""
        return [self.certificate.fingerprint(hashes.SHA256()).hex(),
                "" if self.compromised is None else self.compromised.isoformat()]


@dataclass(frozen=True)
class Standing:
    """Whether a signer's seal counts, and why, in a sentence."""

    counts: bool
    reason: str
    known: bool = True
    """Whether the certificate is of those that were given."""


@dataclass(frozen=True)
class Trust:
    """Whose seals count; `read_trust` reads it."""

    anchors: tuple[Anchor, ...]
    heads: tuple[Head, ...] = ()
    """Heads of logs that were kept elsewhere."""

    __repr__ = brief

    def knows(self, certificate: x509.Certificate) -> bool:
        """Whether it is of a key that was given, or one that an authority issued which was given."""
        return any(self._same(certificate)) or any(_issued(certificate, anchor.certificate) for anchor in self.anchors)

    def vouches(self, head: Head) -> bool:
        """Whether somebody signed it who is known."""
        own = head.certificate
        return any(genuine(anchor.certificate, head.signature, head.data) for anchor in self.anchors) or (
            own is not None and self.knows(own) and genuine(own, head.signature, head.data))

    def standing(self, certificate: x509.Certificate, made: str,
                 logged: Callable[[Moment], bool] = lambda before: False) -> Standing:
        """Of a seal that says that it was made then. `logged` answers whether a head of before a moment that was kept
        elsewhere covers it."""
        name = name_of(certificate)
        if not self.knows(certificate):
            return Standing(False, f"Its seal is of {name!r}, whose certificate was not given; anybody can have made "
                                   "it.", known=False)
        when = moment(made)
        if when is None:
            return Standing(False, "Its seal does not say when it was made, and does not count.")
        own = self._same(certificate)
        lost = min((one.compromised for one in own if one.compromised), default=None)
        ways = [(one.certificate, lost) for one in own]
        ways += [(one.certificate, min((date for date in (lost, one.compromised) if date), default=None))
                 for one in self.anchors if _issued(certificate, one.certificate)]
        found = [_standing(name, when, (certificate, by), date, logged) for by, date in ways]
        return next((one for one in found if one.counts), found[0])

    def _same(self, certificate: x509.Certificate) -> list[Anchor]:
        return [anchor for anchor in self.anchors if same_key(certificate, anchor.certificate)]


def trust_in(given: Trust | Sequence[x509.Certificate]) -> Trust:
    """As functions take it: certificates alone count without dates."""
    return given if isinstance(given, Trust) else Trust(tuple(Anchor(one) for one in given))


def moment(text: str) -> Moment | None:
    """A date and time in ISO 8601, UTC where it says no zone; None for anything else."""
    try:
        found = datetime.datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None


def _standing(name: str, when: Moment, chain: tuple[x509.Certificate, ...], lost: Moment | None,
              logged: Callable[[Moment], bool]) -> Standing:
    """By one way from a seal to a certificate that was given: each on it was valid when it was sealed."""
    for one in chain:
        if not one.not_valid_before_utc <= when <= one.not_valid_after_utc:
            return Standing(False, f"Its seal says {when:%Y-%m-%d}, and the certificate of {name_of(one)!r} is valid "
                                   f"from {one.not_valid_before_utc:%Y-%m-%d} to {one.not_valid_after_utc:%Y-%m-%d} "
                                   "alone: it does not count.")
    if lost is not None and not logged(lost):
        return Standing(False, f"The key of {name!r} was compromised on {lost:%Y-%m-%d}, and no head of a log from "
                               "before that was kept elsewhere covers this seal: who has the key can write any date.")
    expired = min(one.not_valid_after_utc for one in chain)
    said = [f"The seal of {name!r} counts"]
    if lost is not None:
        said.append(f"the log held it before the key was compromised on {lost:%Y-%m-%d}")
    if expired < datetime.datetime.now(datetime.UTC):
        said.append(f"its certificate was valid when it was made, and expired on {expired:%Y-%m-%d}")
    return Standing(True, said[0] + (f": {', and '.join(said[1:])}." if said[1:] else "."))


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether an authority issued a certificate to somebody who signs documents (RFC 5280, section 6.1, for a path of
    one step; what is critical and not understood ends it)."""
    try:
        above, below = _extensions(authority), _extensions(certificate)
        if above is None or below is None:
            return False
        if not isinstance(certificate.signature_hash_algorithm, (*HASHES, type(None))):  # Ed25519 names none
            return False
        constraints, usage = above.get(x509.BasicConstraints), above.get(x509.KeyUsage)
        if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
            return False
        leaf, signs, purposes = (below.get(kind) for kind in UNDERSTOOD)
        if (leaf is not None and leaf.ca) or (signs and not (signs.digital_signature or signs.content_commitment)) or (
                purposes is not None and not set(SIGNING) & set(purposes)):
            return False
        certificate.verify_directly_issued_by(authority)
    except Exception:  # what the library raises on strange certificates is no single type
        return False
    return True


def _extensions(certificate: x509.Certificate) -> dict[type, Any] | None:
    """Those that are understood, by their kind; None where another is critical."""
    found = list(certificate.extensions)
    if any(one.critical and not isinstance(one.value, UNDERSTOOD) for one in found):
        return None
    return {type(one.value): one.value for one in found}


def trust_from(certificates: Sequence[Path], file: Path | None) -> Trust:
    """The owners of certificates and of the authorities among them, and what a trust file names. Raises `InputError`
    where one cannot be read."""
    given = Trust(()) if file is None else read_trust(file)
    return Trust((*(Anchor(read_certificate(path, authority=True)) for path in certificates), *given.anchors),
                 given.heads)


def read_trust(path: PathLike) -> Trust:
    """Whose seals count, by a trust file: `[[certificate]]` tables with a `file` and, where its key was lost, the date
    `compromised`; `heads` names files with heads of logs that were kept elsewhere. Files are named from where it lies.

    Raises `UnreadableError` where it says anything else, or a file that it names is none.
    """
    path = path_of(path, "path")
    try:
        values = tomllib.loads(bytes_of(path, "trust file").decode())
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{shown(path)} is no trust file in TOML ({error}); write one as docs/how-to/seal.md "
                              "shows.") from error
    tables, heads = values.pop("certificate", []), values.pop("heads", [])
    if values:
        raise _wrong(path, f"says {next(iter(values))!r}, which nothing reads")
    if not isinstance(tables, list) or not tables or not all(isinstance(one, dict) for one in tables):
        raise _wrong(path, "names no certificate")
    if not isinstance(heads, list) or not all(isinstance(one, str) for one in heads):
        raise _wrong(path, "has heads that are no list of files")
    anchors = tuple(_anchor(path, table) for table in tables)
    return Trust(anchors, tuple(head for name in heads for head in read_heads(path.parent / name)))


def _anchor(path: Path, table: dict[str, Any]) -> Anchor:
    name, lost = table.pop("file", None), table.pop("compromised", None)
    if table:
        raise _wrong(path, f"says {next(iter(table))!r} of a certificate, which nothing reads")
    if not isinstance(name, str) or not name:
        raise _wrong(path, "has a certificate without a file")
    # A date and time is a date, too; the first and last days of the calendar have no UTC.
    when = moment(lost.isoformat()) if isinstance(lost, datetime.date) else None
    if lost is not None and when is None:
        raise _wrong(path, f"says of {name!r} no date after compromised, such as 2026-05-01")
    return Anchor(read_certificate(path.parent / name, authority=True), when)


def _wrong(path: Path, what: str) -> UnreadableError:
    return UnreadableError(f"{shown(path)} {what}; write [[certificate]] with file, and compromised where its key was "
                           "lost, and heads.")
