"""Servers that answer what none should: nothing is lost without a word, and one bad object ends no run."""

import json
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from archives import listed
from objects import dicom_file
from pyarrow import parquet
from webserver import answering

from scanward.archive import patience
from scanward.archive.places import archive_of
from scanward.archive.unit import Login
from scanward.errors import ScanwardError

NAMES = [f"{n:08x}-00000000-00000000-00000000-00000000" for n in range(250)]
METHOD = ("--method", "copy-move", "--workers", 1)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server that answers what `paths` say: the body, or a status and headers besides; and its address."""
    monkeypatch.setattr(patience, "FIRST", 0.01)
    paths = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            answer = paths.get(path, (404, {}, b""))
            answer = answer(query) if callable(answer) else answer
            status, headers, body = answer if isinstance(answer, tuple) else (200, {}, answer)
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with answering(Handler) as server:
        paths["/system"], paths["/statistics"] = {}, {"CountSeries": 1}
        yield paths, f"orthanc:http://127.0.0.1:{server.server_port}", f"dicomweb:http://127.0.0.1:{server.server_port}"


def series(*numbers):
    return [{"ID": NAMES[n], "MainDicomTags": {"Modality": "MG"}, "Instances": [NAMES[n]]} for n in numbers]


def test_one_object_that_is_never_whole_ends_no_run(served, tmp_path, run):
    paths, url, _ = served
    film = dicom_file(tmp_path / "film.dcm").read_bytes()
    paths["/series"] = series(*range(6))
    kinds = [(200, {}, film), (302, {"Location": "http://192.0.2.1/steal"}, b""), (403, {}, b""),
             (200, {"Content-Encoding": "br"}, film), (500, {}, b""),
             (200, {"Content-Type": "multipart/related; boundary=x"}, b"--x\r\n\r\nwithout an end")]
    paths.update({f"/instances/{NAMES[n]}/file": one for n, one in enumerate(kinds)})
    code, _, _ = run("archive", url, "-o", tmp_path / "out", *METHOD)
    said = [row["error"] or "judged" for row in rows_of(tmp_path / "out")]
    assert code == 2 and len(said) == listed(tmp_path / "out") == 6
    for words in ("judged", "points to another address", "refused the user", "packs its answer", "HTTP 500",
                  "cut short"):
        assert sum(words in one for one in said) == 1, said


def rows_of(out):
    return parquet.read_table(out / "answers").to_pylist()


def test_a_server_that_refuses_everything_ends_the_run(served, tmp_path, run):
    paths, url, _ = served
    asked = threading.Event()

    def system(query):
        return (401, {}, b"") if asked.is_set() else {}

    def gone(query):
        asked.set()
        return 401, {}, b""

    paths.update({"/system": system, "/series": series(0, 1), f"/instances/{NAMES[0]}/file": gone,
                  f"/instances/{NAMES[1]}/file": gone})
    code, _, err = run("archive", url, "-o", tmp_path / "out", *METHOD)
    assert code == 2 and "refused the user or the password" in err and err.count("\n") == 1
    assert not list((tmp_path / "out" / "answers").glob("*.parquet"))


@pytest.mark.parametrize(("answer", "words"), [
    ([{"ID": "../../system", "Instances": []}], "names a series as Orthanc does not"),
    ([{"ID": NAMES[0], "Instances": ["x?y"]}], "names a series as Orthanc does not"),
    ([7], "names a series as Orthanc does not"), ([{"ID": NAMES[0], "Instances": 5}], "as Orthanc does not"),
    ({}, "no list of series"), (b"<html>", "what is no JSON"),
    (series(*range(100)), "the same series again and again")])
def test_a_list_that_is_none_ends_the_run_with_a_sentence(served, tmp_path, monkeypatch, answer, words):
    paths, url, _ = served
    monkeypatch.setattr(patience.patient, "__defaults__", (0.0,))
    paths["/series"] = answer
    with pytest.raises(ScanwardError, match=words):
        list(archive_of(url, Login()).listed(None, tmp_path))


def test_what_cannot_be_asked_for_has_a_row(served, tmp_path, run):
    """Names that are no UIDs, which would be parts of addresses."""
    paths, _, url = served

    def named(tag, uid, **more):
        return {tag: {"vr": "UI", "Value": [uid]}, **more}

    film = {"00080060": {"vr": "CS", "Value": ["MG"]}}
    paths.update({
        "/studies": [named("0020000D", "1.2"), named("0020000D", "../../secret"), {}],
        "/studies/1.2/series": [named("0020000E", "1.2.3", **film), named("0020000E", "a", **film)],
        "/studies/1.2/series/1.2.3/instances": [named("00080018", "1.2.3.4"), named("00080018", "1.2.3.x")],
        "/studies/1.2/series/1.2.3/instances/1.2.3.4": dicom_file(tmp_path / "film.dcm").read_bytes()})
    code, _, _ = run("archive", url, "-o", tmp_path / "out", *METHOD)
    found = rows_of(tmp_path / "out")
    assert code == 2 and len(found) == 5
    assert sum(row["error"] is None for row in found) == 1
    for name in ("../../secret", "no UID", "1.2/a", "1.2/1.2.3/1.2.3.x"):
        assert sum(f"names {name}," in (row["error"] or "") for row in found) == 1, name
