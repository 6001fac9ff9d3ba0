"""A real Orthanc as an archive, by its own interface and by DICOMweb, through a front that fails one time in ten."""

import json
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler
from itertools import count

import pytest
from archives import listed, rows
from objects import ct_files, dicom_file
from webserver import answering

from scanward.archive.servers import OrthancServer
from scanward.archive.unit import Unit
from scanward.errors import UnreadableError


@pytest.fixture
def front(orthanc):
    """Passes requests on, and breaks down over every tenth."""
    asked = count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if next(asked) % 10 == 0:
                self._answer(500, {}, b"")
                return
            request = urllib.request.Request(orthanc.http + self.path, headers={"Accept": self.headers["Accept"]})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self._answer(answer.status, dict(answer.headers), answer.read())
            except urllib.error.HTTPError as error:
                self._answer(error.code, {}, b"")

        def _answer(self, status, headers, body):
            self.send_response(status)
            self.send_header("Content-Type", headers.get("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with answering(Handler) as server:
        server.asked = asked
        yield server


@pytest.mark.parametrize("kind", ["orthanc", "dicomweb"])
def test_everything_on_a_server_is_answered_once(orthanc, front, kind, tmp_path, run):
    chest = ct_files(tmp_path / "ct", 4, StudyDate="20200131")
    films = [dicom_file(tmp_path / f"{n}.dcm", seed=n) for n in range(2)]
    brain = dicom_file(tmp_path / "mr.dcm", Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4")
    orthanc.add(*chest, *films, brain)
    url = f"{kind}:http://127.0.0.1:{front.server_port}{'/dicom-web' if kind == 'dicomweb' else ''}"
    asked = ("archive", url, "-o", tmp_path / "out", "--method", "copy-move", "--workers", 1)
    code, printed, err = run(*asked)
    found = list(rows(tmp_path / "out").values())
    assert len(found) == listed(tmp_path / "out") == 4 and "4 images" in printed, err
    assert sorted((row["files"], row["error"] is not None) for row in found if row["label"] != "unscanned") == \
        [(1, False), (1, False), (4, True)], "copy-move judges films alone"
    chest = next(row for row in found if row["files"] == 4)
    assert chest["study_date"].isoformat() == "2020-01-31" and len(chest["slices"]) == 4
    brain = next(row for row in found if row["label"] == "unscanned")
    assert "modality MR" in brain["reason"] and brain["error"] is None
    assert all(row["path"].startswith(url.removeprefix(f"{kind}:")) for row in found)
    assert "/tmp" not in json.dumps([[row["reason"], row["error"]] for row in found]), "it is gone from there"
    assert code == 2
    before = next(front.asked)
    assert run(*asked)[0] == 2 and next(front.asked) <= before + 3, "no more is asked than whether it is there"


@pytest.mark.parametrize(("host", "words"), [("127.0.0.1:1", "cannot be reached"), ("127.0.0.1:1\udc80", "address")])
def test_a_server_that_nobody_finds_is_told_at_once(tmp_path, run, host, words):
    code, _, err = run("archive", f"orthanc:http://{host}", "-o", tmp_path / "out", "--workers", 1)
    assert code == 2 and words in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_what_was_deleted_after_it_was_listed_is_named(orthanc):
    gone = "-".join(["0" * 8] * 5)
    with pytest.raises(UnreadableError, match=f"{orthanc.http}/instances/{gone}/file is not there any more"), \
            OrthancServer(orthanc.http).fetched(Unit((gone,), 1)):
        pass
