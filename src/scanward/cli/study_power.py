"""`scanward study power`: how likely a study of so many readers and films is to find a difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from scanward.bench import multireader
from scanward.bench.multireader import VAN_DYKE, Components
from scanward.bench.readers import power_of
from scanward.bench.tables import table
from scanward.cli.codes import CLEAN
from scanward.errors import ArgumentError

MOST_READERS, MOST_FILMS, MOST_READINGS = 100, 100_000, 5000
N = TypeVar("N", int, float)
ORDER = "Var(tR),Cov1,Cov2,Cov3,Var,CASES"


def run_power(readers: str, films: str, effect: float, parts: str | None, rates: str | None) -> int:
    """Print the table: of AUCs, or of rates where they are given."""
    rows = _numbers(readers, "--readers", 1 if rates else 2, MOST_READERS)
    columns = [_films(one) for one in films.split(",")]
    head = ("readers", *(_said(pair) for pair in columns))
    if rates:
        both = _rates(rates)
        if max(rows) * max(map(max, columns)) > MOST_READINGS:
            raise ArgumentError(f"The test of rates is counted out for up to {MOST_READINGS} readings of a kind; ask "
                                "for fewer readers or films.")
        body = [(str(r), *(f"{power_of(both, (r * a, r * b)):.3f}" for a, b in columns)) for r in rows]
        print(f"Power of the χ² test of Bar-on 2020, rates {both[0]:g} (healthy) and {both[1]:g} (fake), p < 0.05.\n")
        print(table(head, body))
        print("\nIt takes readings as independent; several of one film are not, so that the true power is less.")
        return CLEAN
    if not 0 < effect < 1:
        raise ArgumentError(f"--effect is a difference of AUCs between 0 and 1, not {effect:g}.")
    known = _components(parts) if parts else VAN_DYKE
    body = [(str(r), *(f"{multireader.power(effect, r, a + b, known):.3f}" for a, b in columns)) for r in rows]
    print(f"Power to find a difference of {effect:g} between two AUCs, for other readers and other films, p < 0.05.\n")
    print(table(head, body))
    print("\nObuchowski and Rockette, Hillis and others 2011. Components: " + (
          "given." if parts else "Van Dyke 1993 (MRI of the aorta); give those of a pilot with --components."))
    return CLEAN


def _films(text: str) -> tuple[int, int]:
    """`65` halves, `20+45` says how many are healthy and how many are fakes."""
    whole = _parsed(text.split("+"), int)
    if not whole or min(whole) < 1 or max(whole) > MOST_FILMS or len(whole) > 2 or (len(whole) == 1 and whole[0] < 2):
        raise ArgumentError(f"--films {text!r} is no number of films; write 60, or 20+45 for healthy and fake ones.")
    return (whole[0] // 2, whole[0] - whole[0] // 2) if len(whole) == 1 else (whole[0], whole[1])


def _said(pair: tuple[int, int]) -> str:
    return f"{pair[0]} + {pair[1]} films"


def _parsed(parts: list[str], kind: Callable[[str], N]) -> list[N]:
    """Nothing where one of them is none."""
    try:
        return [kind(one) for one in parts]
    except ValueError:
        return []


def _numbers(text: str, option: str, least: int, most: int) -> list[int]:
    found = _parsed(text.split(","), int)
    if not found or min(found) < least or max(found) > most:
        raise ArgumentError(f"{option} needs whole numbers from {least} to {most}, as in 4,6,10; not {text!r}.")
    return found


def _floats(text: str, option: str, count: int, example: str) -> list[float]:
    found = _parsed(text.split(","), float)
    if len(found) != count or not all(abs(one) < float("inf") for one in found):
        raise ArgumentError(f"{option} needs {count} numbers, as in {example}; not {text!r}.")
    return found


def _rates(text: str) -> tuple[float, float]:
    first, second = _floats(text, "--rates", 2, "0.45,0.69")
    if not (0 <= first <= 1 and 0 <= second <= 1):
        raise ArgumentError(f"--rates needs two rates between 0 and 1; not {text!r}.")
    return first, second


def _components(text: str) -> Components:
    test_reader, cov1, cov2, cov3, error, cases = _floats(text, "--components", 6,
                                                          "0.0002,0.00035,0.00034,0.00024,0.0008,114")
    made = Components(test_reader, error, cov1, cov2, cov3, int(cases))
    if made.cases < 1 or not error - cov1 > max(cov2 - cov3, 0.0):
        raise ArgumentError(f"--components ({ORDER}) must leave Var − Cov1 larger than Cov2 − Cov3, with a case or "
                            "more.")
    return made
