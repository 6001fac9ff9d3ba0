"""The address of a study in another viewer, whatever its header says."""

import pytest

from scanward.inbox.record import StudyRecord
from scanward.review.links import elsewhere


@pytest.mark.parametrize(("template", "patient", "address"), [
    ("/ohif/{patient}/{accession}", "P 1/2", "/ohif/P%201%2F2/A1"),
    ("https://ohif.hospital/viewer?id={patient}&n={accession}", "..", "https://ohif.hospital/viewer?id=..&n=A1"),
    ("/ohif/{patient}/{accession}", "..", ""), ("/ohif/{patient}?n={accession}", ".", ""),
    ("https://ohif.hospital/a/{patient}", "..", ""), ("/ohif/{patient}", "...", "/ohif/..."),
    ("/ohif/{patient}", "", "")])
def test_no_header_leads_to_another_page_than_the_settings_name(template, patient, address):
    assert elsewhere(template, StudyRecord(patient_id=patient, accession="A1", study_uid="1.2")) == address
