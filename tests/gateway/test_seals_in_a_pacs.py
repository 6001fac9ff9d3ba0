"""Seals as DICOM objects go into a real PACS beside the study, and come back out of it."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile

import pydicom
import pytest
from small import altered

from scanward.formats.key_object import read_key_object


@pytest.mark.parametrize("kind", ["ct", "film"])
def test_there_and_back_as_an_archive(run, key, dicom, orthanc, tmp_path, kind):
    images = dicom.ct(tmp_path / "images", 5) if kind == "ct" else [dicom.file(tmp_path / "images" / "a.dcm")]
    code, out, _ = run("seal", tmp_path / "images", "--key", key, "--dicom", "-o", tmp_path / "seals")
    assert code == 0
    orthanc.add(*images, *(tmp_path / "seals").glob("*.seal.dcm"))
    shutil.rmtree(tmp_path / "images")
    shutil.rmtree(tmp_path / "seals")
    (study,) = orthanc.get("/studies")
    with zipfile.ZipFile(io.BytesIO(orthanc.raw(f"/studies/{study}/archive"))) as archive:
        archive.extractall(tmp_path / "back")
    assert len(list((tmp_path / "back").rglob("*.dcm"))) == len(images) + 1
    code, out, err = run("verify", tmp_path / "back", "--key", key)
    assert (code, out.split(":")[0], err) == (0, "authentic", "")
    altered(next(one for one in (tmp_path / "back").rglob("*.dcm") if read_key_object(one) is None))
    code, out, _ = run("verify", tmp_path / "back", "--key", key)
    assert (code, out.split(":")[0]) == (1, "tampered")


@pytest.mark.needs("storescu")
def test_there_by_c_store_and_back_by_c_get(run, key, dicom, start_orthanc, tmp_path):
    from pynetdicom import AE, build_role, evt
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet

    orthanc, film = start_orthanc(DicomAlwaysAllowGet=True), dicom.file(tmp_path / "images" / "film.dcm")
    assert run("seal", film, "--key", key, "--dicom")[0] == 0
    files = [film, film.with_name("film.dcm.seal.dcm")]
    done = subprocess.run(["storescu", "-aec", orthanc.aet, "localhost", str(orthanc.dicom_port), *files], check=False)
    assert done.returncode == 0
    back = tmp_path / "back"
    back.mkdir()

    def keep(event):
        event.dataset.file_meta = event.file_meta
        event.dataset.save_as(back / event.request.AffectedSOPInstanceUID, enforce_file_format=True)
        return 0

    ae, classes = AE(), [pydicom.dcmread(path).SOPClassUID for path in files]
    for uid in classes:
        ae.add_requested_context(uid)
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    query = pydicom.Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", pydicom.dcmread(film).StudyInstanceUID
    link = ae.associate("127.0.0.1", orthanc.dicom_port, ae_title=orthanc.aet, evt_handlers=[(evt.EVT_C_STORE, keep)],
                        ext_neg=[build_role(uid, scp_role=True) for uid in classes])
    assert link.is_established
    list(link.send_c_get(query, StudyRootQueryRetrieveInformationModelGet))
    link.release()
    assert len(list(back.iterdir())) == 2
    code, out, err = run("verify", back, "--key", key)
    assert (code, out.split(":")[0], err) == (0, "authentic", "")


@pytest.mark.needs("openssl")
def test_signed_images_come_back_signed(run, dicom, orthanc, certificates, tmp_path):
    dicom.ct(tmp_path / "images", 4)
    pair = ("--signing-key", certificates.client_key, "--certificate", certificates.client_cert)
    code, out, _ = run("sign", tmp_path / "images", *pair, "-o", tmp_path / "signed")
    assert (code, len(out.splitlines())) == (0, 4)
    orthanc.add(*(tmp_path / "signed").iterdir())
    (study,) = orthanc.get("/studies")
    with zipfile.ZipFile(io.BytesIO(orthanc.raw(f"/studies/{study}/archive"))) as archive:
        archive.extractall(tmp_path / "back")
    code, out, _ = run("verify", tmp_path / "back", "--certificate", certificates.client_cert)
    assert (code, out.split(":")[0], "All 4 slices are what was signed" in out) == (0, "authentic", True)
    code, out, _ = run("verify", tmp_path / "back", "--certificate", certificates.other_cert)
    assert (code, out.split(":")[0]) == (3, "inconclusive")
    altered(next((tmp_path / "back").rglob("*.dcm")))
    code, out, _ = run("verify", tmp_path / "back", "--certificate", certificates.client_cert)
    assert (code, out.split(":")[0]) == (1, "tampered")
