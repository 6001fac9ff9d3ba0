"""A study's objects scanned: what `study.json` says of them, the results for the PACS, the pictures for the pages."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import chest_wall
from scanward.disk import linked, read_json
from scanward.errors import InputError, ScanwardError, UnsupportedError
from scanward.formats import Source
from scanward.formats.identity import Identity, identity_of
from scanward.formats.series import versions
from scanward.gateway.sealing import Asked, Sealer
from scanward.gateway.trouble import full, passing, sentence_of, without_paths
from scanward.image import Image
from scanward.inbox.folders import Inbox, Job, put, stamp
from scanward.inbox.index import SCORED
from scanward.inbox.record import ImageRecord, PassedRecord, Study, StudyRecord
from scanward.judging.case import Terms
from scanward.judging.scan import scan_source
from scanward.judging.site import read_site
from scanward.judging.witnesses import check_site, weights_of
from scanward.protection import Records, key_in
from scanward.report.pictures import FORM
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


class StoppedError(ScanwardError):
    """The gateway ends, and the study goes on after its next start."""


class Scanner:
    """Scans studies as the settings say. Raises `ScanwardError` where every study would fail: weights missing, a site
    that was calibrated for others."""

    def __init__(self, gateway: Gateway, inbox: Inbox, going: Callable[[], bool] = lambda: True) -> None:
        """Between two images it stops once `going` is no more."""
        self._gateway, self._inbox, self._going = gateway, inbox, going
        key, others = gateway.work.verify_key, gateway.work.records
        records = Records(inbox.root / "records", *([others] if others else []))
        self._terms = Terms(gateway.work.method, None if gateway.work.site is None else read_site(gateway.work.site),
                            key=None if key is None else key_in(key), shelf=records.find, marked=gateway.work.marked)
        check_site(self._terms.site, self._terms.method)
        self._sealer = Sealer(gateway, inbox) if gateway.seal.on else None
        self._settings = self._digest()

    def _digest(self) -> str:
        """Everything besides the pixels that an answer depends on."""
        work = self._gateway.work
        parts = [__version__, FORM, work.method, weights_of(work.method), list(self._gateway.results.objects),
                 self._gateway.seal.on, work.marked,
                 *(path.read_text("utf-8", "replace") if path else "" for path in (work.site, work.verify_key))]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def scan(self, job: Job) -> Scanned:
        """Every image of a study, each on its own; an unreadable object is an image with an error. Raises
        `StoppedError`; what is done by then is kept."""
        images: list[ImageRecord] = []
        passed: Counter[str] = Counter()
        earlier = self._inbox.earlier(job)
        identities, broken = self._identities(job)
        job.whose = _study(job, list(identities.values()))
        images += [_unread(path, sentence) for path, sentence in broken.items()]
        for source, why in _sources(identities, passed):
            if not self._going():
                raise StoppedError("The gateway was stopped.")
            members = tuple(identities[path] for path in source.paths)
            images.append(self._entry(job, Asked(source, members, why), earlier))
        label, score = _worst(images)
        record = replace(job.whose, label=label, score=score, images=tuple(images), finished=stamp(),
                         passed=tuple(PassedRecord(uid, n) for uid, n in sorted(passed.items())),
                         settings=self._settings)
        results = [job.folder / path for image in images for path in image.results]
        return Scanned(record, results)

    def _entry(self, job: Job, asked: Asked, earlier: Study | None) -> ImageRecord:
        """The answer of an earlier scan, or of this one."""
        source, name, sealer = asked.source, _name_of(asked.source.paths), self._sealer
        # What is known of seals and records grows, and with it what is to be said of the same image.
        lasting = self._terms.key is None and sealer is None
        known = self._begun(job, name) or self._known(earlier, job, name) if lasting else None
        if known is not None:
            return known
        terms = self._terms if sealer is None else replace(self._terms, known=lambda _: sealer.hold(asked))
        blank = _blank(name, [f"objects/{p.name}" for p in source.paths], asked.members[0])
        try:
            with self._signed(job, name):
                entry = self._judged(job, source, blank, terms)
            if lasting and not entry.error and not entry.note:
                self._keep(job, entry)
            return entry if sealer is None or entry.evidence else replace(entry, evidence={"label": "unsealed"})
        except Exception as error:  # whatever it is, it is this image's, and the study keeps its verdict
            return replace(blank, label="inconclusive", error=self._why(error, job, source))

    @contextmanager
    def _signed(self, job: Job, what: str) -> Iterator[None]:
        """Leaves a sign in the study's folder in case that the process dies over this. Where one did, and no other try
        is left, it is not done again, so that the study has a verdict: `UnsupportedError`."""
        sign = job.folder / f".now-{what}"
        if sign.exists() and job.attempts >= self._gateway.work.attempts:
            sign.unlink()
            raise UnsupportedError("It ended the process that looked at it, again and again; look at it by other "
                                   "means.")
        sign.touch()
        try:
            yield
        finally:
            sign.unlink(missing_ok=True)

    def _why(self, error: Exception, job: Job, source: Source) -> str:
        """The sentence for an image's entry. Raises what every image would meet, and what another try may mend."""
        if full(error) or (passing(error) and job.attempts < self._gateway.work.attempts):
            raise error
        return sentence_of(error, self._folders(job, source))

    def _folders(self, job: Job, source: Source) -> dict[Path, str]:
        """What may stand in a sentence about an image, and what each is called there."""
        series = dict.fromkeys((job.folder / f".{_name_of(source.paths)}", source.paths[0].parent), "The series")
        records = dict.fromkeys(filter(None, (self._inbox.root / "records", self._gateway.work.records)), "The records")
        folders = {**series, job.folder: "The study", **records, self._inbox.root: "The inbox"}
        # In the inbox objects have names of ours, which nobody else knows.
        called = "The object" if len(source.paths) == 1 else "An object of the series"
        return {**folders, **{Path(path.name): called for path in source.paths}}

    def _identities(self, job: Job) -> tuple[dict[Path, Identity], dict[Path, str]]:
        """Of every object, and a sentence for those that have none."""
        found: dict[Path, Identity] = {}
        broken: dict[Path, str] = {}
        for path in job.objects:
            try:
                found[path] = identity_of(path)
            except InputError as error:
                broken[path] = self._why(error, job, Source((path,), "file"))
        return found, broken

    def _known(self, earlier: Study | None, job: Job, name: str) -> ImageRecord | None:
        """The answer of an earlier scan of the same study, where nothing that it depends on has changed since."""
        if earlier is None or earlier.record.settings != self._settings:
            return None
        entry = next((e for e in earlier.record.images if e.id == name and not e.error and not e.note), None)
        if entry is None:
            return None
        try:
            for path in (*entry.results, f"pictures/{name}"):
                linked(earlier.folder / path, job.folder / path)
        except OSError:
            return None
        return entry

    def _keep(self, job: Job, entry: ImageRecord) -> None:
        """For whoever goes on with the study, should this process end before it is done with all of it."""
        for path in entry.results:
            with (job.folder / path).open("rb") as file:
                os.fsync(file.fileno())
        put(job.part(entry.id), StudyRecord(settings=self._settings, images=(entry,)).to_json())

    def _begun(self, job: Job, name: str) -> ImageRecord | None:
        """What a process that ended before it was done with the study has said of this image."""
        record = StudyRecord.from_json(read_json(job.part(name)))
        whole = all((job.folder / path).exists() for one in record.images for path in one.results)
        return record.images[0] if record.images and record.settings == self._settings and whole else None

    def _judged(self, job: Job, source: Source, entry: ImageRecord, terms: Terms) -> ImageRecord:
        """What the entry of an image says once it was looked at; its results and pictures are written on the way."""
        result = scan_source(source, terms)
        image, verdict = result.image, result.verdict
        entry = replace(entry, label=result.label)
        if result.error is not None:
            entry = replace(entry, error=self._why(result.error, job, source))
        if image is None:
            return entry
        if verdict is None:  # what no witness spoke of is shown all the same
            entry = replace(entry, modality=image.modality, shape=image.shape, spacing=image.spacing)
        else:
            entry = _said(entry, image, verdict)
            entry = replace(entry, reason=without_paths(entry.reason, self._folders(job, source)))
            try:
                entry = replace(entry, results=tuple(self._written(job, image, verdict)))
            except Exception as error:
                entry = _noted(entry, f"It has no DICOM results: {self._why(error, job, source)}")
        heat = np.zeros(image.shape, np.float32) if verdict is None else verdict.heat
        entry = replace(entry, heat=round(float(heat.max()), 4),
                        chest_wall=chest_wall(image.pixels[0]) if image.modality == "MG" else "")
        try:
            self._draw(job, image, heat,
                       () if verdict is None else verdict.findings, entry)
        except Exception as error:
            entry = _noted(entry, f"It has no pictures: {self._why(error, job, source)}")
        return entry

    def _draw(self, job: Job, image: Image, heat: npt.NDArray[np.float32], findings: tuple[Finding, ...],
              entry: ImageRecord) -> None:
        from scanward.report.pictures import draw

        label: Label = "inconclusive" if entry.label == "unscanned" else entry.label
        draw(image, heat, findings, label, job.folder / "pictures" / entry.id)

    def _written(self, job: Job, image: Image, verdict: Verdict) -> list[str]:
        """The result objects, known as ours before anybody is sent them."""
        from scanward.formats.derived import write_dicom
        from scanward.report.montage import summary

        wanted = self._gateway.results.objects
        if not wanted:
            return []
        kept = []
        for path in write_dicom(image, verdict, job.folder / "results", overlay=summary(image, verdict)):
            if path.stem.rsplit("-", 1)[-1] in wanted:
                self._inbox.mark_made(identity_of(path).sop_instance)
                kept.append(f"results/{path.name}")
            else:
                path.unlink()
        return kept


def _sources(identities: dict[Path, Identity], passed: Counter[str]) -> list[tuple[Source, str]]:
    """Mammograms one by one, CT by volumes, each with why it cannot be sealed, empty where nothing is in the way; what
    is neither is counted.

    Slices that came again with other contents make the series whole once more: a forger need not replace all.
    """
    series: dict[tuple[str, str], list[Path]] = {}
    for path, identity in identities.items():
        if not identity.scanned:
            passed[identity.sop_class] += 1
        else:
            series.setdefault((identity.series, path.name if identity.film else ""), []).append(path)
    found: list[Source] = []
    for (_, film), paths in series.items():
        whole, lost = ([paths], []) if film else versions(paths)
        found += [Source(tuple(one), "file" if len(one) == 1 else "series") for one in (*whole, *([p] for p in lost))]
    volumes = Counter(path for one in found for path in one.paths)
    objects = Counter(one.sop_instance for one in identities.values())
    return [(one, _unclear([identities[path] for path in one.paths], objects, any(volumes[p] > 1 for p in one.paths)))
            for one in found]


def _unclear(members: Sequence[Identity], objects: Counter[str], shared: bool) -> str:
    """Why an image cannot be sealed, a clause."""
    if any(objects[one.sop_instance] > 1 for one in members):
        return "two objects of its study have one SOP Instance UID and other contents"
    if shared:
        return "its series holds several slices at one place"
    return "it says of itself that it is synthetic" if any(one.synthetic for one in members) else ""


def _study(job: Job, identities: list[Identity]) -> StudyRecord:
    """Whose study it is, and when it came."""
    first = next((i for i in identities if i.scanned), identities[0] if identities else None)
    received = min((path.stat().st_mtime for path in job.objects), default=None)
    return StudyRecord(
        key=job.key, study_uid=first.study if first else "", patient_id=first.patient_id if first else "",
        issuer=first.issuer if first else "",
        accession=first.accession if first else "", description=first.description if first else "",
        study_date=first.date if first else "", modality=first.modality if first else "", received=stamp(received),
        finished=stamp(), attempts=job.attempts)


def _worst(images: list[ImageRecord]) -> tuple[StudyLabel, float | None]:
    """Label and score; None where the label vouches for none, as a number would be read as an answer."""
    label = worst(image.label for image in images)
    scores = [image.score or 0.0 for image in images if image.label in SCORED and not image.error]
    return label, max(scores, default=None) if label in SCORED else None


def _blank(name: str, files: list[str], identity: Identity | None) -> ImageRecord:
    return ImageRecord(name, tuple(files), sop_instance_uid=identity.sop_instance if identity else "",
                       series_instance_uid=identity.series if identity else "",
                       modality=identity.modality if identity else "", version=__version__,
                       laterality=identity.laterality if identity else "", view=identity.view if identity else "")


def _name_of(paths: Sequence[Path]) -> str:
    """An image's identifier, which follows from its objects."""
    return hashlib.sha256("\n".join(path.name for path in paths).encode()).hexdigest()[:32]


def _unread(path: Path, sentence: str) -> ImageRecord:
    return replace(_blank(_name_of([path]), [f"objects/{path.name}"], None), label="inconclusive", error=sentence)


def _noted(entry: ImageRecord, sentence: str) -> ImageRecord:
    return replace(entry, note=" ".join(filter(None, (entry.note, sentence))))


def _said(entry: ImageRecord, image: Image, verdict: Verdict) -> ImageRecord:
    """What the verdict says, of the entry's image."""
    return replace(ImageRecord.from_json(verdict.to_json()), id=entry.id, files=entry.files,
                   sop_instance_uid=entry.sop_instance_uid, series_instance_uid=entry.series_instance_uid,
                   laterality=entry.laterality, view=entry.view, shape=image.shape, spacing=image.spacing,
                   evidence=next((e.facts for e in verdict.evidence if e.method == SEAL), None))
