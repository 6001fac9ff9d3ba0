"""What a person reads on stdout: one line an image, and the table of methods."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scanward import weights
from scanward.box import slices_of
from scanward.cli.words import counted, shown
from scanward.methods import DEFAULT, METHODS, Kind
from scanward.modality import MODALITIES
from scanward.report.jsonl import json_line

if TYPE_CHECKING:
    from scanward.formats.sources import Passed
    from scanward.judging.scan import Result
    from scanward.verdict import Finding, Label, Verdict

MOST_NAMES = 5
HEAD = f"{'label':<12}  {'score':>5}  {'threshold':>9}  {'seconds':>7}  {'findings':<60}  path"


@dataclass(frozen=True)
class Row:
    """What the table says of one image."""

    label: Label
    text: str
    """Score, threshold, seconds and findings in their columns."""
    path: str
    reason: str
    """Printed below where it is inconclusive."""
    remarks: str = ""
    """Printed below whatever it is."""


def row_of(result: Result) -> Row | None:
    """None for a result without a verdict."""
    from scanward.verdict import SYNTHETIC

    verdict = result.verdict
    if verdict is None:
        return None
    text = f"{verdict.score:5.3f}  {verdict.threshold:9.3f}  {verdict.seconds:7.2f}  {described(verdict):<60}"
    marked = [SYNTHETIC] if verdict.provenance.synthetic else []
    return Row(verdict.label, text, str(result.path), verdict.reason, " ".join([*marked, verdict.remarks]).strip())


class Lines:
    """Prints a line as soon as its image is judged; the path comes last, so that no width cuts it off."""

    def __init__(self) -> None:
        from scanward.verdict import COLOURS

        self._colours = COLOURS
        # No `file`: the progress bar may put its own stdout in place while it is drawn.
        self._console = Console(highlight=False, soft_wrap=True)
        self._headed = False
        self.counts: Counter[str] = Counter()

    def add(self, row: Row | None) -> None:
        """A row, or None for an error."""
        if row is None:
            self.counts["error"] += 1
            return
        if not self._headed:
            self._console.print(HEAD, style="bold")
            self._headed = True
        self.counts[row.label] += 1
        line = Text(f"{row.label:<12}", style=self._colours[row.label])
        line.append(f"  {row.text}  {shown(row.path)}", style="default not bold")
        self._console.print(line)
        if row.label == "inconclusive":
            self._console.print(Text(f"  {row.reason}", style="dim"))
        if row.remarks:
            self._console.print(Text(f"  Remark: {row.remarks}", style="dim"))

    def summary(self) -> str:
        """`3 images: 1 tampered, 2 authentic.`, with the errors if there were any."""
        judged = ", ".join(f"{n} {label}" for label in self._colours if (n := self.counts[label]))
        total = sum(self.counts[label] for label in self._colours)
        text = f"{counted(total, 'image')}: {judged}" if total else "No image was judged"
        return text + (f"; {counted(self.counts['error'], 'error')}." if self.counts["error"] else ".")

    def close(self, passed: Sequence[Passed] = (), unmeasured: int = 0) -> None:
        """The summary, how many images say nothing of their spacing, and what a search passed over."""
        self._console.print(self.summary())
        if unmeasured:
            self._console.print(Text(f"{counted(unmeasured, 'image')} without a pixel spacing: give --spacing MM "
                                     "to have findings in mm."))
        if passed:
            self._console.print(Text(passed_over(passed)))


def passed_over(passed: Sequence[Passed]) -> str:
    """One line that names what a search passed over, the first `MOST_NAMES` of each kind."""
    from scanward.formats.sources import PASSED

    said = []
    for what in PASSED:
        paths = [shown(str(one.path)) for one in passed if one.what == what]
        if paths:
            more = f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else ""
            said.append(f"{len(paths)} {what}: {', '.join(paths[:MOST_NAMES])}{more}")
    return f"Passed over: {'; '.join(said)}."


def described(verdict: Verdict) -> str:
    """The number of findings and the strongest one's place; or the reason why nothing can be said."""
    if verdict.label == "inconclusive":
        return "unusual, but no alarm" if verdict.doubtful else "cannot be told"
    if not verdict.findings:
        return "none"
    first = verdict.findings[0]
    (_, y, x), (_, y0, x0) = first.box.centre, first.box[:3]
    deep = f", {slices_of(first.box)}" if verdict.heat.shape[0] > 1 else ""
    return f"{len(verdict.findings)}: {extent(first)}, centre x {x:.0f}, y {y:.0f}, corner x {x0}, y {y0}{deep}"


def extent(finding: Finding) -> str:
    """`12×9 mm`, or pixels where the spacing is unknown."""
    _, y0, x0, _, y1, x1 = finding.box_mm or finding.box
    return f"{x1 - x0:.0f}×{y1 - y0:.0f} {'mm' if finding.box_mm else 'px'}"


def methods_json() -> None:
    """One object a method: what `print_methods` prints, for programs."""
    known = weights.manifest()
    for row in METHODS:
        trained = [{"name": name, **({"trained_on": known[name].trained_on, "licence": known[name].licence,
                                      "sha256": known[name].sha256} if name in known else {"missing": True})}
                   for name in row.weights]
        print(json_line({"name": row.name, "kind": row.kind, "modality": row.modality, "action": row.action,
                         "summary": row.summary, "options": list(row.options), "weights": trained}), end="")


def print_methods() -> None:
    """Every method, and for trained ones the data, its licence, and whether the weights are here."""
    known = weights.manifest()
    console = Console(file=sys.stdout, highlight=False)
    kinds: tuple[Kind, ...] = ("detector", "attack", "protector", "judge")
    for kind in kinds:
        rows = [m for m in METHODS if m.kind == kind]
        if not rows:
            continue
        table = Table(title=f"{kind.capitalize()}s", title_justify="left", title_style="bold", box=None, pad_edge=False)
        trained = "; trained on" if any(row.weights for row in rows) else ""
        for column in ("name", "modality", "what it does" + trained):
            table.add_column(column, overflow="fold", no_wrap=column == "name")
        for method in rows:
            text = Text(method.summary)
            for name in method.weights:
                entry = known.get(name)
                text.append(f"\n{entry.trained_on} ({entry.licence})" if entry else
                            f"\nno weights here; make them with `scanward train {method.name}`", style="dim")
            table.add_row(method.name, method.modality, text)
        console.print(table)
        console.print()
    both = "; ".join(f"on {name} {' and '.join(row.detectors)}" for name, row in MODALITIES.items())
    console.print(f"A plain `scanward scan` runs `{DEFAULT}`: {both} together.")
