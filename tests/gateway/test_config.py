"""`gateway.toml`: what it may say, and the one sentence for what it may not."""

import pytest

from scanward.errors import ArgumentError
from scanward.setting_file import read_config


@pytest.fixture
def settings(tmp_path):
    def _read(text):
        path = tmp_path / "gate way.toml"
        path.write_text(text)
        return read_config(path)

    return _read


def test_without_a_file_it_listens_to_this_machine_only():
    gateway = read_config(None)
    assert (gateway.node.host, gateway.web.host) == ("127.0.0.1", "127.0.0.1")
    assert gateway.node.check_called


def test_paths_start_at_the_file(settings, tmp_path):
    (tmp_path / "accounts.json").write_text("{}")
    gateway = settings('[store]\nfolder = "inbox"\n[web]\nusers = "accounts.json"\n')
    assert gateway.store.folder == tmp_path / "inbox"
    assert gateway.web.users == tmp_path / "accounts.json"


def test_several_destinations_each_with_tls(settings, tmp_path):
    (tmp_path / "ca.pem").touch()
    gateway = settings('[[destination]]\nname = "a"\n[[destination]]\nname = "b"\nkind = "stow"\nurl = "https://x/d"\n'
                       'tls = { ca = "ca.pem" }\n')
    assert [d.name for d in gateway.destination] == ["a", "b"]
    assert gateway.destination[1].tls.on


def test_who_is_sealed_and_what_must_be(settings, tmp_path):
    (tmp_path / "site.key").touch()
    seal = settings('[node]\nallow = ["CT_SCANNER_1", "PACS"]\n[seal]\nkey = "site.key"\nfrom = ["CT_SCANNER_*"]\n'
                    'must_be_sealed = [{from = "PACS", modality = "CT"}, {patient = "VIP-*"}]\n').seal
    assert seal.key == tmp_path / "site.key"
    assert seal.by("CT_SCANNER_1") and not seal.by("PACS") and not seal.by("")
    first, second = seal.must_be_sealed
    assert first.takes({"PACS"}, "CT", "P1") and not first.takes({"CT_SCANNER_1"}, "CT", "P1")
    assert not first.takes({"PACS"}, "MG", "P1")
    assert second.takes({""}, "MG", "VIP-3") and not second.takes({"PACS"}, "MG", "P1")


@pytest.mark.parametrize(("text", "says"), [
    ("[node]\nport = 70000", "node.port"),
    ("[node]\nprot = 104", "node.prot"),
    ("[nod]\nport = 104", "nod"),
    ("[node]\nport = 'high'", "node.port"),
    ("[node]\naet = 'A TITLE THAT IS TOO LONG'", "AE title"),
    ("[node]\naet = 'back\\\\slash'", "AE title"),
    ("[node]\nhost = '0.0.0.0'", "node.allow"),
    ('[store]\nfolder = "a\\u0000b"', "store.folder"),
    ("[store]\nfolder = '~nobody-of-this-name/inbox'", "no user ~nobody-of-this-name"),
    ("[web]\nhost = '::'", "web.users"),
    ("[web]\nhost = 'scanward.hospital'", "web.users"),
    ("[web]\nusers = 'none.json'", "there is no file"),
    ("[node]\ntls = { ca = 'gateway.toml' }", "there is no file"),
    ("[store]\nquiet_seconds = nan", "store.quiet_seconds"),
    ("[store]\nquiet_seconds = -1", "store.quiet_seconds"),
    ("[work]\nworkers = 0", "work.workers"),
    ("[results]\nobjects = ['pdf']", "results.objects"),
    ("[[destination]]\nport = 104", "destination.0.name"),
    ("[[destination]]\nname = 'a'\n[[destination]]\nname = 'a'", "one name"),
    ("[[destination]]\nname = 'a b'", "other characters"),
    ("[[destination]]\nname = 'a'\nkind = 'stow'", "no web address"),
    ("[[destination]]\nname = 'a'\nkind = 'stow'\nurl = 'http://x/'\ncommitment = true", "STOW-RS has none"),
    ("[node]\nallow = ['CT_1']\n[[destination]]\nname = 'a'\ncommitment = true", "name ORTHANC in node.allow"),
    ("[[destination]]\nname = 'a'\ncommitment_seconds = 0", "destination.0.commitment_seconds"),
    ("[[destination]]\nname = 'a'\ncommitment = true\ncalling = 'OTHER'", "answered to OTHER"),
    ("[[pull]]\nname = 'o'\nurl = 'file:///etc/passwd'", "no web address"),
    ("[protect]\nkey = 'gate way.toml'\nto = 'nowhere'", "[seal]"),
    ("[protect]", "[seal]"),
    ("[seal]\nfrom = ['CT_1']", "seal.key"),
    ("[seal]\nkey = 'none.key'\nfrom = ['CT_1']", "seal.key: there is no file"),
    ("[seal]\nalso = ['none.crt']", "seal.also"),
    ("[seal]\nkey = 'gate way.toml'\nfrom = ['CT_1', '*']", "every AE title"),
    ("[seal]\nkey = 'gate way.toml'\nfrom = ['??*']", "every AE title"),
    ("[seal]\nkey = 'gate way.toml'\nfrom = 'CT_1'", "seal.from"),
    ("[seal]\nkey = 'gate way.toml'\nfrom = ['P*']\n[[destination]]\nname = 'a'\naet = 'PACS'", "destination]] a"),
    ("[node]\nallow = ['PACS', 'CT_1']\n[seal]\nkey = 'gate way.toml'\nfrom = ['CT_2']", "node.allow"),
    ("[seal]\nmust_be_sealed = [{from = 'PACS'}]", "no seal would count"),
    ("[work]\nmarked = true", "no watermark would count"),
    ("[seal]\nkey = 'gate way.toml'\nmust_be_sealed = [{form = 'PACS'}]", "must_be_sealed"),
    ("[node]\ntls = { key = 'gate way.toml' }", "no cert"),
    ("[web]\ntls = { ca = 'gate way.toml' }", "no cert"),
    ("[web]\nhosts = ['scanward.hospital']", "web.users"),
    ("[web]\nhost = '0.0.0.0'\nusers = 'gate way.toml'", "web.tls.cert"),
    ("[work]\nrecords = 'none'", "no folder"),
    ("[audit]\nsyslog = 'nonsense'", "HOST:PORT"),
    ("[node", "no TOML"),
])
def test_what_is_wrong_is_one_sentence_with_the_file_and_the_setting(settings, text, says):
    with pytest.raises(ArgumentError) as caught:
        settings(text)
    sentence = str(caught.value)
    assert says in sentence
    assert "gate way.toml" in sentence
    assert "\n" not in sentence


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize("address", [
    "", "https://ohif.hospital/viewer?StudyInstanceUIDs={study}", "/ohif/viewer?id={patient}&a={accession}",
    "http://127.0.0.1:3000/{study}"])
def test_another_viewer(settings, address):
    assert settings(f'[web]\nviewer = "{address}"\n').web.viewer == address


@pytest.mark.parametrize("address", [
    "javascript:alert({study})", "ohif/viewer", "//elsewhere/{study}", "/\\\\elsewhere", "https://{patient}/viewer",
    "https://me@ohif/{study}", "https://ohif.hospital?{study}", "https://ohif/{study", "https://ohif/{name}",
    "https://ohif/{}", "https://ohif/{study.__class__}", "https://ohif/ {study}", "ftp://ohif/{study}"])
def test_no_address_of_a_viewer(settings, address):
    with pytest.raises(ArgumentError, match=r"web.viewer: (it is no web address|there is nothing else)"):
        settings(f'[web]\nviewer = "{address}"\n')
