"""A study's pages: what a reader gets, what is kept, and that nothing tells the truth."""

import base64
import os
import re
import shutil
import signal
import stat

import pytest
from study_films import TELLING, Browser, archive, drawn, served

pytest.importorskip("fastapi")

from scanward.readerstudy.app import HERE, build, style
from scanward.readerstudy.folder import close, read_study, read_truth, renew


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return archive(tmp_path_factory.mktemp("films"), actions=("inject", "remove"))


@pytest.fixture
def study(films, tmp_path):
    return drawn(films, tmp_path / "study")


@pytest.fixture
def reader(study):
    return Browser(build(read_study(study.folder)), study.links[0][1])


def finish(reader, number, word):
    for film in reader.part()["films"]:
        assert reader.answer(film["id"], word).status_code == 200
    return reader.hand_in(number)


def test_a_link_lets_in_and_does_not_stay_in_the_address(reader, study):
    assert reader.entered.status_code == 200 and 'content="0;url=/"' in reader.entered.text
    assert study.links[0][1] not in reader.entered.text
    start = reader.page()
    assert "Healthy or unhealthy?" in start.text and "Ada" in start.text
    assert "HttpOnly" in reader.entered.headers["set-cookie"] or "httponly" in reader.entered.headers["set-cookie"]


def test_without_a_link_there_is_nothing(study):
    stranger = Browser(build(read_study(study.folder)), "/r/not-a-token")
    assert stranger.entered.status_code == 404
    assert stranger.page().status_code == 401
    assert stranger.http.get("/api/part").status_code == 401
    name = read_study(study.folder).lists[0]["blind"][0].id
    assert stranger.http.get(f"/film/{name}.png").status_code == 404
    for path in ("/truth.json", "/study.json", "/static/../truth.json", "/static/%2e%2e%2fapp.py", "/openapi.json",
                 "/docs", "/films", "/r/"):
        assert stranger.http.get(path).status_code in (404, 405), path


def test_a_new_link_takes_the_place_of_the_old(study):
    app = build(read_study(study.folder))
    renew(study.folder, "Ada", "another-token-of-some-length")
    assert stat.S_IMODE((study.folder / "readers.json").stat().st_mode) == 0o600
    assert Browser(app, study.links[0][1]).entered.status_code == 404
    assert "Ada" in Browser(app, "/r/another-token-of-some-length").page().text


def test_what_an_old_link_opened_ends_with_it(study):
    app = build(read_study(study.folder))
    thief, other = (Browser(app, link) for _, link in study.links)
    film = thief.part()["films"][0]["id"]
    renew(study.folder, "Ada", "another-token-of-some-length")
    assert thief.page().status_code == 401
    assert thief.http.get("/api/part").status_code == 401
    assert thief.http.get(f"/film/{film}.png").status_code == 404
    assert thief.answer(film, "healthy").status_code == 401
    assert not (study.folder / "answers" / "001.jsonl").exists()
    assert other.page().status_code == 200
    restarted = Browser(build(read_study(study.folder)), "/")
    restarted.http.cookies.update(thief.http.cookies)
    assert restarted.page().status_code == 401


def test_answers_are_kept_changed_and_closed_for_good(reader, study):
    part = reader.part()
    first = part["films"][0]["id"]
    mark = {"shape": "ellipse", "box": [10, 20, 30, 40]}
    reader.answer(first, "healthy", confidence=2)
    reader.answer(first, "unhealthy", confidence=5, marks=[mark], remark="BI-RADS 4")
    again = Browser(build(read_study(study.folder)), study.links[0][1])  # another process would read the same log
    found = again.part()
    assert found["at"] == first
    assert {k: found["films"][0][k] for k in ("answer", "confidence", "marks", "remark")} == {
        "answer": "unhealthy", "confidence": 5, "marks": [mark], "remark": "BI-RADS 4"}
    assert again.hand_in(1).status_code == 409
    assert "Real or fake?" in finish(again, 1, "healthy").text
    late = again.answer(first, "healthy")
    assert late.status_code == 409 and "closed" in late.json()["error"]
    assert again.hand_in(1).status_code == 200 and again.part()["number"] == 2
    assert "Thank you" in finish(again, 2, "real").text


def test_a_page_that_was_left_open_undoes_no_answer(study):
    app = build(read_study(study.folder))
    old, new = (Browser(app, study.links[0][1]) for _ in range(2))
    first, second = (film["id"] for film in old.part()["films"][:2])
    old.answer(first, None, confidence=None)  # looked at
    new.part()
    marks = [{"shape": "box", "box": [10, 20, 30, 40]}]
    for _ in range(2):
        assert new.answer(first, "unhealthy", confidence=5, marks=marks, remark="BI-RADS 4").status_code == 200
    for stale in ({"answer": None, "confidence": None}, {"answer": "healthy"}):
        refused = old.answer(first, **stale)
        assert refused.status_code == 409 and "another window" in refused.json()["error"]
    assert old.answer(second, "healthy").status_code == 200
    kept = old.part()["films"][0]
    assert (kept["answer"], kept["confidence"], kept["marks"], kept["remark"]) == ("unhealthy", 5, marks, "BI-RADS 4")
    assert old.answer(first, "healthy").status_code == 200  # opened anew, it knows what it changes
    assert new.answer(first, "healthy").status_code == 200  # says nothing else
    assert new.answer(first, "unhealthy").status_code == 409


@pytest.mark.parametrize("body", [
    {"answer": "fake"}, {"answer": "maybe"}, {"confidence": 6}, {"confidence": 0}, {"seconds": -1},
    {"seconds": 1e9}, {"marks": [{"shape": "box", "box": [0, 0, 9999, 9999]}]},
    {"marks": [{"shape": "box", "box": [5, 5, 5, 9]}]}, {"marks": [{"shape": "star", "box": [0, 0, 9, 9]}]},
    {"marks": [{"shape": "box", "box": [0, 0, 9]}]}, {"marks": [{"shape": "box", "box": [0, 0, 9, 9]}] * 51},
    {"remark": "x" * 4001}, {"save": ""}, {"save": "no-page"}, {"known": 1}, {"extra": 1}, {"remark": None},
], ids=lambda body: str(body)[:50])
def test_what_is_no_answer_is_refused(reader, study, body):
    film = reader.part()["films"][0]["id"]
    found = reader.answer(film, body.get("answer", "healthy"), **{k: v for k, v in body.items() if k != "answer"})
    assert found.status_code == 422 and list(found.json()) == ["error"]
    assert not (study.folder / "answers" / "001.jsonl").exists()


def test_an_answer_needs_the_pages_token(reader):
    film = reader.part()["films"][0]["id"]
    reader.token = "wrong"
    assert reader.answer(film, "healthy").status_code == 403


def test_readers_do_not_see_each_others_films(study):
    app = build(read_study(study.folder))
    ada, ben = (Browser(app, link) for _, link in study.links)
    theirs = ben.part()["films"][0]["id"]
    assert ada.http.get(f"/film/{theirs}.png").status_code == 404
    ada.page()
    assert ada.answer(theirs, "healthy").status_code == 404


def everything(reader):
    """Every response that a reader of a part can get, by following what the pages name."""
    todo, found = ["/", "/read", "/api/part", "/favicon.ico", "/api", "/film/x.png"], {}
    while todo:
        path = todo.pop()
        if path in found:
            continue
        answer = found[path] = reader.http.get(path)
        if "image/png" in answer.headers["content-type"]:
            continue
        todo += re.findall(r'(?:href|src)="(/[^"]*)"', answer.text)
        if path == "/api/part":
            todo += [f"/film/{film['id']}.png" for film in answer.json()["films"]]
    return found


def test_nothing_in_the_blind_part_tells_what_the_study_is_about(reader):
    found = everything(reader)
    assert sum(path.startswith("/film/") and answer.status_code == 200 for path, answer in found.items()) == 9
    assert {"/static/study.css", "/static/reading.js", "/static/viewer.js", "/static/keys.js"} <= found.keys()
    for path, answer in found.items():
        if path.startswith("/film/") and answer.status_code == 200:
            continue
        text = answer.content + repr(sorted(answer.headers.items())).encode()
        assert not TELLING.search(text), (path, TELLING.search(text))
        assert "open" not in answer.text.lower() or path.startswith("/static/"), path


def test_no_cookie_and_no_refusal_names_the_tool(reader, study):
    http = reader.http
    refused = [http.get("/", headers={"Host": "other.example"}), http.post("/close/1"), http.get("/nothing"),
               http.put("/api/film/x", content=b"x" * 2_000_000), http.get("/film/x.png"), http.delete("/"),
               Browser(build(read_study(study.folder)), "/r/no-link").entered]
    assert [one.status_code for one in refused] == [421, 403, 404, 413, 404, 403, 404]
    cookies = [answer.headers["set-cookie"] for answer in (reader.entered, refused[-1])]
    shown = [one.content + repr(one.headers).encode() for one in (reader.entered, *refused)]
    for text in (*shown, *(base64.b64decode(one.split("=")[1].split(".")[0] + "==") for one in cookies)):
        assert not TELLING.search(text), text


def test_the_style_is_whole_without_the_words_that_tell():
    assert style().count("/*") == style().count("*/")  # of a comment that is taken out nothing stays
    text = re.sub(r"/\*.*?\*/", "", style(), flags=re.S)
    assert not TELLING.search(text.encode())
    assert text.count("{") == text.count("}")
    used, known = set(re.findall(r"var\((--[\w-]+)", text)), set(re.findall(r"(--[\w-]+):", text))
    assert used <= known
    own = (HERE / "static" / "study.css").read_text()
    shared = text.removesuffix(re.sub(r"/\*.*?\*/", "", own, flags=re.S))
    assert not {name for name in re.findall(r"\.(s-[\w-]+)", own) if f".{name}" in shared}  # no rule meets another's


def test_no_film_tells_by_its_answer_whether_it_is_forged(reader, study):
    truth, lists = read_truth(study.folder), read_study(study.folder).lists[0]
    for number, part in ((1, "blind"), (2, "open")):
        shown = {film.id: truth[film.film] for film in lists[part]}
        seen, facts = set(), set()
        for film in reader.part()["films"]:
            answer = reader.http.get(f"/film/{film['id']}.png")
            seen.add(repr(sorted((k, v) for k, v in answer.headers.items() if k != "date")))
            assert not {"etag", "last-modified"} & set(answer.headers)
            facts.add((tuple(film), film["width"], film["height"], len(film["id"]), len(answer.content)))
            assert answer.headers["cache-control"] == "no-store"
        assert {one.forged for one in shown.values()} == {True, False}
        assert len(seen) == len(facts) == 1
        finish(reader, number, "healthy" if number == 1 else "real")


def test_the_open_part_asks_but_does_not_tell(reader, study):
    finish(reader, 1, "healthy")
    truth = read_truth(study.folder)
    for path, answer in everything(reader).items():
        if "image/png" in answer.headers["content-type"]:
            continue
        text = answer.text + str(answer.headers)
        for one in truth.values():
            assert one.source not in text and (not one.method or one.method not in text), path
            assert one.box is None or str(list(one.box)) not in text
        assert "inject" not in text and "mask" not in text
    for film in read_study(study.folder).lists[0]["blind"]:
        assert reader.http.get(f"/film/{film.id}.png").status_code == 404


def test_truth_comes_when_the_study_is_closed_and_not_before(reader, study):
    finish(reader, 1, "unhealthy")
    names = [film.id for part in read_study(study.folder).lists[0].values() for film in part]
    assert {reader.http.get(f"/result/{name}.png").status_code for name in names} == {404}
    assert "it was" not in reader.page().text
    close(study.folder, "2026-01-01T00:00:00+00:00")
    film = read_study(study.folder).lists[0]["open"][0].id
    late = reader.answer(film, "fake")
    assert late.status_code == 409 and "closed" in late.json()["error"]
    text = reader.page().text
    assert "it was" in text and "fake: a lesion put in" in text and "called unhealthy" in text
    assert reader.http.get(f"/film/{film}.png").status_code == 200
    results = [reader.http.get(f"/result/{name}.png") for name in names]
    assert {(r.status_code, r.headers["content-type"]) for r in results} == {(200, "image/png")}


def test_a_full_disk_is_said_and_nothing_is_lost(reader, monkeypatch):
    film = reader.part()["films"][0]["id"]
    reader.answer(film, "healthy")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert reader.answer(film, "unhealthy").status_code == 507
    monkeypatch.undo()
    assert reader.part()["films"][0]["answer"] == "healthy"


def test_kill_9_after_each_answer_loses_none(study):
    import httpx

    link, given = study.links[0][1], {}
    for round_ in range(4):
        with served(study.folder) as (address, process), httpx.Client(base_url=address, timeout=120) as http:
            http.get(link)
            token = re.search(r'name="csrf" content="([^"]*)"', http.get("/").text)[1]
            part = http.get("/api/part").json()
            assert {f["id"]: f["answer"] for f in part["films"] if f["answer"]} == given
            assert round_ == 0 or part["at"] == last  # noqa: F821 - of the round before
            for film in part["films"][2 * round_:2 * round_ + 2]:
                last = film["id"]
                given[last] = ("healthy", "unhealthy")[len(given) % 2]
                assert http.put(f"/api/film/{last}", headers={"X-CSRF": token}, json={
                    "answer": given[last], "seconds": 1, "save": f"{last}-1"}).status_code == 200
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


def test_two_servers_of_one_study_are_refused(study, run):
    with served(study.folder):
        code, _, err = run("study", "serve", study.folder, "--port", 0)
    assert code == 2 and "served already" in err


@pytest.mark.parametrize(("options", "words"), [
    (("--host", "0.0.0.0"), "--cert"), (("--cert", "x.pem"), "belong together"),
    (("--cert", "x.pem", "--key", "y.pem"), "does not exist")], ids=str)
def test_the_network_needs_tls(study, run, options, words):
    code, _, err = run("study", "serve", study.folder, *options)
    assert code == 2 and words in err and len(err.splitlines()) == 1


def test_what_is_no_study_is_refused(tmp_path, run):
    for command in ("serve", "close", "report"):
        code, _, err = run("study", command, tmp_path)
        assert code == 2 and "holds no study.json" in err


def test_a_damaged_study_is_one_sentence(study, run):
    (study.folder / "study.json").write_text('{"version": 1}')
    code, _, err = run("study", "report", study.folder)
    assert code == 2 and len(err.splitlines()) == 1
    shutil.rmtree(study.folder)
