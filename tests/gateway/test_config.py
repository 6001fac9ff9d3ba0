"""`gateway.toml`: what it may say, and the one sentence for what it may not."""

import pytest

from scanward.errors import ArgumentError
from scanward.settings import read_config


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


@pytest.mark.parametrize(("text", "says"), [
    ("[node]\nport = 70000", "node.port"),
    ("[node]\nprot = 104", "node.prot"),
    ("[nod]\nport = 104", "nod"),
    ("[node]\nport = 'high'", "node.port"),
    ("[node]\naet = 'A TITLE THAT IS TOO LONG'", "AE title"),
    ("[node]\naet = 'back\\\\slash'", "AE title"),
    ("[node]\nhost = '0.0.0.0'", "node.allow"),
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
    ("[[pull]]\nname = 'o'\nurl = 'file:///etc/passwd'", "no web address"),
    ("[protect]\nkey = 'gate way.toml'\nto = 'nowhere'", "names no"),
    ("[node]\ntls = { key = 'gate way.toml' }", "no cert"),
    ("[web]\ntls = { ca = 'gate way.toml' }", "no cert"),
    ("[web]\nhosts = ['scanward.hospital']", "web.users"),
    ("[web]\nhost = '0.0.0.0'\nusers = 'gate way.toml'", "web.tls.cert"),
    ("[work]\nrecords = 'none'", "no folder"),
    ("[protect]\nto = 'pacs'", "protect.key"),
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
