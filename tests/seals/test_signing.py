"""Keys and certificates: one site's key from its secret, or from its own authority; anything else is one sentence."""

from __future__ import annotations

import base64
import subprocess

import pytest
from outside import need

from scanward.errors import ArgumentError, InputError
from scanward.seals.signing import (
    certificate_in,
    genuine,
    name_of,
    pem_of,
    read_certificate,
    read_signer,
    same_key,
    signer_of,
)


def test_a_site_signs_with_one_key_whatever_certificate_it_wrote():
    one, two, other = signer_of(bytes(32), "A"), signer_of(bytes(32), "B"), signer_of(b"x" * 32, "A")
    signature = one.sign(b"data")
    assert same_key(one.certificate, two.certificate) and not same_key(one.certificate, other.certificate)
    assert genuine(two.certificate, signature, b"data")
    assert not genuine(two.certificate, signature, b"date")
    assert not genuine(other.certificate, signature, b"data")
    assert name_of(certificate_in(pem_of(two.certificate), "x")) == "B"


@pytest.mark.parametrize("kind", [["ED25519"], ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
                                  ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]])
def test_a_key_of_the_sites_own_authority(tmp_path, kind):
    need("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "site.crt"
    subprocess.run(["openssl", "genpkey", "-algorithm", *kind, "-out", str(key)], check=True, capture_output=True)
    subprocess.run(["openssl", "req", "-x509", "-key", str(key), "-out", str(certificate), "-days", "9", "-subj",
                    "/CN=Radiology"], check=True, capture_output=True)
    signer = read_signer(key, certificate)
    assert genuine(read_certificate(certificate), signer.sign(b"data"), b"data")
    assert name_of(signer.certificate) == "Radiology"
    other = tmp_path / "other.crt"
    other.write_bytes(pem_of(signer_of(bytes(32)).certificate))
    with pytest.raises(ArgumentError, match="is not the certificate of"):
        read_signer(key, other)


@pytest.mark.parametrize("data", [b"", b"no", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_key_or_certificate_is_one_sentence(tmp_path, data):
    path = tmp_path / "x.pem"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"x\.pem holds no certificate"):
        read_certificate(path)
    with pytest.raises(InputError, match=r"x\.pem holds no private key"):
        read_signer(path, path)


def test_an_rsa_key_is_refused(tmp_path):
    need("openssl")
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", str(tmp_path / "k.pem")], check=True,
                   capture_output=True)
    with pytest.raises(InputError, match="neither an Ed25519 key nor an ECDSA key"):
        read_signer(tmp_path / "k.pem", tmp_path / "k.pem")


def test_folders_and_missing_files_are_one_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="name the certificate"):
            read_certificate(path)


def test_a_certificate_with_a_name_that_cannot_be_read_is_none():
    """A stranger's seal brings its own certificate."""
    der = pem_of(signer_of(bytes(32), "Hospital").certificate)
    body = base64.b64decode("".join(der.decode().splitlines()[1:-1]))
    for place in (n for n in range(len(body)) if body.startswith(b"Hospital", n)):
        body = body[:place] + b"\xff" + body[place + 1 :]
    with pytest.raises(InputError, match="x holds no certificate"):
        certificate_in(body, "x")


def test_any_text_names_a_site():
    assert name_of(signer_of(bytes(32), "St. \udcff\0 Hospital").certificate) == r"St. \udcff? Hospital"
