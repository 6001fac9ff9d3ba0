"""`scanward serve --check`: a line for each thing that the settings name, before real ports, peers and files."""

import datetime
import os
import socket
from contextlib import closing

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scanward.protectors.seal import make_key
from scanward.review import accounts


def free_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        return found.getsockname()[1]


@pytest.fixture
def check(run, tmp_path):
    """`check(text)` gives, of each thing named, levels and sentences. A text without [node] has free ports."""
    def _check(text=""):
        usual = f'node.port = {free_port()}\nweb.port = {free_port()}\nstore = {{folder = "in box", free_mb = 1}}\n'
        (tmp_path / "gate way.toml").write_text(text if "[node]" in text else usual + text)
        code, out, complaint = run("serve", "--check", "--config", tmp_path / "gate way.toml")
        assert complaint == ""
        found = {}
        for line in out.splitlines():
            level, rest = line.split(None, 1)
            what, sentence = rest.split(": ", 1)
            found.setdefault(what, []).append((level, sentence))
        assert code == (2 if any(level == "error" for lines in found.values() for level, _ in lines) else 0)
        return found

    return _check


def certificate(path, days, subject="localhost"):
    """A certificate that ends so many days from now, and its key beside it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    end = now + datetime.timedelta(days=days, minutes=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(),
                                   end - datetime.timedelta(days=1000), end).sign(key, hashes.SHA256())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    path.with_suffix(".key").chmod(0o600)
    return path


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "gate way.toml"}


def test_settings_that_are_well_are_a_line_each_and_nothing_is_made(check, tmp_path):
    found = check()
    assert {level for lines in found.values() for level, _ in lines} == {"ok"}
    assert {"settings", "node.port", "web.port", "store.folder", "store.free_mb", "work.method"} == found.keys()
    assert tree(tmp_path) == {}, "neither an inbox nor an index"


def test_every_unknown_setting_is_named_with_the_nearest_that_there_is(check):
    found = check('[node]\nprot = 1\n[nod]\n[seal]\nmust_be_sealed = [{form = "x"}]\n[web.openid]\nisuer = "x"\n'
                  '[[destination]]\nname = "a"\ntls = {crt = "x"}\n[store]\nzzz = 1\n')["settings"]
    said = {sentence.split(": ")[1]: sentence.split("; ")[-1] for _, sentence in found}
    assert {what: said[what] for what in ("node.prot", "nod", "seal.must_be_sealed.0.form", "web.openid.isuer",
                                          "destination.0.tls.crt", "store.zzz")} == {
        "node.prot": "did you mean port?", "nod": "did you mean node?",
        "seal.must_be_sealed.0.form": "did you mean from?", "web.openid.isuer": "did you mean issuer?",
        "destination.0.tls.crt": "did you mean cert?", "store.zzz": "docs/gateway.md has every setting."}
    assert all(level == "error" for level, _ in found)


def test_several_that_do_not_go_together_are_all_named(check):
    found = check("[node]\nhost = '0.0.0.0'\n[web]\nhost = '0.0.0.0'\nusers = 'none.json'\n")["settings"]
    assert [part for part in ("node.allow", "web.tls.cert", "none.json") if part in str(found)] == [
        "node.allow", "web.tls.cert", "none.json"]


@pytest.mark.parametrize("text", ["[node", "[[node]]"])
def test_no_settings_at_all_are_one_line(check, tmp_path, text, run):
    (tmp_path / "x.toml").write_text(text)
    code, out, _ = run("serve", "--check", "--config", tmp_path / "x.toml")
    assert code == 2 and len(out.splitlines()) == 1 and str(tmp_path / "x.toml") in out


def test_it_goes_with_no_reindex(run):
    code, out, complaint = run("serve", "--check", "--reindex")
    assert (code, out) == (2, "") and "--reindex" in complaint


def test_a_port_that_somebody_has_is_an_error(check):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        found = check(f"[node]\nport = {port}\n[web]\nport = {port}\nhost = 'localhost'\n")
    assert [found[what][0][0] for what in ("node.port", "web.port")] == ["error", "error"]
    assert "web.port" in found["web.port"][0][1]


@pytest.mark.needs("storescu")
def test_beside_the_gateway_that_runs_its_ports_are_well_and_it_runs_on(start, run, dicom, tmp_path):
    gateway = start()
    gateway.change(node={"port": gateway.port})
    code, out, _ = run("serve", "--check", "--config", gateway._config)
    assert code == 0 and out.count("A gateway works on this inbox") == 2
    from serving import storescu

    storescu(gateway.port, dicom.file(tmp_path / "a.dcm"))


def test_a_folder_that_cannot_be_one_is_an_error_and_too_little_room_a_warning(check, tmp_path):
    (tmp_path / "file").touch()
    port = f"port = {free_port()}\n"
    found = check(f'[node]\n{port}[store]\nfolder = "file/inbox"\n[audit]\nfile = "file/audit.jsonl"\n')
    assert [found[what][0][0] for what in ("store.folder", "audit.file")] == ["error", "error"]
    found = check(f"[node]\n{port}[store]\nfree_mb = 1000000000\n")
    assert found["store.free_mb"][0][0] == "warn" and "nothing would be taken in" in found["store.free_mb"][0][1]


@pytest.mark.parametrize(("days", "level", "says"), [(100, "ok", "100 days"), (5, "warn", "5 days"),
                                                     (-1, "error", "has ended")])
def test_how_long_a_certificate_lasts(check, tmp_path, days, level, says):
    certificate(tmp_path / "node.pem", days)
    found = check(f'[node]\nport = {free_port()}\ntls = {{cert = "node.pem", key = "node.key"}}\n')
    assert found["node.tls"][0][0] == "ok"
    ((got, sentence),) = found["node.tls.cert"]
    assert got == level and says in sentence


def test_a_key_that_belongs_to_another_certificate_is_an_error(check, tmp_path):
    certificate(tmp_path / "node.pem", 100)
    certificate(tmp_path / "other.pem", 100)
    found = check(f'[node]\nport = {free_port()}\n[web]\ntls = {{cert = "node.pem", key = "other.key"}}\n')
    assert found["web.tls"][0][0] == "error" and "belong together" in found["web.tls"][0][1]
    assert "web.tls.cert" not in found


def test_peers_that_answer_that_refuse_and_that_are_away(check, shared_orthanc):
    orthanc = shared_orthanc
    dimse = f'kind = "dimse"\nport = {orthanc.dicom_port}\naet = '
    found = check(f'[[destination]]\nname = "good"\n{dimse}"{orthanc.aet}"\n[[destination]]\nname = "title"\n'
                  f'{dimse}"OTHER"\n[[destination]]\nname = "away"\nport = {free_port()}\n[[destination]]\n'
                  f'name = "stow"\nkind = "stow"\nurl = "{orthanc.web}"\n[[destination]]\nname = "lost"\n'
                  f'kind = "stow"\nurl = "{orthanc.http}/nothing"\n[[pull]]\nname = "o"\nurl = "{orthanc.http}"\n'
                  f'[[pull]]\nname = "w"\nkind = "dicomweb"\nurl = "{orthanc.web}"\n[[pull]]\nname = "gone"\n'
                  f'url = "http://127.0.0.1:{free_port()}"\n')
    levels = {what: lines[0][0] for what, lines in found.items() if what.startswith(("destination", "pull"))}
    assert levels == {"destination good": "ok", "destination title": "error", "destination away": "warn",
                      "destination stow": "ok", "destination lost": "error", "pull o": "ok", "pull w": "ok",
                      "pull gone": "warn"}
    assert found["destination good"] == [("ok", "It answers C-ECHO.")]
    assert "AE titles" in found["destination title"][0][1]


def test_keys_of_seals_are_read(check, tmp_path):
    make_key(tmp_path / "site.key")
    (tmp_path / "bad.key").write_text("nothing\n")
    found = check('[seal]\nkey = "site.key"\nolder = ["bad.key"]\nalso = ["bad.key"]\ntrust = "bad.key"\n')
    assert {what: lines[0][0] for what, lines in found.items() if what.startswith("seal")} == {
        "seal.key": "ok", "seal.older": "error", "seal.also": "error", "seal.trust": "error"}


def test_who_may_log_in(check, tmp_path):
    path, text = tmp_path / "users.json", '[node]\n[web]\nusers = "users.json"\n'
    for content in ("{}", "nonsense"):
        path.write_text(content)
        path.chmod(0o600)
        assert check(text)["web.users"][0][0] == "error"
    path.unlink()
    for role, level in (("reviewer", "warn"), ("administrator", "ok")):
        accounts.add_user(path, role, "a long enough password", (role,))
        assert check(text)["web.users"][0][0] == level


def test_a_method_that_is_none_a_token_that_is_short_and_a_provider_that_is_away(check, tmp_path):
    for name in ("token", "openid.secret"):
        (tmp_path / name).write_text("short\n")
        (tmp_path / name).chmod(0o600)
    found = check(f'[node]\n[work]\nmethod = "magic"\n[monitoring]\ntoken_file = "token"\n[web.openid]\n'
                  f'issuer = "http://127.0.0.1:{free_port()}"\nclient_id = "x"\nurl = "http://localhost:1"\n'
                  'roles = {a = "reviewer"}\nclient_secret_file = "openid.secret"\n')
    assert [found[what][0][0] for what in ("work.method", "monitoring", "web.openid", "web.openid.issuer")] == [
        "error", "error", "ok", "warn"]


def test_what_others_can_read_and_what_is_not_signed_are_warnings(check, tmp_path):
    make_key(tmp_path / "site.key")
    for name, text in (("hook", "hush"), ("empty", ""), ("password", "pass")):
        (tmp_path / name).write_text(text)
    os.chmod(tmp_path / "site.key", 0o644)
    os.chmod(tmp_path / "hook", 0o640)
    os.chmod(tmp_path / "empty", 0o600)
    hook = '[[webhook]]\nurl = "https://soc.hospital/x"\n'
    found = check(f'[seal]\nkey = "site.key"\n{hook}secret_file = "hook"\n{hook}{hook}secret_file = "empty"\n')
    assert ("warn" in [level for level, _ in found["seal.key"]], "webhook.0.secret_file" in found) == (True, False)
    assert [found[f"webhook.{number}.secret_file"][0][0] for number in (1, 2)] == ["warn", "error"]
