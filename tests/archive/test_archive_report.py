"""`scanward archive report` as its reader, a browser and a forger meet it."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import accessible
import made_answers as made
import pytest
from outside import program

NASTY = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>\u202egpj"

OLD = "<!DOCTYPE html><title>Archive report</title>old"


class Page(HTMLParser):
    """Tags, and the words outside of the style."""

    def __init__(self, path: Path):
        super().__init__()
        self.raw, self.tags, self._words, self._style = path.read_text("utf-8"), [], [], False
        self.feed(self.raw)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag):
        self._style = self._style and tag != "style"

    def handle_data(self, data):
        if not self._style:
            self._words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._words).split())

    def part(self, name: str) -> str:
        """The text from one heading to the end of its part."""
        section = re.search(rf'<h2 id="{name}">.*?</section>', self.raw, re.DOTALL)
        return " ".join(re.sub(r"<[^>]*>", " ", section[0]).split())


def three_hundred(out: Path, **run) -> Path:
    """Alarms in one site of three, a repeat, errors, and what was set aside."""
    rows = []
    for i in range(300):
        label = "tampered" if i % 30 == 4 else "inconclusive" if i % 50 == 9 else "authentic"
        other = {}
        if i % 20 == 6:
            other = {"modality": "CT", "files": 120, "path": f"ct/{i}/slice-001.dcm",
                     "slices": tuple(f"{i * 1000 + s if s else 7:032x}" for s in range(4))}
        if i in (100, 101, 102):
            label, other = "inconclusive", {"score": None, "error": f"{made.row(i).path} is cut short; copy it again."}
        if i in (60, 90):
            other = {"content": "f" * 32}
        if i == 200:
            label, other = "inconclusive", {"score": None, "error": "It hangs.", "attempts": 2, "aside": True}
        rows.append(made.row(i, label, **other))
    made.run(out, rows[:64], rows[64:], **run)
    for one in rows:
        if one.label == "tampered":
            made.picture(out, one.unit, 500)
    return out


def test_a_page_says_what_came_of_a_run(run, tmp_path):
    out = three_hundred(tmp_path)
    code, said, told = run("archive", "report", out)
    assert code == 0 and told == f"Report: {out / 'report.html'}\n"
    assert said == ("300 of 300 images listed are answered: 10 tampered, 10 inconclusive, 280 authentic, 0 unscanned; "
                    "4 errors.\n")
    page = Page(out / "report.html")
    assert "The run is over." in page.text
    assert "MG 285 10 10 265 0 4 CT 15 0 0 15 0 0 All 300 10 10 280 0 4" in page.part("answers")
    # studies 1, 16, 31, … of 75: every one of the three scanners' in its turn has alarms or none
    assert page.part("scanner").count("FUJIFILM Corporation AMULET") == 1
    assert re.search(r"self-reference 10 296 6 3\.38 % \(1\.\d\d–6\.\d\d\)", page.part("kind"))
    assert "One image in several studies 1 content, 2 images. As a rule a copy without names" in page.part("repeats")
    assert "Slices in several series 1 set of slices is each in more than one series." in page.part("repeats")
    assert "… is cut short; copy it again. ? inconclusive 3 025/25/film-100.dcm" in page.part("errors")
    assert "1 image was set aside" in page.part("answers")
    assert "050/50/film-200.dcm 2 It hangs." in page.part("errors")
    assert "by 2 processes" in page.part("cost") and "MG 285" in page.part("cost")


def test_the_worst_come_first_with_picture_score_reason_and_path(run, tmp_path):
    out = three_hundred(tmp_path)
    assert run("archive", "report", out, "-q") == (0, "", "")
    page = Page(out / "report.html")
    scores = [float(text) for text in re.findall(r'<span class="number">(0\.\d{3}) <small>', page.raw)]
    assert len(scores) == 10 and scores == sorted(scores, reverse=True) and scores[0] == 0.978
    pictures = [values for tag, values in page.tags if tag == "img"]
    assert len(pictures) == 10 and all(p["src"].startswith("data:image/jpeg;base64,") for p in pictures)
    assert {(p["width"], p["height"]) for p in pictures} == {("420", "420")}
    assert "1. 23/film-94.dcm ▲ tampered 0.978 / 0.50 MG self-reference Grain here is not that of the rest." \
        in page.part("worst")
    assert "023/23/film-94.dcm" in page.part("worst")


def test_what_to_look_at_first_is_said_first(run, tmp_path):
    rows = [made.row(i, "tampered" if i % 4 == 0 else "authentic") for i in range(80)]
    rows[8] = made.row(8, "tampered", kinds=("seal", "file"), score=0.501, reason="It was altered in one place.")
    rows[9] = made.row(9, sop_uid=rows[10].sop_uid)
    rows[11] = made.row(11, "inconclusive", error="It hangs.", aside=True)
    run("archive", "report", made.run(tmp_path, rows))
    page = Page(tmp_path / "report.html")
    answers, worst = page.part("answers"), page.part("worst")
    assert "20 alarms among 79 judged images; 1 by a seal or the file itself , which is proof" in answers
    assert "1 SOP Instance UID with different pixels : one of the images was changed or swapped." in answers
    assert "1 error , 1 of them set aside: nobody has judged these images" in answers
    assert "1. 2/film-8.dcm ▲ tampered 0.501" in worst
    assert re.search(r" 12\. \d+/film", worst.split("The other 8")[0])
    assert re.search(r" 13\. \d+/film", worst.split("The other 8")[1])
    assert page.text.index("The worst") < page.text.index("Alarms by s")
    run("archive", "report", made.run(tmp_path / "clean", [made.row(i) for i in range(8)]))
    clean = Page(tmp_path / "clean" / "report.html").part("answers")
    assert clean.startswith("Answers 0 alarms among 8 judged images. Modality"), clean


def test_what_nobody_looked_at_is_listed(run, tmp_path):
    hidden = "It is hidden: its name begins with a dot."
    rows = [made.row(i, "unscanned", reason=hidden, path=f"ward/.film-{i:02}.png") for i in range(11)]
    lungs = "ward/lung.dcm is a CT volume that shows no lungs."
    rows += [made.row(20, "unscanned", reason=lungs, path="ward/lung.dcm"),
             made.row(21, "unscanned", reason="It is packed.", path="ward/exam.zip"), made.row(22),
             made.row(23, "unscanned", reason="", error="ward/x.dcm may not be read.", path="ward/x.dcm")]
    run("archive", "report", made.run(tmp_path, rows))
    page = Page(tmp_path / "report.html")
    assert "13 files not looked at : who puts a dot before a name, or packs an image, hides it" in page.part("answers")
    listed = page.part("unscanned")
    assert f"{hidden} 11 ward/.film-00.png ward/.film-01.png" in listed and "ward/.film-07.png and 3 more" in listed
    assert "It is packed. 1 ward/exam.zip … is a CT volume that shows no lungs. 1 ward/lung.dcm" in listed
    assert "ward/x.dcm" not in listed and "ward/x.dcm" in page.part("errors")
    run("archive", "report", made.run(tmp_path / "all", [made.row(0)]))
    page = Page(tmp_path / "all" / "report.html")
    assert page.part("unscanned").endswith("None.") and "looked at" not in page.part("answers")


def test_a_run_that_goes_on_says_how_far_it_is(run, tmp_path):
    out = made.run(tmp_path, [made.row(i) for i in range(120)], listed=240, complete=False)
    code, said, _ = run("archive", "report", out, "-o", tmp_path / "new" / "page.html")
    assert code == 0 and said.startswith("120 of 240 images listed so far are answered")
    page = Page(tmp_path / "new" / "page.html")
    assert "120 of 240 images listed so far are answered. The listing goes on." in page.text
    # 120 in the 59 seconds from the first answer to the last
    assert "2.03 images a second over 59 s. At this rate what is listed so far takes 59 s more." in page.part("cost")
    assert "There is no alarm." in page.part("worst")
    assert not (tmp_path / "report.html").exists()


def test_a_site_above_the_others_is_marked(run, tmp_path):
    # Harbour Clinic is every fourth study: 20 of its 25 studies against 1 of 75
    rows = [made.row(4 * i, "tampered" if (i % 4 == 3 and i < 80) or i == 1 else "authentic") for i in range(100)]
    run("archive", "report", made.run(tmp_path, rows))
    site = Page(tmp_path / "report.html").part("site")
    assert re.search(r"Harbour Clinic ROOM3 20 25 0 80\.0 % \(60\.\d–91\.\d\) ▲ above the others", site)
    assert site.count("above the others") == 1


def test_copies_of_one_alarm_are_one_case_and_mark_no_site(run, tmp_path):
    rows = [made.row(4 * i, "tampered" if i % 4 == 3 and i < 80 else "authentic",
                     **({"content": "a" * 32} if i % 4 == 3 else {})) for i in range(100)]
    run("archive", "report", made.run(tmp_path, rows))
    site = Page(tmp_path / "report.html").part("site")
    assert "Harbour Clinic ROOM3 20 25 0 80.0 %" in site and "above the others" not in site
    answers = Page(tmp_path / "report.html").part("answers")
    assert "20 alarms among 100 judged images, 1 image and copies of it; look at the worst first" in answers


def test_hostile_text_stays_text(run, tmp_path):
    row = made.row(1, "tampered", path=NASTY + ".dcm", reason=NASTY, kinds=(NASTY,), manufacturer=NASTY, model=NASTY,
                   station=NASTY, institution=NASTY + "x" * 5000, modality=NASTY, source=NASTY)
    error = made.row(2, "inconclusive", error=f"{NASTY} is cut short.", content="1" * 32, study_uid=NASTY, aside=True)
    same = made.row(9, "authentic", content="1" * 32, path=NASTY)
    out = made.run(tmp_path, [row, error, same])
    (out / "run.json").write_text(json.dumps({"format": made.FORMAT, "terms": {"source": NASTY, "method": 7}}))
    assert run("archive", "report", out)[0] == 0
    page = Page(out / "report.html")
    assert not [tag for tag, values in page.tags if tag in ("script", "img") or any(n.startswith("on") for n in values)]
    assert page.text.count("<script>alert('x')</script>") >= 9
    assert "\u202e" not in page.raw and "x" * 300 not in page.raw


def test_pictures_that_are_none_are_left_out(run, tmp_path):
    rows = [made.row(i, "tampered") for i in range(5)]
    out = made.run(tmp_path, rows)
    bomb = made.picture(out, rows[0].unit)
    data = bytearray(bomb.read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    bomb.write_bytes(data)
    made.picture(out, rows[1].unit).write_bytes(b"\x89PNG")
    made.picture(out, rows[2].unit).write_bytes(b"")
    pipe = made.picture(out, rows[3].unit)
    pipe.unlink()
    os.mkfifo(pipe)
    assert run("archive", "report", out)[0] == 0
    page = Page(out / "report.html")
    assert page.part("worst").count("No picture was kept.") == 5


def _no_run(out):
    out.mkdir()


def _no_answers(out):
    made.run(out)


def _cut(out):
    path = made.part_path(made.run(out, [made.row(i) for i in range(50)]), 0)
    path.write_bytes(path.read_bytes()[:-40])


def _flipped(out):
    path = made.part_path(made.run(out, [made.row(i) for i in range(50)], [made.row(60)]), 0)
    data = bytearray(path.read_bytes())
    data[4:len(data) // 2] = bytes(len(data) // 2 - 4)
    path.write_bytes(data)


def _foreign(out):
    import pyarrow as pa

    made.run(out, [made.row(0)])
    pa.parquet.write_table(pa.table({"unit": ["a"], "label": [1]}), made.part_path(out, 1))


def _text(out):
    made.part_path(made.run(out), 0).write_text("no Parquet")


def _listing(out):
    (made.run(out, [made.row(0)]) / "listing" / "complete").write_text("{")


@pytest.mark.parametrize(("spoil", "words"), [
    (_no_run, "holds no run of `scanward archive`; name the folder that it writes to."),
    (_no_answers, "holds no answers yet; wait for the first batch, or start the run again."),
    (_cut, r"part-00000000\.parquet is damaged \(.*\); delete it, and the same `scanward archive` command"),
    (_flipped, r"part-00000000\.parquet is damaged \(.*\); delete it"),
    (_text, r"part-00000000\.parquet is damaged \(.*\); delete it"),
    (_foreign, r"part-00000001\.parquet was not written by this version of `scanward archive` \(path is missing where"),
    (_listing, "The listing in .* is damaged; begin anew in another folder."),
], ids=lambda value: getattr(value, "__name__", ""))
def test_what_cannot_be_read_is_one_sentence_and_the_old_page_stays(run, tmp_path, spoil, words):
    out = tmp_path / "out"
    spoil(out)
    (out / "report.html").write_text(OLD)
    code, said, told = run("archive", "report", out)
    assert (code, said, told.count("\n")) == (2, "", 1)
    assert re.search(words, told), told
    assert "Traceback" not in told and (out / "report.html").read_text() == OLD
    assert not list(out.glob(".scanward-*"))


def test_a_folder_that_is_none(run, tmp_path):
    code, _, told = run("archive", "report", tmp_path / "missing")
    assert code == 2 and "holds no run" in told


@pytest.mark.parametrize("name", ["report.html", "film.png", "answers/part-00000001.parquet", "listing/x", "link.html"])
def test_a_page_takes_no_name_of_something_else(run, tmp_path, name):
    out = made.run(tmp_path, [made.row(0)])
    for taken in ("report.html", "film.png", "aim.html"):
        (out / taken).write_text("<html><title>Scanward report</title>")
    (out / "link.html").symlink_to(out / "aim.html")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code, said, told = run("archive", "report", out, *([] if name == "report.html" else ["-o", out / name]))
    assert (code, said, told.count("\n")) == (2, "", 1)
    assert "is no page of an archive and is not overwritten" in told or "lie among the run's own files" in told
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert run("archive", "report", out, "-o", out / "new.html", "-q") == (0, "", "")
    assert run("archive", "report", out, "-o", out / "new.html", "-q") == (0, "", ""), "an earlier page is replaced"


@pytest.mark.needs("chromium")
def test_it_fits_a_browser_and_everybody_can_read_it(run, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    out = three_hundred(tmp_path, listed=500, complete=False)
    long = made.row(300, "tampered", path="x" * 900, manufacturer="M" * 300, model=NASTY, reason="r" * 500)
    made.write_part(out, 2, [long])
    assert run("archive", "report", out)[0] == 0
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        for width, scheme in ((1280, "light"), (390, "dark")):
            view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            said, asked = [], []
            view.on("console", lambda message, said=said: said.append(message.text))
            view.on("request", lambda request, asked=asked: asked.append(request.url))
            view.goto((out / "report.html").as_uri())
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert view.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            assert said == [] and [url for url in asked if not url.startswith(("data:", "file:"))] == []
            assert accessible.violations(view) == []
        assert accessible.untabbed(view) == []
        browser.close()


def test_a_hundred_times_the_rows_take_no_more_memory_than_duckdb_may_have(tmp_path):
    made.many(200_000, tmp_path / "out", slices=4)
    script = ("import resource, sys; from pathlib import Path; from scanward.archive import reading\n"
              "from scanward.archive.report import write_archive_report\n"
              "reading.MEMORY = '100MB'\n"
              "with reading.Answers(Path(sys.argv[1])) as answers:\n"
              "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
              "    print(write_archive_report(answers, Path(sys.argv[1], 'r.html')))\n"
              "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)")
    said, grown = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=True, text=True,
                                 capture_output=True).stdout.splitlines()
    assert said.startswith("200,000 of 200,000 images listed are answered: ")
    assert int(grown) < 200_000  # KB; as Python's objects the rows are most of a gigabyte
    shutil.rmtree(tmp_path / "out")
