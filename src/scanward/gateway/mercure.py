"""A mercure processing module: a folder with a series and its task in, results and `result.json` out.

mercure takes every exit code but 0 for a failure, so an alarm is in `result.json` and in its notification.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanward import formats
from scanward.disk import whole_folder
from scanward.errors import ArgumentError, InputError, ScanwardError
from scanward.formats import Source
from scanward.formats.guard import clean, shown
from scanward.formats.sources import Passed
from scanward.gateway.trouble import passing, sentence_of, without_paths
from scanward.image import Image
from scanward.judging.case import Terms, check_marked
from scanward.judging.scan import Result, scan_source
from scanward.judging.site import read_site
from scanward.judging.witnesses import check_site
from scanward.protection import Records, beside, key_in
from scanward.verdict import STUDY_LABELS, Verdict, worst
from scanward.version import __version__

TASK, RESULT = "task.json", "result.json"
LARGEST_TASK = 16 << 20
OBJECTS = ("sr", "seg", "sc")
NOTIFY = ("tampered", "always", "never")
SETTINGS = ("method", "objects", "notify", "site", "key", "records", "marked")


@dataclass(frozen=True)
class Settings:
    """Of the module, from the task."""

    method: str = "default"
    objects: tuple[str, ...] = OBJECTS
    """What is made for each image that came as DICOM."""
    notify: str = "tampered"
    """When mercure is asked to notify, where its rule leaves that to the module."""
    site: Path | None = None
    """Thresholds of this site, from `scanward calibrate`."""
    key: Path | None = None
    """Holds images to their seals by this key, and to what earlier versions wove with it."""
    records: Path | None = None
    """The folder of records of earlier versions; one beside an image is found without."""
    marked: bool = False
    """Every chest CT is to carry the watermark of `key`."""


def run_in_environment(environment: Mapping[str, str] = os.environ) -> int:
    """`run` on MERCURE_IN_DIR and MERCURE_OUT_DIR."""
    folders = [environment.get(name, "") for name in ("MERCURE_IN_DIR", "MERCURE_OUT_DIR")]
    if not all(folders):
        return _failed("MERCURE_IN_DIR and MERCURE_OUT_DIR must name two folders; mercure sets both.")
    return run(Path(folders[0]), Path(folders[1]))


def run(in_dir: Path, out_dir: Path) -> int:
    """Scan what lies in `in_dir`; 0 when it is done, whatever was found, and 2 with a sentence on stderr where nothing
    could be scanned. `out_dir` then holds SR, SEG and SC, and `result.json` after them; or nothing new at all."""
    try:
        settings = settings_of(in_dir / TASK)
        terms = terms_of(settings)
        passed: list[Passed] = []
        sources, errors = formats.find([in_dir], passed=passed)
        folders = {in_dir: in_dir.name, **({settings.records: "The records"} if settings.records else {})}
        results = [_scanned(source, terms, folders) for source in sources]
        problems = [*errors, *(result.error for result in results if result.error is not None)]
        if all(result.verdict is None for result in results):
            raise problems[0] if problems else InputError(f"{shown(in_dir)} holds no images; give a series.")
        with whole_folder(out_dir, last=RESULT) as draft:
            images = [_image(result, settings, draft, folders) for result in results]
            images += [{"file": in_dir.name, "label": "inconclusive", "error": sentence_of(error, folders)}
                       for error in errors]
            over = [{"file": shown(one.path.name), "reason": one.reason} for one in passed]
            answer = {**_answer(images, settings), "passed_over": over}
            (draft / RESULT).write_text(json.dumps(answer, indent=1) + "\n")
    except ScanwardError as error:
        return _failed(str(error))
    # mercure shows what a module prints: one sentence says more than a traceback.
    except Exception as error:
        return _failed(f"Internal error ({type(error).__name__}: {clean(error)}); please report it.")
    return 0


def settings_of(path: Path) -> Settings:
    """From `process.settings` of a task, defaults where there is none; `ArgumentError` for what is no setting."""
    try:
        if path.stat().st_size > LARGEST_TASK:
            raise ArgumentError(f"{shown(path)} is larger than any task.")
        task = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{shown(path)} cannot be read ({clean(error)}).") from error
    values = _settings_in(task)
    unknown = sorted(values.keys() - set(SETTINGS))
    if unknown:
        raise ArgumentError(f"{clean(unknown[0])!r} is no setting of the module; it has {', '.join(SETTINGS)}.")
    objects = values.get("objects", list(OBJECTS))
    if not isinstance(objects, list) or not all(one in OBJECTS for one in objects):
        raise ArgumentError(f"The setting objects is {clean(objects)!r}; it is a list of {', '.join(OBJECTS)}.")
    notify = values.get("notify", "tampered")
    if notify not in NOTIFY:
        raise ArgumentError(f"The setting notify is {clean(notify)!r}; it is one of {', '.join(NOTIFY)}.")
    marked = values.get("marked", False)
    if not isinstance(marked, bool):
        raise ArgumentError(f"The setting marked is {clean(marked)!r}; it is true or false.")
    paths = {name: Path(str(values[name])) for name in ("site", "key", "records") if values.get(name)}
    return Settings(str(values.get("method", "default")), tuple(objects), notify, marked=marked, **paths)


def terms_of(settings: Settings) -> Terms:
    """What the settings ask of the judge; `InputError` for a file among them that cannot be used."""
    if settings.records is not None and not os.path.isdir(settings.records):
        raise ArgumentError(f"The setting records names no folder ({shown(settings.records)}); check the path.")
    site = None if settings.site is None else read_site(settings.site)
    check_site(site, settings.method)
    key = None if settings.key is None else key_in(settings.key)
    check_marked(key, settings.marked, "name it in the setting key")
    records = None if settings.records is None else Records(settings.records, settings.records)
    return Terms(settings.method, site, key=key, shelf=lambda source: {
        **beside(source), **(records.find(source) if records else {})}, marked=settings.marked)


def _settings_in(task: Any) -> dict[str, Any]:
    """A task names one module, or several that run one after the other."""
    process = task.get("process") if isinstance(task, dict) else None
    modules = [one for one in (process if isinstance(process, list) else [process]) if isinstance(one, dict)]
    ours = [one for one in modules if "scanward" in str(one.get("module_name", "")).lower()]
    for one in ours or modules[:1]:
        settings = one.get("settings")
        return settings if isinstance(settings, dict) else {}
    return {}


def _scanned(source: Source, terms: Terms, folders: Mapping[Path, str]) -> Result:
    """As `scan_source`; a fault of ours with one image must not cost the others their answers."""
    try:
        return scan_source(source, terms)
    except Exception as error:
        return Result(source.path, error=InputError(sentence_of(error, folders)))


def _image(result: Result, settings: Settings, draft: Path, folders: Mapping[Path, str]) -> dict[str, Any]:
    """What `result.json` says of an image; its objects are written on the way."""
    if result.image is None or result.verdict is None:
        error = result.error or InputError("No verdict.")
        return {"file": shown(result.path.name), "label": result.label, "error": sentence_of(error, folders)}
    facts = result.verdict.to_json()
    if "reason" in facts:
        facts["reason"] = without_paths(facts["reason"], folders)
    facts["file"] = shown(Path(facts.pop("path") or result.path).name)
    facts["objects"] = []
    if settings.objects and result.image.provenance.format == "dicom":
        try:
            facts["objects"] = _objects(result.image, result.verdict, settings, draft)
        except Exception as error:
            if passing(error):  # mercure knows by the exit code that it has to try again
                raise
            facts["error"] = sentence_of(error, folders)
    return facts


def _objects(image: Image, verdict: Verdict, settings: Settings, draft: Path) -> list[str]:
    """The names of those that the settings ask for, written into `draft`."""
    from scanward.formats.derived import write_dicom
    from scanward.report.montage import summary

    kept = []
    for path in write_dicom(image, verdict, draft, overlay=summary(image, verdict)):
        if path.stem.rsplit("-", 1)[-1] in settings.objects:
            kept.append(path.name)
        else:
            path.unlink()
    return kept


def _answer(images: list[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    label = worst(image["label"] for image in images)
    counts = {name: sum(image["label"] == name for image in images) for name in STUDY_LABELS}
    score = max((image["score"] for image in images if "score" in image), default=None)
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    text = f"Scanward: {label} ({said})."
    requested = settings.notify == "always" or (settings.notify == "tampered" and label == "tampered")
    return {"label": label, "score": score, "counts": counts, "images": images, "version": __version__,
            "__mercure_notification": {"text": text, "requested": requested}}


def _failed(sentence: str) -> int:
    print(f"scanward: {sentence}", file=sys.stderr)
    return 2
