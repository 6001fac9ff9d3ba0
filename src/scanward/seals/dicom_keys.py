"""Keys of DICOM's own digital signatures (PS3.15, annex C): RSA, and ECDSA as DCMTK has it.

They are apart from the keys of seals: RSA makes and checks nothing else, and Ed25519 is unknown to DICOM.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from scanward.errors import ArgumentError, UnreadableError
from scanward.formats.guard import shown
from scanward.seals.signing import CURVES, bytes_of, name_of

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Chunks = Iterable[bytes | memoryview]
LEAST, LARGEST = 2048, 16384
"""Bits of an RSA key."""
ALGORITHMS: dict[str, hashes.HashAlgorithm] = {
    "SHA256": hashes.SHA256(), "SHA384": hashes.SHA384(), "SHA512": hashes.SHA512(), "SHA1": hashes.SHA1(),  # noqa: S303
    "MD5": hashes.MD5()}  # noqa: S303
"""By DICOM's names. RIPEMD160 is not here: neither the library nor every OpenSSL has it any more."""
WEAK = ("RIPEMD160", "MD5", "SHA1")


@dataclass(frozen=True)
class DicomSigner:
    """Who signs DICOM files."""

    key: Key
    certificate: x509.Certificate

    @property
    def algorithm(self) -> str:
        """Of the MAC, by DICOM's name."""
        return "SHA384" if isinstance(self.key, ec.EllipticCurvePrivateKey) and self.key.curve.name == "secp384r1" \
            else "SHA256"

    def sign(self, chunks: Chunks) -> bytes:
        """A signature of an even number of bytes, as DICOM's values have."""
        digest = _digest(self.algorithm, chunks)
        kind = utils.Prehashed(ALGORITHMS[self.algorithm])
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(digest, padding.PKCS1v15(), kind)
        while True:  # of two numbers drawn anew, in DER, whose length differs
            made = self.key.sign(digest, ec.ECDSA(kind))
            if len(made) % 2 == 0:
                return made


def read_dicom_signer(key: Path, certificate: Path) -> DicomSigner:
    """A signer of DICOM files from PEM files. Raises `UnreadableError`, and `ArgumentError` where the two do not belong
    together."""
    try:
        found = serialization.load_pem_private_key(bytes_of(key, "private key"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnreadableError(f"{shown(key)} holds no private key in PEM without a passphrase; write one with openssl "
                              "genpkey.") from error
    if not isinstance(found, Key) or unusable(found.public_key()):
        raise UnreadableError(f"{shown(key)} is neither an RSA key of {LEAST} to {LARGEST} bits nor an ECDSA key on "
                              "P-256 or P-384, which DICOM files are signed with; make one of these.")
    known = read_dicom_certificate(certificate)
    if _raw(known) != found.public_key().public_bytes(*_FORM):
        raise ArgumentError(f"{shown(certificate)} is not the certificate of {shown(key)}; name the one that is.")
    return DicomSigner(found, known)


def read_dicom_certificate(path: Path) -> x509.Certificate:
    """An X.509 certificate in PEM or DER, of whatever key; `UnreadableError` where it is none."""
    found = certificate_of(bytes_of(path, "certificate"))
    if found is None:
        raise UnreadableError(f"{shown(path)} holds no certificate; name the one that belongs to the signing key.")
    return found


def certificate_of(data: bytes) -> x509.Certificate | None:
    """The certificate in some bytes, PEM or DER, to which a byte may be added; None where there is none."""
    try:
        found = x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else \
            x509.load_der_x509_certificate(_trimmed(data))
        # Parsed when they are asked for, which a hostile one must not be told by.
        _ = _raw(found), name_of(found), found.not_valid_before_utc, found.not_valid_after_utc
        return found
    except Exception:  # what the library raises on damaged certificates is no single type
        return None


def unusable(key: object) -> str:
    """Why a public key does not count, as the end of a sentence; empty where it does."""
    if isinstance(key, rsa.RSAPublicKey):
        return "" if LEAST <= key.key_size <= LARGEST else f"has an RSA key of {key.key_size} bits"
    known = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES
    return "" if known else "has a key that is neither RSA nor ECDSA on P-256 or P-384"


def holds(certificate: x509.Certificate, algorithm: str, signature: bytes, chunks: Chunks) -> bool | None:
    """Whether the certificate's key signed what is hashed; None where this machine refuses an algorithm."""
    key, kind = certificate.public_key(), utils.Prehashed(ALGORITHMS[algorithm])
    digest = _digest(algorithm, chunks)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, padding.PKCS1v15(), kind)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(_trimmed(signature), digest, ec.ECDSA(kind))
        else:
            return False
    except InvalidSignature:
        return False
    except UnsupportedAlgorithm:
        return None
    return True


_FORM = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo


def _raw(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(*_FORM)


def _digest(algorithm: str, chunks: Chunks) -> bytes:
    engine = hashlib.new(algorithm, usedforsecurity=False)
    for chunk in chunks:
        engine.update(chunk)
    return engine.digest()


def _trimmed(data: bytes) -> bytes:
    """Without the byte that makes a length even: DER says its own length."""
    if data[:1] != b"\x30" or len(data) < 4:
        return data
    size = data[1] & 0x7F if data[1] & 0x80 else 0
    length = int.from_bytes(data[2:2 + size], "big") if size else data[1]
    return data[:-1] if 2 + size + length == len(data) - 1 else data
