"""`--count`: labelled sets that can be interrupted, harmed and gone on with."""

import json

import cv2
import pytest

from scanward.forgery import sets

MASS = ("--method", "composed-mass")


def test_count_makes_a_labelled_set_that_can_be_gone_on_with(png, tmp_path, inject, pixels):
    other, out = png.with_name("b.png"), tmp_path / "set"
    assert cv2.imwrite(str(other), pixels(seed=1, bits=16))
    code, printed, err = inject(png.parent, out, "--count", 3, size="5-20")
    assert (code, err) == (0, "") and "3 of 3" in printed
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == ["a füm-forged.png", "b-forged.png", "a füm-forged.png"]
    assert len({tuple(line["at"]) for line in lines}) == 3
    assert all(5 <= line["size_mm"] <= 20 for line in lines)
    for line in lines:
        assert (out / line["folder"] / line["image"]).is_file() and (out / line["folder"] / line["mask"]).is_file()
    times = {p: p.stat().st_mtime_ns for p in out.glob("0*/record.json")}
    code, printed, _ = inject(png.parent, out, "--count", 5, size="5-20")
    assert code == 0 and "5 of 5" in printed and "3 of them from before" in printed
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 5
    assert all(p.stat().st_mtime_ns == then for p, then in times.items())
    code, _, err = inject(png.parent, out, "--count", 5, size="6-20")
    assert code == 2 and "another order" in err


def test_an_interrupted_set_goes_on(png, tmp_path, monkeypatch, inject):
    out, real, made = tmp_path / "set", sets.forge_file, []

    def interrupted(*given, **more):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(given)
        return real(*given, **more)

    monkeypatch.setattr(sets, "forge_file", interrupted)
    code, _, err = inject(png, out, "--count", 4)
    assert code == 130 and "2 images" in err
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 2
    monkeypatch.setattr(sets, "forge_file", real)
    code, printed, _ = inject(png, out, "--count", 4)
    assert code == 0 and "4 of 4" in printed and "2 of them from before" in printed
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 4
    assert inject(png, out, "--count", 1)[0] == 0
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 4, "a smaller count forgets nothing"


@pytest.mark.parametrize("harm", ["record", "image", "mask", "no record"])
def test_what_was_harmed_is_named_and_the_rest_kept(harm, png, tmp_path, inject):
    out = tmp_path / "set"
    inject(png, out, "--count", 3)
    home = out / "00002"
    if harm == "record":
        (home / "record.json").write_text("{")
    elif harm == "image":
        (home / "a füm-forged.png").write_bytes(b"x")
    elif harm == "mask":
        (home / "mask.png").unlink()
    else:
        (home / "record.json").unlink()
    code, printed, err = inject(png, out, "--count", 3)
    assert code == 2 and err.count("\n") == 1 and "00002" in err and "2 of 3" in printed
    assert ("move it away" in err) == (harm != "record"), err
    assert len((out / "manifest.jsonl").read_text().splitlines()) == (2 if "record" in harm else 3)


def test_forgeries_do_not_become_hosts(png, tmp_path, inject):
    out = png.parent / "set"
    assert inject(png.parent, out, "--count", 2)[0] == 0
    assert "2 of them from before" in inject(png.parent, out, "--count", 2)[1]
    inject(png.parent, tmp_path / "other", "--count", 2)
    lines = [json.loads(line) for line in (tmp_path / "other" / "manifest.jsonl").read_text().splitlines()]
    assert {line["image"] for line in lines} == {"a füm-forged.png"}


def test_a_forgery_that_lost_the_file_beside_it_becomes_no_host(png, dicom, tmp_path, inject):
    for host in (png, dicom):
        assert inject(host, tmp_path / "once" / host.stem)[0] == 0
    for path in (tmp_path / "once").rglob("*-forged.*"):
        path.rename(png.parent / f"renamed{path.suffix}")
    assert {path.name for path in png.parent.iterdir()} >= {"renamed.png", "renamed.dcm"}
    printed = inject(png.parent, tmp_path / "set", "--count", 3, "--dry-run")[1]
    assert printed.count("a füm.png") == 3
    assert inject(png.parent / "renamed.dcm", tmp_path / "twice")[0] == 0, "it is forged where it is named itself"


def test_each_host_of_a_set_is_forged_as_its_kind_is(png, dicom, tmp_path, run):
    dicom.rename(png.with_name("b.dcm"))
    more = ("-o", tmp_path / "set", "--size", "8-9", "--spacing", 0.2)
    lines = run("inject", png.parent, *more, "--count", 2, "--dry-run")[1].splitlines()
    assert [line.split(" with ")[1].split(",")[0] for line in lines] == ["mammo-cgan", "mammo-digital"]
    assert run("inject", png.parent, *more, "--count", 2)[0] == 0
    made = [json.loads(line)["method"] for line in (tmp_path / "set" / "manifest.jsonl").read_text().splitlines()]
    assert made == ["mammo-cgan", "mammo-digital"]


def test_a_first_try_that_failed_locks_nothing(png, tmp_path, inject, run):
    out = tmp_path / "set"
    code, _, err = run("inject", png, "-o", out, "--size", 10, "--modality", "MG", *MASS, "--count", 3)
    assert code == 2 and err.count("--spacing") == 1
    assert not out.exists()
    assert inject(png, out, "--count", 2)[0] == 0


def test_a_manifest_of_something_else_stays(png, tmp_path, inject):
    (tmp_path / "manifest.jsonl").write_text("mine\n")
    code, _, err = inject(png, tmp_path, "--count", 2)
    assert code == 2 and "manifest.jsonl" in err
    assert (tmp_path / "manifest.jsonl").read_text() == "mine\n"


def test_a_broken_host_costs_the_set_its_own_share_only(png, tmp_path, inject):
    png.with_name("b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    code, printed, err = inject(png.parent, tmp_path / "set", "--count", 4)
    assert code == 2 and err.count("b.png") == 1 and "2 of 4" in printed
    assert len((tmp_path / "set" / "manifest.jsonl").read_text().splitlines()) == 2


def test_a_dry_run_says_what_would_be_forged_and_writes_nothing(png, tmp_path, inject, pixels):
    assert cv2.imwrite(str(png.with_name("b.png")), pixels(seed=1, bits=16))
    png.with_name("c.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    out = tmp_path / "set"
    code, printed, err = inject(png.parent, out, "--count", 6, "--dry-run", size="5-20")
    assert code == 2 and err.count("\n") == 1 and "c.png" in err, "a host that cannot be used is named once"
    lines = printed.splitlines()
    assert len(lines) == 4 and not out.exists() and not list(tmp_path.glob(".scanward*"))
    assert str(out / "00001") in lines[0] and "a füm.png" in lines[0] and "b.png" in lines[1]
    png.with_name("c.png").unlink()
    lines = inject(png.parent, out, "--count", 4, "--dry-run", size="5-20")[1].splitlines()
    assert inject(png.parent, out, "--count", 4, size="5-20")[0] == 0
    for line, made in zip(lines, map(json.loads, (out / "manifest.jsonl").read_text().splitlines()), strict=True):
        x, y = made["at"]
        assert f" at x {x:.0f}, y {y:.0f}, {made['size_mm']:.3g} mm" in line and f"seed {made['seed']}," in line
    assert inject(png.parent, out, "--count", 4, "--dry-run", size="5-20")[1].count("from before") == 4
    code, _, err = inject(png.parent, out, "--dry-run")
    assert code == 2 and "--count" in err


def test_a_dry_run_refuses_what_the_run_refuses(png, dicom, tmp_path, run, write_film, pixels):
    write_film(png.with_name("fine.dcm"), pixels(), ImagerPixelSpacing=[0.1, 0.1])
    dicom.rename(png.with_name("coarse.dcm"))
    png.unlink()
    out = tmp_path / "set"
    what = ("inject", png.parent, "-o", out, "--size", 8, "--method", "mammo-calcifications", "--count", 2)
    plan, real = run(*what, "--dry-run"), run(*what)
    assert plan[0] == real[0] == 2 and plan[2] == real[2] and "coarse.dcm has pixels of 0.2 mm, too coarse" in plan[2]
    assert "fine.dcm" in plan[1] and "coarse.dcm" not in plan[1] and [p.name for p in out.glob("0*")] == ["00002"]
    (tmp_path / "file").write_text("mine")
    code, printed, err = run("inject", png.parent, "-o", tmp_path / "file", "--size", 8, *MASS, "--count", 2,
                             "--dry-run")
    assert (code, printed, err.count("\n")) == (2, "", 1) and "file cannot be written" in err


def test_several_hosts_need_a_count(png, tmp_path, inject, pixels):
    assert cv2.imwrite(str(png.with_name("b.png")), pixels(seed=1, bits=16))
    code, _, err = inject(png.parent, tmp_path / "out")
    assert code == 2 and "--count" in err
