"""What ended in an error is tried again when somebody asks for it, and has one answer then, too."""

import json
import os
import signal
import subprocess
import time

import pytest
from archives import command, listed, noise, rows
from pyarrow import parquet

METHOD = ("--method", "copy-move", "--workers", 1)


@pytest.fixture
def films(tmp_path):
    for number in range(3):
        noise(tmp_path / "films" / f"{number}.png", number, side=100)
    (tmp_path / "films" / "1.png").write_bytes((tmp_path / "films" / "1.png").read_bytes()[:500])
    return tmp_path / "films"


def test_only_errors_are_tried_again(films, tmp_path, run):
    out = tmp_path / "out"
    code, _, told = run("archive", films, "-o", out, *METHOD)
    assert code == 2 and "--retry" in told
    before = rows(out)
    noise(films / "1.png", 1, side=100)
    noise(films / "2.png", 7, side=100)
    assert run("archive", films, "-o", out, *METHOD)[0] == 2 and rows(out) == before, "unless it is asked for"
    code, said, told = run("archive", films, "-o", out, *METHOD, "--retry")
    after = rows(out)
    assert (code, said) == (0, "3 images: 3 authentic.\n") and "--retry" not in told
    assert len(after) == listed(out) == 3 and after["films/1.png"]["error"] is None
    assert {name: row for name, row in after.items() if "1" not in name} == \
        {name: row for name, row in before.items() if "1" not in name}, "what was changed since is not looked at"
    assert not list((out / "answers").glob("*.jsonl")) and "retried" not in (out / "run.json").read_text()


def test_what_is_tried_again_in_vain_keeps_one_answer_of_now(films, tmp_path, run):
    out = tmp_path / "out"
    run("archive", films, "-o", out, *METHOD)
    before = rows(out)["films/1.png"]
    code, said, _ = run("archive", films, "-o", out, *METHOD, "--retry")
    after = rows(out)["films/1.png"]
    assert code == 2 and "3 images: 1 inconclusive, 2 authentic. 1 error, 0 set aside." in said
    assert after["error"] == before["error"] and after["judged_at"] > before["judged_at"]


def test_a_retry_that_was_killed_goes_on_where_it_was(tmp_path):
    films, out = tmp_path / "films", tmp_path / "out"
    good = noise(films / "good.png", 1, side=100).read_bytes()
    for number in range(30):
        (films / f"{number:02}.png").write_bytes(good[:400])
    asked, environment = command(films, "-o", out, *METHOD)
    subprocess.run(asked, env=environment, stderr=subprocess.DEVNULL, check=False)
    assert sum(row["error"] is not None for row in rows(out).values()) == 30
    for path in films.glob("??.png"):
        path.write_bytes(good)
    for path in sorted(films.glob("0?.png")):
        path.write_bytes(good[:300])
    process = subprocess.Popen([*asked, "--retry"], env=environment, stderr=subprocess.DEVNULL)
    journal = out / "answers" / "part-00000000.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 12:
        assert process.poll() is None, "it was to be killed on its way"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {json.loads(line)["unit"] for line in journal.read_bytes().splitlines()[:12]}
    parts = list((out / "answers").glob("*.parquet"))
    assert sum(parquet.read_table(part).num_rows for part in parts) == 31, "the answers before are whole meanwhile"
    times = {json.loads(line)["unit"]: json.loads(line)["judged_at"] for line in journal.read_bytes().splitlines()[:12]}
    subprocess.run([*asked, "--retry"], env=environment, stderr=subprocess.DEVNULL, check=False)
    found = rows(out)
    assert len(found) == 31 and sum(row["error"] is not None for row in found.values()) == 10
    again = {row["unit"]: str(row["judged_at"]) for row in found.values() if row["unit"] in kept}
    assert again == times, "what the first had tried again, the second did not"


def test_a_line_that_no_answer_can_be_is_as_none(films, tmp_path, run):
    """A journal whose bits have turned."""
    out = tmp_path / "out"
    run("archive", films, "-o", out, *METHOD)
    table = parquet.read_table(next((out / "answers").glob("*.parquet"))).to_pylist()
    os.remove(next((out / "answers").glob("*.parquet")))
    broken = [{**row, "label": 5} for row in table] + [{**table[0], "judged_at": "soon"}, [], {"unit": 3}]
    journal = out / "answers" / "part-00000000.jsonl"
    journal.write_text("".join(json.dumps(one, default=str) + "\n" for one in broken) + '{"unit": "cut sh')
    code, said, told = run("archive", films, "-o", out, *METHOD)
    assert code == 2 and "3 images" in said and "Internal" not in told
    assert {row["label"] for row in rows(out).values()} == {"authentic", "inconclusive"}
