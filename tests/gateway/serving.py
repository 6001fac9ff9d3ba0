"""The gateway as its users run it: `scanward serve` in a process of its own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


class Gateway:
    def __init__(self, folder, text="", **tables):
        """`text` is more of the file; `tables` are settings of the node, the pages and the store, by table."""
        folder.mkdir()
        self.inbox, self._config, self._log = folder / "in box", folder / "gateway.toml", folder / "log.txt"
        self.settings = {"node": {"port": 0}, "web": {"port": 0},
                         "store": {"folder": "in box", "quiet_seconds": 0.5, "free_mb": 1}}
        self.change(text, **tables)
        self.start()

    def change(self, text="", **tables):
        """For the next start."""
        for table, values in tables.items():
            self.settings.setdefault(table, {}).update(values)
        base = "".join(f"[{table}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
                       for table, values in self.settings.items())
        self._config.write_text(base + text)

    def start(self, *options):
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "scanward", "serve", "--config", self._config,
                                             *options],
                                            stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        line = self.process.stdout.readline()
        assert "Listening" in line, self._log.read_text()
        self.port = int(re.search(r":(\d+)\. Inbox", line)[1])
        self.pages = re.search(r"Pages: (\S+)", line)[1]

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def helpers(self):
        """The processes that it started, by what they run: `worker` and `pages`."""
        found = {"worker": [], "pages": []}
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"spawn_main" in command:  # the pages' is the one that was given the listening socket
                    found["pages" if _listens(pid) else "worker"].append(int(pid))
        return found

    def stop(self):
        self.process.terminate()
        code = self.process.wait(60)
        self.process.stdout.close()
        return code

    def studies(self, state="done"):
        return [json.loads(p.read_bytes()) for p in (self.inbox / state).glob("[!.]*/study.json")]

    def audit(self):
        return [json.loads(line) for line in (self.inbox / "audit.jsonl").read_text().splitlines()]

    def idle(self):
        waiting = [p for state in ("incoming", "working", "outgoing") for p in (self.inbox / state).iterdir()
                   if p.is_dir() and not p.name.startswith(".")]
        return not waiting


def _listens(pid):
    """Whether the process holds a socket that listens on IPv4."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
    return any(os.readlink(path) in listening for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink())


@pytest.fixture(name="start")
def gateways(tmp_path):
    """Starts `scanward serve`: what `Gateway` takes."""
    started = []

    def _start(text="", **tables):
        started.append(Gateway(tmp_path / f"gateway {len(started)}", text, **tables))
        return started[-1]

    yield _start
    for gateway in started:
        gateway.kill()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def storescu(port, *paths, called="SCANWARD", calling="STORESCU"):
    done = subprocess.run(["storescu", "-xr", "-aet", calling, "-aec", called, "127.0.0.1", str(port),
                           *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
