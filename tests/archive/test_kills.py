"""A run through a full disk and through kills of its workers, its lister and itself: every image answered once."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

from archives import command, listed, noise, rows

FILMS = 80


def children(pid):
    """Processes that a process started, with the names by which multiprocessing starts them."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found[int(child)] = Path(f"/proc/{child}/cmdline").read_bytes()
    return [pid for pid, line in found.items() if b"spawn_main" in line]


def answered(out):
    """Answers so far, whether their part is done or not."""
    lines = sum(path.read_bytes().count(b"\n") for path in (out / "answers").glob("*.jsonl"))
    return lines + len(rows(out))


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def gone(pid):
    return not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_every_image_is_answered_once(tmp_path):
    films, out = tmp_path / "films", tmp_path / "out"
    for number in range(FILMS):
        noise(films / f"{number:03}.png", number, side=100)
    chance = random.Random(4)
    asked, environment = command(films, "-o", out, "--method", "copy-move", "--workers", 2)
    full = subprocess.run(["sh", "-c", 'ulimit -f 40; exec "$@"', "sh", *asked], check=False, env=environment,
                          capture_output=True, text=True)
    assert full.returncode == 2 and full.stderr == \
        f"scanward: {out} cannot be written (No space left on device); free some space, and the same command goes " \
        "on.\n"
    kept = answered(out)
    assert 0 < kept < FILMS
    for kill in range(2):
        process = subprocess.Popen(asked, env=environment, stderr=subprocess.DEVNULL)
        until(lambda kept=kept: answered(out) >= kept + 5)
        os.kill(chance.choice(children(process.pid)), signal.SIGKILL)  # of a worker, or of the lister
        until(lambda kept=kept: answered(out) >= kept + 15)
        if kill < 1:
            started = children(process.pid)
            process.kill()
            process.wait()
            until(lambda started=started: all(map(gone, started)))
        kept = answered(out)
    assert process.wait(300) == 0
    found = rows(out)
    assert len(found) == listed(out) == FILMS and not list((out / "answers").glob("*.jsonl"))
    assert {row["label"] for row in found.values()} == {"authentic"}
    assert {row["attempts"] for row in found.values()} <= {1, 2} and not any(row["aside"] for row in found.values())
