"""The report as its reader and a browser meet it."""

import base64
import dataclasses
import itertools
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import chest_cases
import cv2
import numpy as np
import pytest
from outside import program

from scanward import weights
from scanward.box import Box
from scanward.errors import ArgumentError
from scanward.image import Image, Provenance
from scanward.report.html import Case, render_card, write_report
from scanward.verdict import Evidence, Finding, Verdict

SHA = "0123456789abcdef" * 4
NASTY = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>.dcm"


def case(name="film.dcm", label="tampered", truth=False, spacing=(1.0, 0.1, 0.1), **verdict_fields) -> Case:
    plane = np.random.default_rng(1).normal(9000, 900, (1, 120, 100)).astype(np.float32)
    provenance = Provenance(Path("/secret/ward/Roe_Jane_19500131.dcm"), "dicom", "1.2.3.4.5.6789", "1.2.3.4.5",
                            manufacturer="Films & Co")
    image = Image(plane, "MG", spacing, provenance=provenance)
    hot = np.zeros(image.shape, np.float32)
    found = ()
    if label == "tampered":
        hot[0, 40:70, 20:60] = 0.9
        box = Box(0, 40, 20, 1, 70, 60)
        found = (Finding(box, 0.9, box.in_mm(spacing), method="self-reference"),)
    reason = "The image shows no grain." if label == "inconclusive" else ""
    evidence = Evidence("self-reference", 0.81, 0.62, hot, 0.5, found, label != "inconclusive", reason, SHA, 2.25)
    fields = {"version": "0.1.0", "weights_sha256": SHA, "parameters": {"detectors": ["self-reference"]},
              "seconds": 3.14} | verdict_fields
    answer = Verdict(0.87, 0.5, label, hot, found, (evidence,), "default", "MG", provenance, **fields)
    return Case(name, image, answer, hot > 0 if truth else None, "What happened.")


class Page(HTMLParser):
    """Tags with attributes, and the text outside of style and script."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.words, self._open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not {"style", "script"} & set(self._open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(tmp_path, *cases, title="A report") -> Page:
    path = write_report(cases, tmp_path / "report.html", title)
    parsed = Page(path.read_text(encoding="utf-8"))
    assert parsed._open == []
    return parsed


def test_a_score_that_is_neither_is_shown_and_explained(tmp_path):
    plain = case("a.dcm", "authentic")
    evidence = dataclasses.replace(plain.verdict.evidence[0], score=0.6, doubt=0.5)
    answer = dataclasses.replace(plain.verdict, label="inconclusive", score=0.48, evidence=(evidence,))
    text = page(tmp_path, dataclasses.replace(plain, verdict=answer)).text
    for words in ("INCONCLUSIVE", "not enough for an alarm", "In doubt", "0.48 / 0.50", "0.60 / 0.62"):
        assert words in text
    assert "cannot be told" not in text and "not scored" not in text


def test_summary_says_in_words_what_was_found(tmp_path):
    text = page(tmp_path, case("a.dcm"), case("b.dcm", "authentic"), case("c.dcm", "inconclusive")).text
    for words in ("a.dcm", "▲ TAMPERED", "b.dcm", "✓ AUTHENTIC: nothing found", "c.dcm", "? INCONCLUSIVE",
                  "4.0 × 3.0 mm, centre 4 mm right, 6 mm down", "3 images: 1 tampered, 1 with nothing found, "
                  "1 inconclusive", "The image shows no grain.", "0.87 / 0.50", "3.1 s"):
        assert words in text, words


def test_places_are_in_pixels_where_the_spacing_is_unknown(tmp_path):
    assert "40 × 30 px, centre 40 px right, 55 px down" in page(tmp_path, case(spacing=None)).text


def test_hostile_names_stay_text(tmp_path):
    hostile = dataclasses.replace(case(NASTY), caption=NASTY)
    evidence = dataclasses.replace(hostile.verdict.evidence[0], reason=NASTY)
    verdict = dataclasses.replace(hostile.verdict, evidence=(evidence,), parameters={NASTY: NASTY}, version=NASTY)
    parsed = page(tmp_path, dataclasses.replace(hostile, verdict=verdict), title=NASTY)
    assert len(parsed.all("script")) == 1
    assert all(src.startswith("data:image/") for src in (i["src"] for i in parsed.all("img")))
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert parsed.text.count("<script>alert('x')</script>") >= 5


def test_names_that_are_no_unicode_do_not_stop_the_report(tmp_path):
    name = b"film-\xff.dcm".decode("utf-8", "surrogateescape")
    assert "film-?.dcm" in page(tmp_path, case(name)).text


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    parsed = page(tmp_path, case(truth=True))
    raw = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|<link|<iframe", raw)
    assert all(a["href"].startswith("#") for a in parsed.all("a"))
    policy = next(m["content"] for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_no_patient_path_or_uid_is_in_it(tmp_path):
    page(tmp_path, case())
    raw = (tmp_path / "report.html").read_text(encoding="utf-8")
    for secret in ("Roe", "19500131", "/secret", "1.2.3.4.5"):
        assert secret not in raw


def test_pictures_are_small_and_described(tmp_path):
    big = case(truth=True)
    image = Image(np.zeros((1, 2400, 1900), np.float32), "MG")
    verdict = dataclasses.replace(big.verdict, heat=np.zeros(image.shape, np.float32), evidence=(), findings=())
    parsed = page(tmp_path, big, Case("big.png", image, verdict))
    sizes = []
    for picture in parsed.all("img"):
        assert "alt" in picture
        data = base64.b64decode(picture["src"].split(",")[1])
        sizes.append(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).shape[1])
    assert max(sizes) == 900
    assert any("film.dcm" in p["alt"] for p in parsed.all("img"))


def test_truth_is_shown_only_where_it_is_known(tmp_path):
    assert "Truth" in page(tmp_path, case(truth=True)).text
    assert "Truth" not in page(tmp_path, case()).text


def test_method_says_what_it_was_trained_on(tmp_path, monkeypatch):
    entry = weights.Entry("self-reference", "x.safetensors", SHA, 1, "mini-MIAS, 90 films", "research use only", "-")
    monkeypatch.setattr(weights, "manifest", lambda: {"self-reference": entry})
    text = page(tmp_path, case()).text
    assert "mini-MIAS, 90 films" in text and "research use only" in text and "weights SHA-256 0123456789ab…" in text


def test_reading_aid_is_there(tmp_path):
    text = page(tmp_path, case()).text
    assert "The score is not a probability" in text
    assert "“Nothing found” is not proof." in text
    assert "Research use only." in text


def test_headings_and_tables_are_semantic(tmp_path):
    parsed = page(tmp_path, case())
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert all(th.get("scope") in ("col", "row") for th in parsed.all("th"))
    assert parsed.all("html")[0]["lang"] == "en"
    ids = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_cards_can_be_made_one_by_one(tmp_path):
    cards = [render_card(case("a.dcm")), render_card(case("b.dcm", "authentic"))]
    write_report(cards, tmp_path / "cards.html", "T")
    write_report([case("a.dcm"), case("b.dcm", "authentic")], tmp_path / "cases.html", "T")
    assert (tmp_path / "cards.html").read_bytes() == (tmp_path / "cases.html").read_bytes()


def test_an_empty_report_is_a_page(tmp_path):
    assert "0 images" in page(tmp_path).text


def test_an_interrupted_report_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")

    class Interrupting(list):
        def __iter__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(Interrupting(), path, "T")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be written"):
        write_report([], tmp_path / "file" / "report.html", "T")


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_colours_meet_wcag_aa(scheme):
    source = files("scanward.report").joinpath("page.css").read_text(encoding="utf-8")
    block = re.findall(r":root\{(.*?)\}", source, re.DOTALL)[scheme]
    colours = {k: v if len(v) == 7 else "#" + "".join(2 * c for c in v[1:])
               for k, v in re.findall(r"--([\w-]+):(#[0-9a-f]+)", block)}
    labels = ("tampered", "authentic", "inconclusive")
    pairs = [(ink, back) for ink in ("ink", "soft", "link") for back in ("page", "panel")]
    pairs += [(label, f"{label}-back") for label in labels]
    for ink, back in pairs:
        light, dark = sorted((luminance(colours[ink]), luminance(colours[back])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, back)


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_a_browser_and_its_slider_fades_the_heat(tmp_path, width):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    long_name = "mammogram_" + "x" * 120 + ".dcm"
    write_report([case(truth=True), case(long_name, "authentic"), case("c", "inconclusive"),
                  chest_cases.case()], tmp_path / "r.html", "T")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900})
        said, asked = [], []
        view.on("console", lambda message: said.append(message.text))
        view.on("request", lambda request: asked.append(request.url))
        view.goto((tmp_path / "r.html").as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        opacity = "getComputedStyle(document.querySelector('.heat')).opacity"
        assert view.evaluate(opacity) == "1"
        view.locator(".fade input").first.fill("30")
        assert view.evaluate(opacity) == "0.3"
        tops = view.evaluate("[...document.querySelectorAll('figure')].slice(0,2).map(f => f.offsetTop)")
        assert (tops[0] == tops[1]) == (width == 1280)
        browser.close()
    assert said == []
    assert [u for u in asked if not u.startswith(("data:", "file:"))] == []


def test_what_failed_and_what_was_passed_over_is_listed_with_its_reason(tmp_path):
    path = write_report([case()], tmp_path / "r.html", "T", failed=[(NASTY, "It is cut short; copy it again.")],
                        passed=[(".hidden.png", "It is hidden: its name begins with a dot.")])
    page = Page(path.read_text("utf-8"))
    words = " ".join(" ".join(page.words).split())
    assert "1 could not be scanned" in words
    assert "Not scanned File Reason" in words and f"{NASTY} It is cut short; copy it again." in words
    assert "Passed over File Reason .hidden.png It is hidden" in words
    assert not any(tag == "script" and "alert" in str(values) for tag, values in page.tags)
    plain = write_report([case()], tmp_path / "p.html", "T").read_text("utf-8")
    assert "Not scanned" not in plain and "Passed over" not in plain
