"""Whose seals count, and when: renewed keys, expired and compromised ones, authorities; anything else is a sentence."""

from __future__ import annotations

import dataclasses
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from scanward.errors import ArgumentError, InputError
from scanward.formats import Source
from scanward.formats.content import read_content
from scanward.seals.check import check
from scanward.seals.files import seal_file, verify_seal
from scanward.seals.log import Log
from scanward.seals.record import seal_of
from scanward.seals.signing import Signer, pem_of, read_certificate, signer_of
from scanward.seals.trust import Anchor, Trust, read_trust

DOCUMENTS = ObjectIdentifier("1.3.6.1.5.5.7.3.36")


def day(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def certified(name, key, by=None, start="2025-01-01", end="2027-01-01", ca=False, extensions=()):
    """A certificate of `key`, self-signed or `by` (certificate, key)."""
    issuer, signing = (None, key) if by is None else by
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, name)]
    made = (x509.CertificateBuilder().subject_name(names[0]).issuer_name(issuer.subject if issuer else names[1])
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(day(start)).not_valid_after(day(end))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
    for extension, critical in extensions:
        made = made.add_extension(extension, critical)
    return made.sign(signing, hashes.SHA256())


@pytest.fixture(scope="module")
def authority():
    key = rsa.generate_private_key(65537, 2048)
    return certified("Authority", key, start="2020-01-01", end="2030-01-01", ca=True), key


@pytest.fixture
def content(film):
    return read_content(Source((film,), "file"))


def signer(**options) -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    return Signer(key, certified("Radiology", key, **options))


def sealed(content, by, made="2026-03-01T12:00:00+00:00"):
    return seal_of(content, "film.dcm", made, by)


def test_old_and_new_keys_count_and_strangers_do_not(content):
    old, new, stranger = (signer_of(bytes([n]) * 32) for n in range(3))
    known = [old.certificate, new.certificate]
    for one in (old, new):
        assert check(content, sealed(content, one), known).label == "authentic"
    answer = check(content, sealed(content, stranger), known)
    assert (answer.label, answer.trusted) == ("inconclusive", False)


@pytest.mark.parametrize(("made", "label"), [
    ("2024-12-31T23:59:59+00:00", "inconclusive"), ("2025-01-01T00:00:00+00:00", "authentic"),
    ("2026-12-31T23:59:59+00:00", "authentic"), ("2027-01-01T00:00:01+00:00", "inconclusive"),
    ("2027-01-01T01:00:00+02:00", "authentic"), ("some day", "inconclusive")])
def test_a_seal_counts_that_was_made_while_its_certificate_was_valid(content, made, label):
    one = signer()
    answer = check(content, sealed(content, one, made), [one.certificate])
    assert (answer.label, answer.trusted) == (label, True)
    if label == "inconclusive" and made[0] == "2":
        assert "'Radiology' is valid from 2025-01-01 to 2027-01-01 alone" in answer.reason


def test_a_key_without_a_valid_certificate_cannot_write_itself_another(content):
    one = signer(end="2025-06-01")
    renewed = Signer(one.key, certified("Radiology", one.key))
    assert check(content, sealed(content, renewed), [one.certificate]).label == "inconclusive"
    assert check(content, sealed(content, renewed), [one.certificate, renewed.certificate]).label == "authentic"


def test_a_certificate_that_expired_since_counts_and_that_is_said(content):
    one = signer(end="2026-04-01")
    answer = check(content, sealed(content, one), [one.certificate])
    assert answer.label == "authentic"
    assert "was valid when it was made, and expired on 2026-04-01" in answer.trust.reason


def test_nobody_seals_with_a_certificate_that_is_not_valid(film):
    with pytest.raises(ArgumentError, match=r"valid from 2025-01-01 to 2025-06-01, and what it seals now"):
        seal_file(Source((film,), "file"), signer(end="2025-06-01"))


def test_what_a_site_sealed_before_it_wrote_its_certificate_counts(content):
    seal = sealed(content, signer_of(bytes(32)), "2021-01-01T00:00:00+00:00")
    own = Signer(signer_of(bytes(32)).key, signer_of(bytes(32)).certificate)
    assert check(content, seal, [own.certificate]).label == "authentic"


def usage(**given):
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


STRANGE = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0")


@pytest.mark.parametrize(("options", "label"), [
    ({}, "authentic"),
    ({"extensions": [(usage(digital_signature=True), True)]}, "authentic"),
    ({"extensions": [(x509.ExtendedKeyUsage([DOCUMENTS]), False)]}, "authentic"),
    ({"extensions": [(STRANGE, False)]}, "authentic"),
    ({"extensions": [(STRANGE, True)]}, "inconclusive"),
    ({"extensions": [(usage(key_encipherment=True), True)]}, "inconclusive"),
    ({"extensions": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)]}, "authentic"),
    ({"extensions": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)]}, "inconclusive"),
    ({"ca": True}, "inconclusive"),
    ({"end": "2026-02-01"}, "inconclusive"),
])
def test_whom_an_authority_certified_counts_for_documents_in_time(content, authority, options, label):
    assert check(content, sealed(content, signer(by=authority, **options)), [authority[0]]).label == label


def test_no_other_than_an_authority_certifies(content, authority):
    one = signer()
    leaf = signer(by=(one.certificate, one.key))
    assert check(content, sealed(content, leaf), [one.certificate]).label == "inconclusive"
    key = rsa.generate_private_key(65537, 2048)
    namesake = certified("Authority", key, ca=True), key
    assert check(content, sealed(content, signer(by=namesake)), [authority[0]]).label == "inconclusive"
    expired = certified("Authority", authority[1], end="2026-01-01", ca=True)
    assert check(content, sealed(content, signer(by=authority)), [expired]).label == "inconclusive"


def test_a_compromised_key_counts_for_what_a_kept_head_of_before_covers(film, tmp_path):
    """Who stole the key can write any date into a seal, and into a head of the log, too, but not into what others
    have kept."""
    site, source, log = signer_of(bytes(32)), Source((film,), "file"), Log(tmp_path / "log")
    content = read_content(source)
    old = sealed(content, site)
    log.add(old)
    head = log.head(site, "2026-04-01T00:00:00+00:00")
    forged = seal_of(dataclasses.replace(content, values=content.values ^ 1), "film.dcm", old.made, site)
    log.add(forged)
    backdated = log.head(site, "2026-04-02T00:00:00+00:00")
    lost = Anchor(site.certificate, day("2026-05-01"))
    answers = {name: verify_seal(source, old, Trust((lost,), heads), log=log if held else None).trust
               for name, heads, held in (("nothing", (), True), ("kept", (head,), True), ("no log", (head,), False))}
    assert {name: part.label for name, part in answers.items()} == {
        "nothing": "inconclusive", "kept": "authentic", "no log": "inconclusive"}
    assert "compromised on 2026-05-01, and no head" in answers["nothing"].reason
    assert "the log held it before" in answers["kept"].reason
    assert backdated.size == 2
    assert verify_seal(source, forged, Trust((lost,), (head,)), log=log).trust.label == "inconclusive"
    late = dataclasses.replace(lost, compromised=day("2026-03-31"))
    assert verify_seal(source, old, Trust((late,), (head,)), log=log).trust.label == "inconclusive"
    # A certificate of the same key that says nothing of it changes nothing.
    assert verify_seal(source, old, Trust((Anchor(site.certificate), lost)), log=log).trust.label == "inconclusive"


def test_a_backdated_head_that_was_kept_after_honest_ones_covers_nothing(film, tmp_path):
    site, source, log = signer_of(bytes(32)), Source((film,), "file"), Log(tmp_path / "log")
    content = read_content(source)
    for n in range(2):
        log.add(seal_of(dataclasses.replace(content, study={"SOPInstanceUID": f"9.{n}"}), "x", "2026-01-01", site))
    honest = log.head(site, "2026-06-01")
    forged = sealed(content, site)
    log.add(forged)
    backdated = log.head(site, "2026-04-30")
    lost = (Anchor(site.certificate, day("2026-05-01")),)
    assert verify_seal(source, forged, Trust(lost, (backdated,)), log=log).trust.label == "authentic"
    assert verify_seal(source, forged, Trust(lost, (honest, backdated)), log=log).trust.label == "inconclusive"


def test_a_compromised_authority_takes_those_along_whom_it_certified(content, authority):
    one = signer(by=authority)
    lost = Anchor(authority[0], day("2026-05-01"))
    assert check(content, sealed(content, one), Trust((lost,))).label == "inconclusive"
    assert check(content, sealed(content, one), Trust((lost, Anchor(one.certificate)))).label == "authentic"


def test_heads_are_vouched_for_by_whom_an_authority_certified(content, authority, tmp_path):
    log, one = Log(tmp_path / "log"), signer(by=authority)
    log.add(sealed(content, one))
    head = log.head(one, "2026-03-02")
    assert log.check([head], [authority[0]]) == []
    other = signer()
    log.head(other, "2026-03-03")
    assert ["not signed by the site" in said for said in log.check([], [authority[0]])] == [True]


@pytest.fixture
def files(tmp_path):
    for name, n in (("old.crt", 0), ("new.crt", 1)):
        (tmp_path / name).write_bytes(pem_of(signer_of(bytes([n]) * 32, name).certificate))
    return tmp_path


def test_a_trust_file_names_certificates_and_since_when_a_key_is_lost(files, content):
    path = files / "trust.toml"
    path.write_text('[[certificate]]\nfile = "old.crt"\ncompromised = 2026-05-01\n[[certificate]]\nfile = "new.crt"\n')
    trust = read_trust(path)
    assert [anchor.compromised for anchor in trust.anchors] == [day("2026-05-01"), None]
    assert check(content, sealed(content, signer_of(bytes([1]) * 32)), trust).label == "authentic"
    assert check(content, sealed(content, signer_of(bytes(32))), trust).label == "inconclusive"
    path.write_text('[[certificate]]\nfile = "old.crt"\ncompromised = 2026-05-01T12:00:00+02:00\n')
    assert read_trust(path).anchors[0].compromised == day("2026-05-01T10:00:00")


@pytest.mark.parametrize(("text", "words"), [
    ("", "names no certificate"), ("x = 1", "says 'x', which nothing reads"), ("[[certificate", "is no trust file"),
    ("\0", "is no trust file"), ("certificate = 5", "names no certificate"),
    ("[[certificate]]\n", "a certificate without a file"),
    ('[[certificate]]\nfile = "no.crt"', "no.crt cannot be read"),
    ('[[certificate]]\nfile = "trust.toml"', "trust.toml holds no certificate"),
    ('[[certificate]]\nfile = "old.crt"\ncompromised = "yes"', "no date after compromised"),
    ('[[certificate]]\nfile = "old.crt"\ncompromised = 0001-01-01T00:00:00+02:00', "no date after compromised"),
    ('[[certificate]]\nfile = "old.crt"\nuntil = 2026-05-01', "'until' of a certificate"),
    ('[[certificate]]\nfile = "a\\u0000b"', "a?b cannot be read"),
    ('heads = ["a\\u0000b"]\n[[certificate]]\nfile = "old.crt"', "a?b cannot be read"),
    ('heads = "a"\n[[certificate]]\nfile = "old.crt"', "no list of files"),
    ('heads = ["old.crt"]\n[[certificate]]\nfile = "old.crt"', "old.crt holds no heads"),
    ('heads = ["."]\n[[certificate]]\nfile = "old.crt"', "is no regular file; name the file of heads"),
    ('heads = ["no.json"]\n[[certificate]]\nfile = "old.crt"', "no.json cannot be read"),
])
def test_what_is_no_trust_file_is_one_sentence(files, text, words):
    (files / "trust.toml").write_text(text)
    with pytest.raises(InputError) as raised:
        read_trust(files / "trust.toml")
    said = str(raised.value)
    assert words in said and said.endswith(".") and "\n" not in said


def test_a_file_of_several_certificates_is_not_one_of_them(files):
    (files / "chain.pem").write_bytes((files / "old.crt").read_bytes() + (files / "new.crt").read_bytes())
    with pytest.raises(InputError, match="several certificates"):
        read_certificate(files / "chain.pem")


def test_commands_take_old_and_new_keys_and_a_trust_file(run, bright, film, files):
    for name in ("a.key", "b.key"):
        assert run("key", files / name)[0] == 0
        assert run("certificate", "--key", files / name, "-o", files / f"{name}.crt")[0] == 0
    log = files / "log"
    assert run("seal", film, "--key", files / "a.key", "--log", log)[0] == 0
    both = ("--certificate", files / "b.key.crt", "--certificate", files / "a.key.crt")
    assert run("verify", film, "--key", files / "b.key")[0] == 3
    assert run("verify", film, *both)[0] == 0
    (files / "kept.json").write_text(run("log", "head", log, "--key", files / "a.key")[1])
    (files / "trust.toml").write_text('[[certificate]]\nfile = "a.key.crt"\ncompromised = 2099-01-01\n')
    ask = ("--trust", files / "trust.toml", "--log", log)
    code, out, _ = run("verify", film, *ask)
    assert (code, "compromised on 2099-01-01" in out) == (3, True)
    assert run("verify", film, *ask, "--head", files / "kept.json")[0] == 0
    (files / "trust.toml").write_text('heads = ["kept.json"]\n' + (files / "trust.toml").read_text())
    assert run("verify", film, *ask)[0] == 0
    assert run("log", "check", log, "--trust", files / "trust.toml")[0] == 0
    for options, heard in ((both, True), (("--key", files / "b.key"), False), (ask[:2], True)):
        assert ("'Scanward site'" in run("scan", film, "--json", *options)[1]) == heard
    (files / "linked.jsonl").hardlink_to(log / "heads.jsonl")
    for own in (log / "heads.jsonl", files / "linked.jsonl"):
        inner = files / "inner.toml"
        inner.write_text((files / "trust.toml").read_text().replace("kept.json", str(own)))
        for command in (("verify", film, *ask, "--head", own), ("verify", film, "--trust", inner, "--log", log),
                        ("log", "check", log, *ask[:2], "--head", own), ("log", "check", log, "--trust", inner)):
            code, _, err = run(*command)
            assert (code, "lies in the log" in err) == (2, True), command
    code, _, err = run("verify", film, *both, "--head", files / "kept.json")
    assert (code, "--head says what a log was" in err) == (2, True)


def test_a_head_keeps_its_certificate(content, tmp_path):
    site, log = signer_of(bytes(32)), Log(tmp_path / "log")
    log.head(site, "2026-03-02")
    (kept,) = log.heads()
    assert kept.certificate is not None
    assert kept.certificate.public_bytes(serialization.Encoding.DER) == site.certificate.public_bytes(
        serialization.Encoding.DER)
