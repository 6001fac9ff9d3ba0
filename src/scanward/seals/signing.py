"""Who sealed: a signature that anybody can check with the site's certificate, and only the site can make.

Ed25519 (RFC 8032) under a key derived from the site's secret (HKDF, RFC 5869), with a self-signed X.509 certificate; or
a key and certificate of the site's own authority, Ed25519 or ECDSA with P-256 or P-384 (FIPS 186-5). All primitives are
those of the `cryptography` library.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import shown

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
YEARS = 10
"""That a certificate of ours is valid."""
ALWAYS = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
"""From when it is valid on: nobody knows since when a secret is there, and what it sealed before its certificate was
written counts."""
LARGEST = 1 << 20
"""Bytes of a key's or certificate's file."""
CURVES = {"secp256r1": hashes.SHA256, "secp384r1": hashes.SHA384}


@dataclass(frozen=True)
class Signer:
    """A site that seals."""

    key: PrivateKey
    certificate: x509.Certificate

    def sign(self, data: bytes) -> bytes:
        """A signature of `data`."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        return self.key.sign(data, ec.ECDSA(CURVES[self.key.curve.name]()))


def derived(master: bytes, purpose: bytes) -> bytes:
    """32 secret bytes for one purpose, from a site's own (HKDF, RFC 5869)."""
    return HKDF(hashes.SHA256(), 32, salt=None, info=purpose).derive(master)


def signer_of(master: bytes, site: str = "Scanward site") -> Signer:
    """The signer that a site's 32 secret bytes are enough to make: the same key each time, its certificate from now."""
    seed = derived(master, b"scanward seal 1 signature")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, shown(site)[:64] or "Scanward site")])
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    builder = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(ALWAYS)
               .not_valid_after(now + datetime.timedelta(days=366 * YEARS))
               .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True))
    return Signer(key, builder.sign(key, None))


def read_signer(key: Path, certificate: Path) -> Signer:
    """A signer of the site's own authority, from PEM files. Raises `UnreadableError`, and `ArgumentError` where the two
    do not belong together."""
    data = bytes_of(key, "private key")
    try:
        found = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise UnreadableError(f"{shown(key)} holds no private key in PEM without a passphrase; write one with openssl "
                              "genpkey.") from error
    if not isinstance(found, PrivateKey) or not _usable(found.public_key()):
        raise UnreadableError(f"{shown(key)} is neither an Ed25519 key nor an ECDSA key on P-256 or P-384; make one of "
                              "these.")
    known = read_certificate(certificate)
    if _raw(known.public_key()) != _raw(found.public_key()):
        raise ArgumentError(f"{shown(certificate)} is not the certificate of {shown(key)}; name the one that is.")
    return Signer(found, known)


def read_certificate(path: Path, *, authority: bool = False) -> x509.Certificate:
    """An X.509 certificate in PEM or DER; `UnreadableError` where it is none, or several are, or it is of another kind
    of key: an `authority` may have any, and one of RSA checks DICOM signatures, which no seal has."""
    data = bytes_of(path, "certificate")
    return certificate_in(data, shown(path), authority=authority)


def certificate_in(data: bytes, where: str, *, authority: bool = False) -> x509.Certificate:
    """As `read_certificate`, of the certificate's own bytes."""
    if data.count(b"-----BEGIN CERTIFICATE") > 1:
        raise UnreadableError(f"{where} holds several certificates; write each into a file of its own.")
    try:
        found = x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)
        usable = _usable(found.public_key()) or (authority and (
            is_authority(found) or isinstance(found.public_key(), rsa.RSAPublicKey)))
        # Each is decoded when it is asked for.
        _ = name_of(found), found.not_valid_before_utc, found.not_valid_after_utc
    except Exception as error:  # what the library raises on damaged certificates is no single type
        raise UnreadableError(f"{where} holds no certificate; name the one that `scanward certificate` "
                              "wrote.") from error
    if not usable:
        raise UnreadableError(f"{where} is a certificate of neither an Ed25519 key nor an ECDSA key on P-256 or P-384; "
                              "name the one that sealed.")
    return found


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it says that it issues others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def pem_of(certificate: x509.Certificate) -> bytes:
    """The certificate as a PEM file."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def der_of(certificate: x509.Certificate) -> bytes:
    """The certificate's DER bytes."""
    return certificate.public_bytes(serialization.Encoding.DER)


def same_key(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether two certificates are of one key: a certificate may be renewed."""
    return _raw(one.public_key()) == _raw(other.public_key())


def genuine(certificate: x509.Certificate, signature: bytes, data: bytes) -> bool:
    """Whether the certificate's key signed `data`."""
    key = certificate.public_key()
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES:
            key.verify(signature, data, ec.ECDSA(CURVES[key.curve.name]()))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def name_of(certificate: x509.Certificate) -> str:
    """Whose it is, for people."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else certificate.subject.rfc4514_string()


def _usable(key: object) -> bool:
    return isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES)


def _raw(key: object) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]


def bytes_of(path: Path, what: str, largest: int = LARGEST) -> bytes:
    """What a small file holds; `UnreadableError` where it is none or larger."""
    try:
        if path.exists() and not path.is_file():
            raise UnreadableError(f"{shown(path)} is no regular file; name the {what}.")
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except (OSError, ValueError) as error:  # a trust file names others, and may write NUL
        why = error.strerror if isinstance(error, OSError) else "no file has such a name"
        raise UnreadableError(f"{shown(path)} cannot be read ({why}); name the {what}.") from error
    if len(data) > largest:
        raise UnreadableError(f"{shown(path)} is too large for a {what}; name the right file.")
    return data
