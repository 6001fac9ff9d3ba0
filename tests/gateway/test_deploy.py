"""What `deploy/` and `container/` hold: read by those who will read it, and tried as far as no engine is needed."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from serving import storescu, wait_for

from scanward.protectors.seal import make_key
from scanward.review import accounts

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "deploy" / "scanward.service").read_text()
COMPOSE = yaml.safe_load((ROOT / "container" / "compose.yaml").read_text())
KEYS = {"image", "build", "command", "entrypoint", "read_only", "tmpfs", "cap_drop", "cap_add", "security_opt",
        "mem_limit", "pids_limit", "restart", "stop_grace_period", "networks", "ports", "volumes", "secrets",
        "depends_on", "healthcheck", "environment", "user", "init"}
"""Of a service, by the Compose specification, as far as they are of use here."""
HEALTH = {"test", "interval", "timeout", "retries", "start_period"}


@pytest.mark.needs("systemd-analyze")
def test_systemd_takes_the_unit_and_holds_it_to_be_well_locked_up(tmp_path):
    unit = tmp_path / "scanward.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT, flags=re.M))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if str(unit) in line or "scanward.service" in line] == []
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", unit], capture_output=True,
                          text=True, check=False)
    exposure = float(re.search(r"exposure level for scanward\.service: ([\d.]+)", done.stdout)[1])
    assert exposure <= 1.5, done.stdout


def test_the_unit_starts_a_command_that_there_is_and_says_where_things_lie(run):
    (command,) = re.findall(r"^ExecStart=\S+/scanward (.+)$", UNIT, re.M)
    words = command.split()
    assert words[-1] == "/etc/scanward/gateway.toml"
    code, _, complaint = run(*words[:-1], "/no/such/file.toml")
    assert code == 2 and "/no/such/file.toml" in complaint
    assert re.search(rf"^RestartPreventExitStatus={code}$", UNIT, re.M)
    for line in ("ProtectSystem=strict", "NoNewPrivileges=yes", "StateDirectory=scanward", "KillMode=mixed"):
        assert line in UNIT.splitlines()


def test_every_service_is_one_that_compose_knows_and_every_file_is_there():
    assert COMPOSE.keys() == {"name", "services", "networks", "volumes", "secrets"}
    assert COMPOSE["services"].keys() >= {"scanward", "orthanc", "ohif"}
    for name, service in COMPOSE["services"].items():
        assert service.keys() <= KEYS, name
        assert service["healthcheck"].keys() <= HEALTH and service["healthcheck"]["test"][0] == "CMD"
        assert ":" in service["image"] or "build" in service, "a version is named"
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / "container" / source).is_file(), source
        for one in service.get("secrets", ()):
            assert (one["source"] if isinstance(one, dict) else one) in COMPOSE["secrets"]
        for other in service.get("depends_on", ()):
            assert other in COMPOSE["services"]
    used = {one["source"] if isinstance(one, dict) else one for service in COMPOSE["services"].values()
            for one in service.get("secrets", ())}
    assert used == COMPOSE["secrets"].keys()
    listed = (ROOT / "container" / "README.md").read_text()
    for name, one in COMPOSE["secrets"].items():
        assert one == {"file": f"./secrets/{name}"} and f"`{name}`" in listed


def test_nothing_secret_stands_in_the_files_themselves():
    for path in (ROOT / "container").iterdir():
        found = re.search(r"(?i)(password|secret|token)[\"']?\s*[:=]\s*[\"'](?!/run/secrets)", path.read_text())
        assert found is None, path


@pytest.fixture
def contained(tmp_path, certificates):
    """`contained(**more)` are the settings of the container with its secrets and its data in a folder of the test."""
    folder = tmp_path / "contained"
    (folder / "data").mkdir(parents=True)
    (folder / "secrets").mkdir()
    make_key(folder / "secrets" / "site.key")
    for name, path in (("web.pem", certificates.cert), ("web.key", certificates.key)):
        (folder / "secrets" / name).write_bytes(path.read_bytes())
    (folder / "secrets" / "metrics.token").write_text("0123456789abcdef0123456789abcdef\n")
    for path in (folder / "secrets").iterdir():
        path.chmod(0o600)
    accounts.add_user(folder / "data" / "users.json", "chief", "a long enough password", ("administrator",))
    text = (ROOT / "container" / "gateway.toml").read_text()
    text = text.replace("/run/secrets", str(folder / "secrets")).replace("/data/", f"{folder / 'data'}/")
    return folder / "gateway.toml", text.replace('host = "orthanc"', 'host = "127.0.0.1"')


@pytest.mark.needs("openssl", "storescu")
def test_the_settings_pass_the_check_and_a_study_goes_from_orthanc_to_scanward_and_back(
        contained, run, start_orthanc, dicom, tmp_path, port):
    path, text = contained
    settings = json.loads((ROOT / "container" / "orthanc.json").read_text())
    route = COMPOSE["services"]["orthanc"]["volumes"][2].split(":")
    assert settings["LuaScripts"] == [route[1]]
    node = settings["DicomModalities"]["scanward"]
    orthanc = start_orthanc(**{name: value for name, value in settings.items() if not name.endswith("Port")} | {
        "LuaScripts": [str(ROOT / "container" / route[0])], "StableAge": 1, "RegisteredUsers": {"ohif": "pass"},
        "DicomModalities": {"scanward": [node[0], "127.0.0.1", port]}})
    path.write_text(text.replace("port = 4242", f"port = {orthanc.dicom_port}")
                    .replace("[node]", f"[node]\nport = {port}").replace("[web]", "[web]\nport = 0")
                    .replace("[store]", "[store]\nquiet_seconds = 1\nfree_mb = 1"))
    code, out, _ = run("serve", "--check", "--config", path)
    assert code == 0 and {line.split()[0] for line in out.splitlines()} == {"ok"}, out
    assert "It answers C-ECHO." in out
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "scanward", "serve", "--config", path],
                                   stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        pages = re.search(r"Pages: \S+:(\d+)/", process.stdout.readline())[1]
        test = COMPOSE["services"]["scanward"]["healthcheck"]["test"]
        asked = [sys.executable, *(word.replace(":8042", f":{pages}") for word in test[2:])]
        wait_for(lambda: subprocess.run(asked, capture_output=True, check=False).returncode == 0)
        films = [dicom.file(tmp_path / f"{i}.dcm", shape=(96, 80), seed=i, StudyInstanceUID="1.2.3") for i in range(2)]
        storescu(orthanc.dicom_port, *films, called="ORTHANC")
        wait_for(lambda: len(orthanc.get("/instances")) == 2 + 4)  # for each film a report and a heat map
        sent = [job for job in orthanc.get("/jobs?expand") if job["Type"] == "DicomModalityStore"]
        time.sleep(4)  # long enough to be stable again, and for another turn of the circle
        again = [job for job in orthanc.get("/jobs?expand") if job["Type"] == "DicomModalityStore"]
        assert len(sent) == len(again) == 1
        assert orthanc.get("/studies?expand")[0]["IsStable"] and len(orthanc.get("/instances")) == 6
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
