"""Yardsticks for forged chest CT beside `ct-self-reference`, on the forgeries of `scanward bench ct`.

    python benchmarks/ct_baselines.py train               # HexMIL, on CT-GAN's forgeries of the train scans
    python benchmarks/ct_baselines.py measure             # all methods, or those that are named
    python benchmarks/ct_baselines.py tables --judged bench-out/ct-XXXXXXXX.jsonl

Needs the chest CTs (--data or SCANWARD_DATA); forgeries and answers are kept in --output, and what is there is not
done again. `--judged` is what `scanward bench ct` keeps of its answers. After the detector's
weights changed: `measure ct-self-reference`, and `tables`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scanward.bench.ct import kept as judged_rows
from scanward.bench.ct_baseline_tables import report
from scanward.bench.ct_baselines import FILES, YARDSTICKS, answers_of, kept, run
from scanward.errors import ScanwardError, UnreadableError

FORGERIES = 40
"""A train scan, for HexMIL."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "measure", "tables"))
    parser.add_argument("methods", nargs="*", choices=[[], *YARDSTICKS], metavar="METHOD",
                        help=f"of {', '.join(YARDSTICKS)}; none: all of them")
    parser.add_argument("--data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/ct-baselines"))
    parser.add_argument("--judged", type=Path, help="the answers that `scanward bench ct` keeps")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    try:
        done(asked)
    except ScanwardError as error:
        parser.error(str(error))


def done(asked: argparse.Namespace) -> None:
    names = asked.methods or list(YARDSTICKS)
    if asked.what == "train":
        from scanward.training.ct_hexmil import trained

        trained(asked.output / "hexmil", asked.data, FORGERIES)
    elif asked.what == "measure":
        for name in names:
            if not run(name, asked.data, asked.output):
                raise UnreadableError("The data folder holds none of the chest CTs; name it with --data.")
    else:
        answers = {name: list(kept(answers_of(name, asked.output))) for name in names
                   if name != "hexmil" or (asked.output / "hexmil" / FILES[0]).is_file()}
        rows = list(judged_rows(asked.judged)) if asked.judged else []
        print(report({name: some for name, some in answers.items() if some}, rows))


if __name__ == "__main__":
    main()
