"""Every snippet of the pages: Python is executed, commands are run or at least taken by the real command line."""

import re
import shlex
import shutil
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
import typer
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import scanward
from scanward import cli, methods
from scanward.cli import codes

ROOT = Path(__file__).parents[1]
Snippet = namedtuple("Snippet", "page line language text")
SHELLS = ("sh", "bash", "console", "shell")

NO_COMMAND_OF_OURS = {
    "git clone REPOSITORY scanward && cd scanward": "asks the network",
    ".venv/bin/python -m pynetdicom storescu 127.0.0.1 11112 scanward-demo -q -r -cx -aec SCANWARD":
    "needs the gateway; tests/gateway/test_node.py sends to one",
    'openssl req -x509 -newkey rsa:3072 -nodes -days 730 -subj "/CN=Scanner 1" -keyout scanner.key -out scanner.crt':
    "makes a key",
    "xdg-open http://127.0.0.1:8042/": "opens a browser",
}
"""Lines that are not run, and why."""
TAKEN_ONLY = {
    r"scanward (train|bench) ": "hours, and data",
    r"scanward (serve|study serve|study new|study link|study close|study report) ?":
    "a server, or a study with readers; tests/gateway and tests/readerstudy run them",
    r"scanward archive ": "runs in processes of their own; tests/archive runs them",
    r"scanward user ": "asks for a password; tests/review runs it",
    r"scanward .*--count ": "sets; tests/forgery/test_sets.py makes some",
    r"scanward .*\bDATA/": "the training data",
    r"scanward .*\bscanner\.crt": "a key of the site's authority; tests/seals/test_dicom_signature.py signs",
    r"scanward inject chest\.nii\.gz |scanward inject SERIES/ --at|scanward remove forged/SERIES-forged ":
    "seconds each; tests/forgery/test_chest.py forges in each way",
    r"scanward protect SERIES/ --method |scanward scan marked/":
    "the page perturbs from Python; tests/protection/test_perturb_cli.py and tests/protectors/test_watermark.py at the "
    "command line",
}
"""Commands whose options are bound and no more, and why."""
NOT_EXECUTED = {
    "from scanward.readerstudy.folder import read_study": "needs a study that people have read; "
    "tests/readerstudy/test_outcome.py collects one",
}
"""Python that is compiled only, by a line of it, and why."""


def snippets():
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text()
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
            found.append(Snippet(str(path.relative_to(ROOT)), text[:match.start()].count("\n") + 2, *match.groups()))
        assert text.count("```") == 2 * sum(one.page == str(path.relative_to(ROOT)) for one in found), path
    return found


SNIPPETS = snippets()
PAGES = sorted({one.page for one in SNIPPETS if one.language in ("python", *SHELLS)})


def lines_of(snippet):
    """The commands of a snippet, without prompts and comments."""
    for line in re.sub(r"\\\n\s*", " ", snippet.text).splitlines():
        bare = re.sub(r"(^|\s)#.*$", "", line).strip().removeprefix("$ ").strip()
        if bare:
            yield bare


COMMANDS = [(one, line) for one in SNIPPETS if one.language in SHELLS for line in lines_of(one)]


def breast(rows, columns):
    y, x = np.mgrid[:rows, :columns]
    inside = np.hypot((y - rows / 2) / (0.45 * rows), x / (0.8 * columns)) < 1
    tissue = 0.45 + 0.05 * np.sin(y / 90) * np.sin(x / 70) + np.random.default_rng(0).normal(0, 0.01, y.shape)
    return np.rint(np.where(inside, tissue, 0.01) * 4095).astype(np.uint16)


def dicom(path, values, modality, **more):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = f"1.2.840.10008.5.1.4.1.1.{'2' if modality == 'CT' else '1.2'}"
    data.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    data.PatientName, data.PatientID = "Doe^Jane", "1"
    for name in ("PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber",
                 "ReferringPhysicianName"):
        setattr(data, name, "")
    data.Modality, data.SamplesPerPixel, data.PhotometricInterpretation = modality, 1, "MONOCHROME2"
    data.Rows, data.Columns = values.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = values.astype(np.uint16).tobytes()
    data["PixelData"].VR = "OW"
    data.update(more)
    path.parent.mkdir(exist_ok=True, parents=True)
    data.save_as(path, enforce_file_format=True)


def chest(slices=70, rows=330, columns=230):
    """Stored values of a body with two lungs, in millimetres."""
    y, x = np.mgrid[:rows, :columns]
    plane = np.where(np.hypot((y - 190) / 120, (x - 115) / 112) < 1, 40.0, -1000.0)
    for middle in (58, 160):
        plane = np.where(np.hypot((y - 200) / 90, (x - middle) / 44) < 1, -860.0, plane)
    return (plane + np.random.default_rng(0).normal(0, 15, (slices, rows, columns)) + 1024).clip(0, 4095)


@pytest.fixture(scope="session")
def named(tmp_path_factory):
    """The files that the pages name."""
    folder = tmp_path_factory.mktemp("named")
    dicom(folder / "film.dcm", breast(3200, 2400), "MG", ImagerPixelSpacing=[0.1, 0.1])
    for view, middle in (("CC", 760), ("MLO", 440)):  # one mass of 15 mm, 51 mm from the nipple in both
        y, x = np.mgrid[:1200, :900]
        values = breast(1200, 900) + np.rint(1200 * np.clip(1.5 - np.hypot(y - middle, x - 520) / 37, 0, 1))
        values[np.hypot(y - 600, x - 720) < 30] = 1800  # the nipple
        dicom(folder / f"{view}.dcm", values.clip(0, 4095), "MG", ImagerPixelSpacing=[0.2, 0.2], ViewPosition=view)
        assert cv2.imwrite(str(folder / f"{view.lower()}.png"), values.clip(0, 4095).astype(np.uint16))
    small = breast(320, 240)
    for path in ("film.png", "archive/film.png", "more/film.png", *(f"authentic/{n}.png" for n in range(12))):
        (folder / path).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(folder / path), small)
    for number, plane in enumerate(chest()):
        dicom(folder / "SERIES" / f"{number:03}.dcm", plane, "CT", RescaleSlope=1, RescaleIntercept=-1024,
              ImagePositionPatient=[-130, -150, float(number)], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
              PixelSpacing=[1, 1], FrameOfReferenceUID="1.2.3.5")
    old = ROOT / "tests" / "protection" / "old"
    shutil.copy(old / "site.key", folder)
    shutil.copytree(old / "film", folder / "woven")
    (folder / "somewhere" / "else").mkdir(parents=True)
    shutil.copy(old / "film" / "film-protected.png", folder / "somewhere" / "else")
    return folder


MADE_BY_THE_PAGE = {"docs/how-to/scan.md": ("site.json",), "docs/how-to/seal.md": ("site.key",)}
GIVEN = {"docs/how-to/add-a-detector.md": {"Method": methods.Method}}
"""Names that a page's Python stands among."""


@pytest.fixture
def folder(named, tmp_path, monkeypatch, page):
    """A working folder with what the page takes for given."""
    for path in named.iterdir():
        if path.name not in MADE_BY_THE_PAGE.get(page, ()):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def taken(line):
    """Bind a command's options and arguments as the command line does; raises where it would refuse them."""
    group = typer.main.get_command(cli.app)
    words = shlex.split(line)[1:]
    context = None
    while hasattr(group, "commands") and words:
        if group.name == "archive" and words[0] not in group.commands:
            words = ["run", *words]  # which may be left out
        name, group, words = group.resolve_command(group.make_context("scanward", [], resilient_parsing=True), words)
    context = group.make_context(name, words)
    return context.params


@pytest.mark.parametrize(("snippet", "line"), [pytest.param(*one, id=f"{one[0].page}: {one[1]}"[:90])
                                               for one in COMMANDS])
def test_every_command_is_taken_by_what_it_calls(snippet, line):
    words = shlex.split(line.removesuffix("&"))
    if line in NO_COMMAND_OF_OURS:
        return
    if words[0].endswith("scanward"):
        assert taken(" ".join(map(shlex.quote, words[:words.index(">")] if ">" in words else words))) is not None
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), line
    else:
        assert words[0] == "python" and words[1].startswith("benchmarks/"), f"{snippet.page}:{snippet.line}: {line}"
        source = (ROOT / words[1]).read_text()
        for option in (word for word in words[2:] if word.startswith("--")):
            assert f'"{option}"' in source, f"{words[1]} has no {option}"


def is_run(line):
    return line.startswith("scanward ") and not any(re.match(pattern, line) for pattern in TAKEN_ONLY)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_shows_from_top_to_bottom(page, folder, run, bright):
    space = {"__name__": "page", **GIVEN.get(page, {})}
    for snippet in (one for one in SNIPPETS if one.page == page):
        if snippet.language == "python":
            code = compile("\n" * (snippet.line - 1) + snippet.text, str(ROOT / page), "exec")
            if not any(line in snippet.text for line in NOT_EXECUTED):
                exec(code, space)
        for line in lines_of(snippet) if snippet.language in SHELLS else ():
            if is_run(line):
                words = shlex.split(line.split(" > ")[0])[1:]
                code, _, error = run(*words)
                assert code != codes.ERROR, f"{page}: {line}: {error}"
    if "FlatGrain" in space:
        evidence = space["FlatGrain"]().detect(scanward.load("film.png"))
        assert evidence.heat.shape == (1, 320, 240) and 0 <= evidence.heat.min() <= evidence.heat.max() <= 1


def test_no_exception_outlives_its_snippet():
    lines = [line for _, line in COMMANDS]
    assert set(NO_COMMAND_OF_OURS) <= set(lines)
    assert all(any(re.match(pattern, line) for line in lines) for pattern in TAKEN_ONLY)
    assert all(any(line in one.text for one in SNIPPETS if one.language == "python") for line in NOT_EXECUTED)
    assert set(MADE_BY_THE_PAGE) | set(GIVEN) <= set(PAGES)
    assert sum(map(is_run, lines)) > 20
