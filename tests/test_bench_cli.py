"""`scanward bench mammography`: what it prints and writes, and what it refuses."""

import json

import cv2
import pytest

from scanward import cli
from scanward.bench import mammography
from scanward.cli import benching
from scanward.datasets.films import digital, mias


def run(*arguments):
    return cli.run([str(a) for a in arguments])


@pytest.mark.parametrize(("arguments", "word"), [(("nonsense",), "nonsense"), (("source", "--method", "none"), "none"),
                                                 (("source", "--workers", "0"), "--workers"),
                                                 (("source", "--method", "ct-self-reference"), "no mammograms")])
def test_what_it_refuses_in_one_sentence(arguments, word, tmp_path, capsys):
    assert run("bench", "mammography", *arguments, "-o", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert word in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_absent_data_is_said(tmp_path, capsys):
    assert run("bench", "mammography", "source", "--data", tmp_path, "-o", tmp_path / "out") == 2
    assert "annotations.csv" in capsys.readouterr().err


def test_absent_digital_films_are_said(tmp_path, capsys):
    (tmp_path / "mias").mkdir()
    (tmp_path / "mias" / "annotations.csv").touch()
    assert run("bench", "mammography", "source-digital", "--data", tmp_path, "-o", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert "films.csv" in err and err.count("\n") == 1


@pytest.mark.data("mias")
def test_two_films_of_the_source_domain(tmp_path, monkeypatch, capsys):
    films = mias("test")[:2]
    names = {film.name for film in films}
    whole = mammography.frozen()
    monkeypatch.setitem(mammography.SETS, "mini-MIAS", lambda data: films)
    monkeypatch.setattr(mammography, "frozen", lambda: {
        name: tuple(item for item in items if item.film in names) for name, items in whole.items()})
    out = tmp_path / "out put"
    assert run("bench", "mammography", "source", "-o", out) == 0
    printed = capsys.readouterr().out
    assert "| TP |" in printed and "| 45 |" in printed and "false alarms per 1,000" in printed
    assert (out / "source.md").read_text().strip() == printed.strip()
    report = json.loads((out / "source.json").read_text())
    group = report["methods"]["default"]["groups"][0]
    assert group["tn"] + group["fp"] == group["fn"] + group["tp"] == 2
    assert report["attacks"]["mammo-cgan"] and len(report["methods"]["default"]["weights_sha256"]) == 2
    assert cv2.imread(str(out / "source-default.png")).std() > 5
    assert (out / "source-default-misses.png").exists() == (group["fn"] > 0)
    answers = next((out / "answers").iterdir())
    before = answers.read_bytes()
    assert run("bench", "mammography", "source", "-o", out) == 0
    assert answers.read_bytes() == before


@pytest.mark.data("ffdm/images")
def test_masses_are_spliced_into_digital_films_and_what_is_missed_is_drawn(tmp_path, monkeypatch):
    """Digital films have no annotated masses: those of mini-MIAS are taken, for the answers and for the pictures."""
    film, whole = digital("test")[0], mammography.frozen()
    splices = [group for group in mammography.PROTOCOLS["source-digital"] if group.title == "splice"]
    monkeypatch.setitem(mammography.SETS, "GE", lambda data: [film])
    monkeypatch.setitem(mammography.PROTOCOLS, "source-digital", splices)
    monkeypatch.setattr(mammography, "frozen", lambda: {
        name: tuple(item for item in items if item.film == film.name) for name, items in whole.items()})
    monkeypatch.setattr(benching, "thresholds", lambda method: (1.1, 0.5))
    assert run("bench", "mammography", "source-digital", "-o", tmp_path / "out") == 0
    assert cv2.imread(str(tmp_path / "out" / "source-digital-default-misses.png")).std() > 5
