"""What is fetched goes with its process, or with the next one."""

import os
import signal
import subprocess
import sys
import time

from scanward.archive import fetching

HOLD = """
import sys, time
from scanward.archive.fetching import fetching
with fetching() as folder:
    open(folder + "/x", "w").close()
    print(folder, flush=True)
    time.sleep(600)
"""


def test_what_a_kill_leaves_is_swept_and_what_is_in_use_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE, text=True)
    folder = process.stdout.readline().strip()
    with fetching.fetching() as own:
        for one in (folder, own):
            os.utime(one, (time.time() - 3600,) * 2)
        fetching.sweep()
        assert os.listdir(folder) == ["x"] and os.path.isdir(own)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        fetching.sweep()
        assert not os.path.exists(folder) and os.path.isdir(own)
    assert os.listdir(tmp_path) == []
