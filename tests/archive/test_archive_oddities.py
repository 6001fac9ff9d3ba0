"""What the file witness heard, on the page of an archive."""

import json

import made_answers as made
import pytest
from test_archive_report import NASTY, Page


def heard(*facts, label="inconclusive"):
    """The evidence of a row: facts of (name, sentence, weight), and a detector's."""
    said = [{"name": name, "says": says, "harmless": weight == 0, "weight": weight} for name, says, weight in facts]
    return json.dumps([{"method": "ct-self-reference", "label": "inconclusive", "facts": None},
                       {"method": "file", "label": label, "reason": "", "facts": {"facts": said}}])


def series(i, evidence="[]", label="inconclusive", **other):
    return made.row(i, label, modality="CT", files=40, evidence=evidence, reason="Its slices lie 5 mm apart.", **other)


TWO = heard(("written by", "It was written last by dcm4che.", 0),
            ("odd value", "Slice 5 says another PatientID than the others.", 1.88),
            ("odd value", "Slice 5 says another PatientName than the others.", 1.88),
            ("odd value", "Slice 5 says another StudyDate than the others.", 1.88))
KERNEL = heard(("odd value", "Slice 5 says another ManufacturerModelName than the others.", 1.88),
               ("odd value", "Slice 5 says another ConvolutionKernel than the others (B70f, not B30f).", 1.88))


def test_two_patients_in_a_series_are_said_first_and_not_drowned_among_thick_slices(run, tmp_path):
    rows = [series(i) for i in range(60)]
    rows[17], rows[41] = series(17, TWO, path="ct/swapped/000.dcm"), series(41, KERNEL, path="ct/kernel/000.dcm")
    code, said, _ = run("archive", "report", made.run(tmp_path, rows))
    assert code == 0 and said.endswith("0 errors; 2 odd by header or file.\n")
    page = Page(tmp_path / "report.html")
    assert ("2 odd files or series , which no heat map shows: slices name two patients (1), slices name two scanners "
            "or sites (1), slices name two studies or dates (1), some slices say otherwise how they were made (1)."
            ) in page.part("answers")
    odd = page.part("odd")
    assert ("Slices name two patients: 1 Image or series Answer What was heard ct/swapped/000.dcm ? inconclusive Slice "
            "5 says another PatientID than the others. Slice 5 says another PatientName than the others. Slices") in odd
    assert "made: 1 Image or series Answer What was heard ct/kernel/000.dcm ? inconclusive Slice 5 says another " \
        "ConvolutionKernel than the others (B70f, not B30f)." in odd
    assert "dcm4che" not in odd and made.row(3).path not in odd


def test_proof_comes_first_and_the_many_are_counted(run, tmp_path):
    rows = [series(i, heard(("jump", f"Slice {i} shows another anatomy.", 1.96))) for i in range(25)]
    rows.append(series(30, heard(("same values", "It holds the values of another patient's image.", 1.12),
                                 label="tampered"), "tampered"))
    rows.append(series(31, heard(("air", "Air is odd.", 0.27), label="authentic"), "authentic"))
    rows.append(series(32, heard(("something new", "It is new.", 1.5))))
    run("archive", "report", made.run(tmp_path, rows))
    odd = Page(tmp_path / "report.html").part("odd")
    assert odd.index("Two patients have one image: 1") < odd.index("neighbours: 25") < odd.index("something new: 1")
    assert odd.count("shows another anatomy") == 10 and "15 more." in odd and "Air is odd" not in odd
    assert "27 odd files" in Page(tmp_path / "report.html").part("answers")


@pytest.mark.parametrize("name", [NASTY, "odd value"])
def test_what_a_header_says_stays_text(run, tmp_path, name):
    out = made.run(tmp_path, [series(1, heard((name, NASTY * 40, 2.0)), path=NASTY)])
    assert run("archive", "report", out)[0] == 0
    page = Page(out / "report.html")
    assert not [tag for tag, _ in page.tags if tag in ("script", "img")]
    assert "<script>alert('x')</script>" in page.part("odd").replace("&lt;", "<").replace("&gt;", ">").replace(
        "&#39;", "'") and "\u202e" not in page.raw


def test_a_page_without_odd_files_says_so(run, tmp_path):
    run("archive", "report", made.run(tmp_path, [made.row(i) for i in range(8)]))
    page = Page(tmp_path / "report.html")
    assert page.part("odd").endswith("None.") and "odd file" not in page.part("answers")
