"""A study's objects scanned: what `study.json` says of them, the results for the PACS, the pictures for the pages."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward import formats, pipeline, protection
from scanward.box import flat
from scanward.errors import InputError
from scanward.formats import Source
from scanward.formats.identity import Identity, identity_of
from scanward.formats.series import versions
from scanward.gateway.evidence import Evidence
from scanward.image import Image
from scanward.inbox.folders import Inbox, Job, Study, linked, stamp
from scanward.protectors.seal import Answer
from scanward.settings import Gateway
from scanward.site import read_site
from scanward.verdict import Finding, Label, Verdict, worst
from scanward.version import __version__

SCORES = {"authentic": 0.0, "tampered": 1.0, "inconclusive": 0.5}
"""Of verified images; evidence gives an answer and no score."""


@dataclass(frozen=True)
class Scanned:
    """A study after its scan."""

    facts: dict[str, Any]
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
        pipeline.check_method(gateway.work.method)
        self._site = None if gateway.work.site is None else read_site(gateway.work.site)
        pipeline.check_site(self._site, gateway.work.method)
        self._evidence = Evidence(gateway, inbox)
        self._settings = self._digest()

    def _digest(self) -> str:
        """Everything besides the pixels that an answer depends on."""
        work = self._gateway.work
        parts = [__version__, work.method, pipeline.weights_of(work.method), list(self._gateway.results.objects),
                 *(path.read_text("utf-8", "replace") if path else ""
                   for path in (work.site, work.verify_key, self._gateway.protect.key))]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def scan(self, job: Job) -> Scanned:
        """Every image of a study, each on its own; an unreadable object is an image with an error."""
        images: list[dict[str, Any]] = []
        passed: Counter[str] = Counter()
        protected: dict[str, list[Path]] = {}
        earlier = self._inbox.earlier(job)
        identities, broken = _identities(job)
        images += [_unread(path, sentence) for path, sentence in broken.items()]
        for source, alone in _sources(identities, passed):
            members = [identities[path] for path in source.paths]
            name = hashlib.sha256("\n".join(p.name for p in source.paths).encode()).hexdigest()[:16]
            known = None if self._evidence.on else self._known(earlier, job, name)
            entry = known or self._entry(job, source, members[0], name)
            images.append(entry)
            if alone and not members[0].film and entry["label"] in ("authentic", "unscanned"):
                with suppress(InputError):  # a series that cannot be protected goes nowhere, and its entry says why
                    files = self._evidence.protected(job, source, members, name, earlier)
                    if files:
                        protected[name] = files
        facts = {**_study(job, list(identities.values())), **_worst(images), "images": images,
                 "passed": [{"sop_class": uid, "count": n} for uid, n in sorted(passed.items())],
                 "settings": self._settings}
        results = [job.folder / path for image in images for path in image.get("results", ())]
        return Scanned(facts, results, protected)

    def _known(self, earlier: Study | None, job: Job, name: str) -> dict[str, Any] | None:
        """The answer of an earlier scan of the same study, where nothing that it depends on has changed since."""
        if earlier is None or earlier.facts.get("settings") != self._settings:
            return None
        entry = next((e for e in earlier.facts["images"] if e["id"] == name and not e["error"]), None)
        if entry is None:
            return None
        try:
            for path in (*entry["results"], f"pictures/{name}"):
                linked(earlier.folder / path, job.folder / path)
        except OSError:
            return None
        return dict(entry)

    def _entry(self, job: Job, source: Source, identity: Identity, name: str) -> dict[str, Any]:
        entry = _blank(name, [f"objects/{p.name}" for p in source.paths], identity)
        try:
            verified = self._evidence.verify(source, identity)
        except InputError as error:
            # Evidence that is there and cannot be read is no pass: one odd slice would be a way round it.
            verified, entry["reason"], entry["label"] = None, _told(error, source), "inconclusive"
        result = pipeline.scan_source(source, method=self._gateway.work.method, site=self._site)
        if result.image is not None and result.verdict is not None:
            doubt = entry["label"] == "inconclusive"
            entry |= _facts(result.image, result.verdict)
            if doubt and entry["label"] == "authentic":
                entry["label"] = "inconclusive"
            entry["results"] = self._written(job, result.image, result.verdict)
            heat, image, findings = result.verdict.heat, result.image, result.verdict.findings
        elif verified is not None:
            image, heat, findings = verified[0], verified[1].map(), ()
        else:
            return self._unjudged(job, source, identity, entry, result.error)
        if verified is not None:
            heat, findings = _with_answer(entry, image, heat, findings, verified[1])
        self._draw(job, image, heat, findings, entry)
        return entry

    def _unjudged(self, job: Job, source: Source, identity: Identity, entry: dict[str, Any],
                  error: InputError | None) -> dict[str, Any]:
        """What no detector looks at is shown all the same, where it can be read."""
        entry["error"] = _told(error, source) if error else "Nothing looked at it."
        if identity.film:
            entry["label"] = "inconclusive"
        with suppress(InputError):
            image = formats.read(source)
            entry |= {"modality": image.modality, "shape": list(image.shape),
                      "spacing": None if image.spacing is None else list(image.spacing)}
            self._draw(job, image, np.zeros(image.shape, np.float32), (), entry)
        return entry

    def _draw(self, job: Job, image: Image, heat: npt.NDArray[np.float32], findings: tuple[Finding, ...],
              entry: dict[str, Any]) -> None:
        from scanward.report.pictures import draw

        label: Label = "inconclusive" if entry["label"] == "unscanned" else entry["label"]
        draw(image, heat, findings, label, job.folder / "pictures" / entry["id"])

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


def _study(job: Job, identities: list[Identity]) -> dict[str, Any]:
    """Whose study it is, and when it came."""
    first = next((i for i in identities if i.scanned), identities[0] if identities else None)
    received = min((path.stat().st_mtime for path in job.objects), default=None)
    return {"key": job.key, "study_uid": first.study if first else "", "patient_id": first.patient_id if first else "",
            "accession": first.accession if first else "", "description": first.description if first else "",
            "study_date": first.date if first else "", "modality": first.modality if first else "",
            "received": stamp(received), "finished": stamp(), "attempts": job.attempts, "error": None}


def _worst(images: list[dict[str, Any]]) -> dict[str, Any]:
    return {"label": worst(image["label"] for image in images),
            "score": max((image["score"] for image in images), default=0.0)}


def _blank(name: str, files: list[str], identity: Identity | None) -> dict[str, Any]:
    return {"id": name, "files": files, "sop_instance_uid": identity.sop_instance if identity else "",
            "series_instance_uid": identity.series if identity else "",
            "modality": identity.modality if identity else "", "label": "unscanned", "score": 0.0, "threshold": 0.5,
            "findings": [], "reason": "", "shape": None, "spacing": None, "error": None, "method": "",
            "version": __version__, "weights_sha256": None, "seconds": 0.0, "results": []}


def _unread(path: Path, sentence: str) -> dict[str, Any]:
    name = hashlib.sha256(path.name.encode()).hexdigest()[:16]
    return {**_blank(name, [f"objects/{path.name}"], None), "label": "inconclusive", "error": sentence}


def _told(error: InputError, source: Source) -> str:
    """The sentence without this machine's folders in it."""
    return str(error).replace(f"{source.paths[0].parent}/", "").replace(str(source.paths[0].parent), "The series")


def _facts(image: Image, verdict: Verdict) -> dict[str, Any]:
    told = verdict.to_json()
    kept = ("modality", "label", "score", "threshold", "findings", "reason", "method", "version", "weights_sha256",
            "seconds")
    return {**{name: told[name] for name in kept}, "shape": list(image.shape),
            "spacing": None if image.spacing is None else list(image.spacing)}


def _with_answer(entry: dict[str, Any], image: Image, heat: npt.NDArray[np.float32], findings: tuple[Finding, ...],
                 answer: Answer) -> tuple[npt.NDArray[np.float32], tuple[Finding, ...]]:
    """Puts what the evidence says into an entry: the worse label counts, and only evidence is sure."""
    label = answer.label
    entry["evidence"] = protection.facts(answer)
    if entry["label"] == "unscanned" or worst((entry["label"], label)) == label:
        found = tuple(Finding(place.box, 1.0, method="evidence") for place in answer.findings)
        findings += found
        entry |= {"label": label, "score": max(entry["score"], SCORES[answer.label]), "error": None,
                  "reason": " ".join(part for part in (answer.sentence, entry["reason"]) if part),
                  "method": " + ".join(part for part in ("evidence", entry["method"]) if part),
                  "modality": image.modality, "shape": list(image.shape),
                  "spacing": None if image.spacing is None else list(image.spacing),
                  "findings": entry["findings"] + [{"box": flat(f.box, image.shape[0] == 1), "box_mm": None,
                                                    "score": f.score, "method": f.method} for f in found]}
        heat = np.maximum(heat, (answer.map() == 1).astype(np.float32))
    return heat, findings

