"""A study's objects scanned: what `study.json` says of them, the results for the PACS, the pictures for the pages."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanward.errors import InputError
from scanward.formats import Source
from scanward.formats.identity import Identity, identity_of
from scanward.formats.series import versions
from scanward.gateway.protecting import Protector
from scanward.image import Image
from scanward.inbox.folders import Inbox, Job, Study, linked, stamp
from scanward.inbox.record import ImageRecord, PassedRecord, StudyRecord
from scanward.judging.case import Terms
from scanward.judging.scan import scan_source
from scanward.judging.site import read_site
from scanward.judging.witnesses import check_site, weights_of
from scanward.protection import Records, key_in
from scanward.settings import Gateway
from scanward.verdict import SEAL, Finding, Label, StudyLabel, Verdict, worst
from scanward.version import __version__


@dataclass(frozen=True)
class Scanned:
    """A study after its scan."""

    record: StudyRecord
    """For `study.json`."""
    results: list[Path]
    """SR, SEG and SC."""
    protected: dict[str, list[Path]]
    """Protected series by the identifier of their image."""


class Scanner:
    """Scans studies as the settings say. Raises `ScanwardError` where every study would fail: weights missing, a site
    that was calibrated for others."""

    def __init__(self, gateway: Gateway, inbox: Inbox) -> None:
        self._gateway, self._inbox = gateway, inbox
        key, others = gateway.work.verify_key or gateway.protect.key, gateway.work.records
        records = Records(inbox.root / "records", *([others] if others else []))
        self._terms = Terms(gateway.work.method, None if gateway.work.site is None else read_site(gateway.work.site),
                            key=None if key is None else key_in(key), shelf=records.find)
        check_site(self._terms.site, self._terms.method)
        self._protector = Protector(gateway, inbox)
        self._settings = self._digest()

    def _digest(self) -> str:
        """Everything besides the pixels that an answer depends on."""
        work = self._gateway.work
        parts = [__version__, work.method, weights_of(work.method), list(self._gateway.results.objects),
                 *(path.read_text("utf-8", "replace") if path else ""
                   for path in (work.site, work.verify_key, self._gateway.protect.key))]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def scan(self, job: Job) -> Scanned:
        """Every image of a study, each on its own; an unreadable object is an image with an error."""
        images: list[ImageRecord] = []
        passed: Counter[str] = Counter()
        protected: dict[str, list[Path]] = {}
        earlier = self._inbox.earlier(job)
        identities, broken = _identities(job)
        images += [_unread(path, sentence) for path, sentence in broken.items()]
        for source, alone in _sources(identities, passed):
            members = [identities[path] for path in source.paths]
            name = hashlib.sha256("\n".join(p.name for p in source.paths).encode()).hexdigest()[:16]
            known = None if self._terms.key is not None else self._known(earlier, job, name)
            entry = known or self._entry(job, source, members[0], name)
            images.append(entry)
            if alone and not members[0].film and entry.label in ("authentic", "unscanned"):
                with suppress(InputError):  # a series that cannot be protected goes nowhere, and its entry says why
                    files = self._protector.protected(job, source, members, name, earlier)
                    if files:
                        protected[name] = files
        label, score = _worst(images)
        record = replace(_study(job, list(identities.values())), label=label, score=score, images=tuple(images),
                         passed=tuple(PassedRecord(uid, n) for uid, n in sorted(passed.items())),
                         settings=self._settings)
        results = [job.folder / path for image in images for path in image.results]
        return Scanned(record, results, protected)

    def _known(self, earlier: Study | None, job: Job, name: str) -> ImageRecord | None:
        """The answer of an earlier scan of the same study, where nothing that it depends on has changed since."""
        if earlier is None or earlier.record.settings != self._settings:
            return None
        entry = next((e for e in earlier.record.images if e.id == name and not e.error), None)
        if entry is None:
            return None
        try:
            for path in (*entry.results, f"pictures/{name}"):
                linked(earlier.folder / path, job.folder / path)
        except OSError:
            return None
        return entry

    def _entry(self, job: Job, source: Source, identity: Identity, name: str) -> ImageRecord:
        result = scan_source(source, self._terms)
        entry = replace(_blank(name, [f"objects/{p.name}" for p in source.paths], identity), label=result.label)
        image, verdict = result.image, result.verdict
        if image is None:
            return replace(entry, error=_told(str(result.error), source))
        if verdict is None:  # what no witness spoke of is shown all the same
            entry = replace(entry, error=_told(str(result.error), source), modality=image.modality, shape=image.shape,
                            spacing=image.spacing)
            self._draw(job, image, np.zeros(image.shape, np.float32), (), entry)
            return entry
        entry = _judged(entry, image, verdict)
        entry = replace(entry, reason=_told(entry.reason, source))
        if image.shape[0] == 1:
            entry = replace(entry, results=tuple(self._written(job, image, verdict)))
        self._draw(job, image, verdict.heat, verdict.findings, entry)
        return entry

    def _draw(self, job: Job, image: Image, heat: npt.NDArray[np.float32], findings: tuple[Finding, ...],
              entry: ImageRecord) -> None:
        from scanward.report.pictures import draw

        label: Label = "inconclusive" if entry.label == "unscanned" else entry.label
        draw(image, heat, findings, label, job.folder / "pictures" / entry.id)

    def _written(self, job: Job, image: Image, verdict: Verdict) -> list[str]:
        """The result objects, known as ours before anybody is sent them."""
        from scanward.formats.derived import write_dicom
        from scanward.report.heat import overlay

        wanted = self._gateway.results.objects
        if not wanted:
            return []
        kept = []
        for path in write_dicom(image, verdict, job.folder / "results", overlay=overlay(image, verdict)):
            if path.stem.rsplit("-", 1)[-1] in wanted:
                self._inbox.mark_made(identity_of(path).sop_instance)
                kept.append(f"results/{path.name}")
            else:
                path.unlink()
        return kept


def _identities(job: Job) -> tuple[dict[Path, Identity], dict[Path, str]]:
    """Of every object, and a sentence for those that have none."""
    found: dict[Path, Identity] = {}
    broken: dict[Path, str] = {}
    for path in job.objects:
        try:
            found[path] = identity_of(path)
        except InputError as error:
            broken[path] = str(error).replace(str(path), path.name)
    return found, broken


def _sources(identities: dict[Path, Identity], passed: Counter[str]) -> list[tuple[Source, bool]]:
    """Mammograms one by one, CT by series, each with whether its series is there once; what is neither is counted.

    Slices that came again with other contents make the series whole once more: a forger need not replace all.
    """
    series: dict[tuple[str, str], list[Path]] = {}
    for path, identity in identities.items():
        if not identity.scanned:
            passed[identity.sop_class] += 1
        else:
            series.setdefault((identity.series, path.name if identity.film else ""), []).append(path)
    found: list[tuple[Source, bool]] = []
    for (_, film), paths in series.items():
        whole, lost = ([paths], []) if film else versions(paths)
        found += [(Source(tuple(one), "file" if len(one) == 1 else "series"), len(whole) == 1) for one in whole]
        found += [(Source((path,), "file"), False) for path in lost]
    return found


def _study(job: Job, identities: list[Identity]) -> StudyRecord:
    """Whose study it is, and when it came."""
    first = next((i for i in identities if i.scanned), identities[0] if identities else None)
    received = min((path.stat().st_mtime for path in job.objects), default=None)
    return StudyRecord(
        key=job.key, study_uid=first.study if first else "", patient_id=first.patient_id if first else "",
        accession=first.accession if first else "", description=first.description if first else "",
        study_date=first.date if first else "", modality=first.modality if first else "", received=stamp(received),
        finished=stamp(), attempts=job.attempts)


def _worst(images: list[ImageRecord]) -> tuple[StudyLabel, float]:
    return worst(image.label for image in images), max((image.score or 0.0 for image in images), default=0.0)


def _blank(name: str, files: list[str], identity: Identity | None) -> ImageRecord:
    return ImageRecord(name, tuple(files), sop_instance_uid=identity.sop_instance if identity else "",
                       series_instance_uid=identity.series if identity else "",
                       modality=identity.modality if identity else "", version=__version__)


def _unread(path: Path, sentence: str) -> ImageRecord:
    name = hashlib.sha256(path.name.encode()).hexdigest()[:16]
    return replace(_blank(name, [f"objects/{path.name}"], None), label="inconclusive", error=sentence)


def _told(sentence: str, source: Source) -> str:
    """The sentence without this machine's folders in it."""
    return sentence.replace(f"{source.paths[0].parent}/", "").replace(str(source.paths[0].parent), "The series")


def _judged(entry: ImageRecord, image: Image, verdict: Verdict) -> ImageRecord:
    """What the verdict says, of the entry's image."""
    return replace(ImageRecord.from_json(verdict.to_json()), id=entry.id, files=entry.files,
                   sop_instance_uid=entry.sop_instance_uid, series_instance_uid=entry.series_instance_uid,
                   shape=image.shape, spacing=image.spacing,
                   evidence=next((e.facts for e in verdict.evidence if e.method == SEAL), None))
