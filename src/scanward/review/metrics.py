"""What there is and what happened, in the text format of Prometheus. All of it is read from the disk: it is the same
whichever process answers, and goes on counting after a restart."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from scanward.audit import tally
from scanward.audit.events import read_on
from scanward.delivery.state import QUEUES, names
from scanward.errors import ScanwardError
from scanward.inbox.troubles import troubles
from scanward.verdict import STUDY_LABELS
from scanward.version import __version__

if TYPE_CHECKING:
    from scanward.delivery.certificates import Certificates
    from scanward.inbox.folders import Inbox
    from scanward.inbox.readiness import Readiness

Counts = dict[tuple[str, str], float]
KNOWN = ("disk.full", "worker.dies", "worker.stalled", "pages.dies", "node.stalled")
"""Troubles that are named where they are not there, too."""
COUNTERS = (
    ("received", "objects_received", "Objects taken in, by C-STORE or by pulling.", "by", ("store", "pull")),
    ("refused", "objects_refused", "Objects refused.", "reason", tally.REASONS),
    ("scanned", "studies_scanned", "Studies scanned, or set aside as failed.", "verdict", (*STUDY_LABELS, "failed")),
    ("logins", "logins", "Tries to log in.", "outcome", ("accepted", "refused")),
)
"""What the log counts: there, here, in words, by which label, and the values it has."""


def exposition(state: Any, certificates: Certificates | None) -> tuple[bytes, str]:
    """The text and its media type, of an app's state."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Gateway(state.inbox, state.ready, state.trail, certificates))
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


class Gateway(Collector):
    """All metrics, as they are now."""

    def __init__(self, inbox: Inbox, ready: Readiness, trail: Path | None, certificates: Certificates | None) -> None:
        self._inbox, self._ready, self._trail, self._certificates = inbox, ready, trail, certificates

    def describe(self) -> Iterator[Metric]:
        """Nothing: what there is, is not known before it is looked at."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """What cannot be read is not there: a full disk leaves the gauges of it."""
        yield _gauge("build_info", "The version that runs.", {("version", __version__): 1})
        yield _gauge("ready", "1 where /readyz answers 200.", {("", ""): not self._ready.reasons()})
        yield from self._now()
        with suppress(ScanwardError):
            if self._trail is not None:
                with suppress(ScanwardError, OSError):
                    read_on(self._inbox.index, self._trail)
            yield from _counters(tally.counted(self._inbox.index))

    def _now(self) -> Iterator[Metric]:
        there = self._inbox.counts()
        studies = {("state", state): float(there[state]) for state in ("incoming", "working", "done", "failed")}
        yield _gauge("studies", "Studies in the inbox.", studies)
        root = self._inbox.root
        refused = dict.fromkeys(QUEUES, 0.0)
        waiting = {"studies": float(there["incoming"] + there["working"]), **refused}
        for queue, _ in names(root, "waiting"):
            waiting[queue] += 1
        for queue, _ in names(root, "refused"):
            refused[queue] += 1
        yield _gauge("queue_length", "What waits or is being worked on.", _by("queue", waiting))
        yield _gauge("deliveries_refused", "What its receiver refused for good, and nobody sent again.",
                     _by("queue", refused))
        disk = shutil.disk_usage(root)
        yield _gauge("disk_free_bytes", "Free on the inbox's disk.", {("", ""): disk.free})
        yield _gauge("disk_size_bytes", "Size of the inbox's disk.", {("", ""): disk.total})
        found = {one.name for one in troubles(self._inbox)}
        yield _gauge("trouble", "1 where it is there: what is wrong with the gateway as a whole.",
                     _by("name", {name: name in found for name in sorted({*KNOWN, *found})}))
        if self._certificates is not None:
            now = time.time()
            yield _gauge("certificate_expires_seconds", "Seconds until a certificate of ours ends.",
                         _by("name", {name: end - now for name, end in sorted(self._certificates.ends().items())}))


def _counters(counts: Counts) -> Iterator[Metric]:
    for name, called, words, label, kinds in COUNTERS:
        family = CounterMetricFamily(f"scanward_{called}", words, labels=[label])
        for kind in kinds:
            family.add_metric([kind], counts.get((name, kind), 0))
        yield family
    rejected = CounterMetricFamily("scanward_associations_rejected", "Associations refused.")
    rejected.add_metric([], counts.get(("rejected", ""), 0))
    yield rejected
    delivered = CounterMetricFamily("scanward_deliveries", "What left a queue.", labels=["queue", "outcome"])
    for queue in QUEUES:
        for outcome in ("sent", "refused"):
            delivered.add_metric([queue, outcome], counts.get(("delivered", f"{queue} {outcome}"), 0))
    yield delivered
    buckets, total = [], 0.0
    for bound in tally.BOUNDS:
        total += counts.get(("scans", str(bound)), 0)
        buckets.append(("+Inf" if math.isinf(bound) else str(bound), total))
    yield HistogramMetricFamily("scanward_scan_seconds", "How long the scan of a study took.", buckets=buckets,
                                sum_value=counts.get(("seconds", ""), 0))


def _gauge(name: str, words: str, values: dict[tuple[str, str], float]) -> Metric:
    """`values` by label and its value, both empty for one without."""
    label = next(iter(values), ("", ""))[0]
    family = GaugeMetricFamily(f"scanward_{name}", words, labels=[label] if label else [])
    for (_, kind), value in values.items():
        family.add_metric([kind] if label else [], float(value))
    return family


def _by(label: str, values: dict[str, float]) -> dict[tuple[str, str], float]:
    return {(label, kind): value for kind, value in values.items()}
