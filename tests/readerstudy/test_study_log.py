"""A reader's log: what is in it is the state, whatever happened to its last line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanward.readerstudy.log import Log, read_log, replay

PARTS = {"a": "blind", "b": "blind", "c": "open"}
EVENTS = st.one_of(
    st.builds(lambda film, answer, confidence, seconds, save: {
        "kind": "reading", "at": "t", "film": film, "answer": answer, "confidence": confidence, "marks": [],
        "remark": "", "seconds": seconds, "save": save},
        st.sampled_from("abcd"), st.sampled_from((None, "healthy", "unhealthy", "real", "fake")),
        st.sampled_from((None, 1, 5)), st.floats(0, 100), st.text("0123456789", min_size=1, max_size=2)),
    st.sampled_from(({"kind": "close", "at": "t", "part": "blind"}, {"kind": "close", "at": "t", "part": "open"})))


def reading(film, answer, save, **more):
    return {"kind": "reading", "at": "t", "film": film, "answer": answer, "confidence": None, "marks": [],
            "remark": "", "seconds": 1.0, "save": save} | more


def facts(state):
    return (state.readings, state.at, state.closed)


@given(st.lists(EVENTS, max_size=12), st.data())
def test_a_log_cut_anywhere_replays_what_was_whole(tmp_path_factory, events, data):
    """A crash cuts the log; the next answer takes the cut one's place."""
    path = tmp_path_factory.mktemp("log") / "001.jsonl"
    log = Log(path, PARTS)
    events = [event for event in events if log.append(event)]
    assert facts(read_log(path, PARTS)) == facts(log.state)
    whole = path.read_bytes() if path.exists() else b""
    cut = whole[:data.draw(st.integers(0, len(whole)))]
    path.write_bytes(cut)
    expected = replay([json.dumps(event).encode() for event in events[:cut.count(b"\n")]], PARTS)
    again = Log(path, PARTS)
    assert facts(again.state) == facts(expected)
    event = reading("a", "healthy", "after the crash", known=again.state.reading("a").save)
    again.append(event)
    expected.apply(event)
    assert facts(read_log(path, PARTS)) == facts(again.state) == facts(expected)


def test_an_answer_can_be_changed_until_the_part_is_closed(tmp_path):
    log = Log(tmp_path / "001.jsonl", PARTS)
    log.append(reading("a", "healthy", "page-1"))
    log.append(reading("a", "unhealthy", "page-2", confidence=4))
    assert log.state.missing("blind") == ["b"]
    log.append(reading("b", "healthy", "page-3"))
    log.append({"kind": "close", "at": "t", "part": "blind"})
    log.append(reading("a", "healthy", "page-4"))
    found = read_log(tmp_path / "001.jsonl", PARTS)
    assert (found.reading("a").answer, found.reading("a").changes, found.part) == ("unhealthy", 1, "open")


def test_a_save_that_is_tried_again_counts_its_time_once(tmp_path):
    log = Log(tmp_path / "001.jsonl", PARTS)
    for _ in range(3):
        log.append(reading("a", "healthy", "same", seconds=7.0))
    log.append(reading("a", "healthy", "another", seconds=2.0))
    assert log.state.reading("a").seconds == 9.0


def test_a_page_that_is_left_sends_all_at_once_and_the_last_counts(tmp_path):
    log = Log(tmp_path / "001.jsonl", PARTS)
    for turn, answer in ((1, "healthy"), (3, "unhealthy"), (2, "healthy")):
        assert log.append(reading("a", answer, f"page-{turn}", remark=str(turn)))
    for state in (log.state, read_log(tmp_path / "001.jsonl", PARTS)):
        found = state.reading("a")
        assert (found.answer, found.remark, found.changes, found.seconds) == ("unhealthy", "3", 1, 3.0)


def test_an_answer_of_the_other_part_is_none(tmp_path):
    log = Log(tmp_path / "001.jsonl", PARTS)
    log.append(reading("a", "fake", "page-1"))
    log.append(reading("c", "fake", "page-2"))
    assert log.state.reading("a").answer is None
    assert log.state.reading("c").answer == "fake"


def test_a_full_disk_does_not_count_as_an_answer(tmp_path, monkeypatch):
    log = Log(tmp_path / "001.jsonl", PARTS)
    log.append(reading("a", "healthy", "page-1"))
    real = __import__("os").write
    monkeypatch.setattr("os.write", lambda handle, data: real(handle, data[:-1]))
    with pytest.raises(OSError, match="space"):
        log.append(reading("b", "unhealthy", "page-2"))
    monkeypatch.undo()
    assert log.state.reading("b").answer is None
    log.append(reading("b", "healthy", "page-3"))
    found = read_log(tmp_path / "001.jsonl", PARTS)
    assert (found.reading("a").answer, found.reading("b").answer) == ("healthy", "healthy")
    assert (found.reading("b").changes, found.ignored) == (0, 0)  # what was not taken does not come back
