"""What a person reads on stdout: one line an image, and the table of methods."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scanward.cli.words import counted, shown
from scanward.methods import DEFAULT, METHODS, Kind
from scanward.modality import MODALITIES

if TYPE_CHECKING:
    from scanward.judging.scan import Result
    from scanward.verdict import Finding, Verdict

HEAD = f"{'label':<12}  {'score':>5}  {'threshold':>9}  {'seconds':>7}  {'findings':<32}  path"


class Lines:
    """Prints a line as soon as its image is judged; the path comes last, so that no width cuts it off."""

    def __init__(self) -> None:
        from scanward.verdict import COLOURS

        self._colours = COLOURS
        # No `file`: the progress bar may put its own stdout in place while it is drawn.
        self._console = Console(highlight=False, soft_wrap=True)
        self._headed = False
        self.counts: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        if result.verdict is None:
            self.counts["error"] += 1
            return
        if not self._headed:
            self._console.print(HEAD, style="bold")
            self._headed = True
        verdict = result.verdict
        self.counts[verdict.label] += 1
        line = Text(f"{verdict.label:<12}", style=self._colours[verdict.label])
        line.append(f"  {verdict.score:5.3f}  {verdict.threshold:9.3f}  {verdict.seconds:7.2f}  "
                    f"{described(verdict):<32}  ", style="default not bold")
        line.append(shown(str(result.path)), style="default not bold")
        self._console.print(line)
        if verdict.label == "inconclusive":
            self._console.print(Text(f"  {verdict.reason}", style="dim"))

    def summary(self) -> str:
        """`3 images: 1 tampered, 2 authentic.`, with the errors if there were any."""
        judged = ", ".join(f"{n} {label}" for label in self._colours if (n := self.counts[label]))
        total = sum(self.counts[label] for label in self._colours)
        text = f"{counted(total, 'image')}: {judged}" if total else "No image was judged"
        return text + (f"; {counted(self.counts['error'], 'error')}." if self.counts["error"] else ".")

    def close(self) -> None:
        self._console.print(self.summary())


def described(verdict: Verdict) -> str:
    """The number of findings and the strongest one's place; or the reason why nothing can be said."""
    if verdict.label == "inconclusive":
        return "unusual, but no alarm" if verdict.doubtful else "cannot be told"
    if not verdict.findings:
        return "none"
    first = verdict.findings[0]
    return f"{len(verdict.findings)}: {extent(first)} at x {first.box.x0}, y {first.box.y0}"


def extent(finding: Finding) -> str:
    """`12×9 mm`, or pixels where the spacing is unknown."""
    _, y0, x0, _, y1, x1 = finding.box_mm or finding.box
    return f"{x1 - x0:.0f}×{y1 - y0:.0f} {'mm' if finding.box_mm else 'px'}"


def print_methods() -> None:
    """Every method, and for trained ones the data, its licence, and whether the weights are here."""
    from scanward.weights import manifest

    known = manifest()
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
    console.print(f"A plain `scanward scan` runs `{DEFAULT}`: {' and '.join(MODALITIES['MG'].detectors)} together.")
