"""An inbox with what nobody would put there: pipes, files for folders, secrets that were cut short."""

import json
import os
import stat
import urllib.request

import pytest
from serving import wait_for

from scanward.disk import read_json
from scanward.gateway.pages import _secret
from scanward.setting_file import read_config


def test_pipes_and_files_in_the_inbox_stop_neither_the_node_nor_deliveries_nor_the_end(start):
    gateway = start()
    assert gateway.stop() == 0
    inbox = gateway.inbox
    for path in (".alarms.json", ".troubles.json", "outgoing/a/to.json", "outgoing-hooks/sent.log"):
        (inbox / path).parent.mkdir(exist_ok=True)
        (inbox / path).unlink(missing_ok=True)
        os.mkfifo(inbox / path)
    for path in (inbox / ".alive").iterdir():
        path.unlink()
    (inbox / ".alive").rmdir()
    (inbox / ".alive").touch()
    (inbox / "index.sqlite3").unlink(missing_ok=True)
    (inbox / "index.sqlite3").mkdir()
    gateway.start()
    wait_for((inbox / "outgoing-failed/a").is_dir, 20)  # what cannot be read is put aside
    wait_for(lambda: json.load(urllib.request.urlopen(f"{gateway.pages}readyz", timeout=10))["ready"], 20)
    assert gateway.stop() == 0


def test_json_is_read_from_regular_files_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    assert [read_json(path) for path in sorted(tmp_path.iterdir())] == [{}, {}, {}]


@pytest.mark.parametrize("there", [None, b"", b"short"])
def test_sessions_are_signed_with_a_secret_that_is_none_others_know(tmp_path, there):
    if there is not None:
        (tmp_path / ".secret").write_bytes(there)
    made = _secret(tmp_path)
    assert len(made) == 32
    assert _secret(tmp_path) == made == (tmp_path / ".secret").read_bytes()
    assert stat.S_IMODE((tmp_path / ".secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("said", ["[node]\nallow = ['A']\nhost", "[web]\nhost", "[[destination]]\nname = 'a'\nhost"])
@pytest.mark.parametrize("host", ["a" * 70 + ".x", "a\\u0000", "..x"])
def test_names_that_no_host_can_have_are_refused(tmp_path, said, host):
    from scanward.errors import ArgumentError

    (tmp_path / "gateway.toml").write_text(f'{said} = "{host}"')
    with pytest.raises(ArgumentError, match="is no host's name"):
        read_config(tmp_path / "gateway.toml")


@pytest.mark.parametrize("said", ["[work]\nstudy_seconds = 1e300", "[work]\nstop_seconds = 1e12",
                                  "[work]\nworkers = 1000000", "[node]\nrequest_seconds = 1e300",
                                  "[store]\nkeep_days = 1e308", "[web]\nheader_seconds = 1e300",
                                  "[[pull]]\nname = 'a'\nurl = 'http://a'\ndays = 999999"])
def test_settings_that_no_clock_or_calendar_has_are_refused(tmp_path, said):
    from scanward.errors import ArgumentError

    (tmp_path / "gateway.toml").write_text(said)
    with pytest.raises(ArgumentError, match="less than or equal to"):
        read_config(tmp_path / "gateway.toml")
