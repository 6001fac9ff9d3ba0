"""`scanward sign`, and what `verify` says of the digital signatures in DICOM files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from scanward.cli.codes import ERROR, worst
from scanward.cli.sealing import Checkup
from scanward.cli.table import passed_over
from scanward.cli.words import complain, shown
from scanward.disk import whole_file, whole_folder
from scanward.errors import InputError
from scanward.formats import Source, find
from scanward.formats.sources import Passed, series_or_file
from scanward.formats.write_volume import check_apart
from scanward.seals.answers import BESIDE, VERIFIED
from scanward.seals.check import Identity
from scanward.seals.dicom_keys import DicomSigner
from scanward.seals.dicom_signature import Heard, Vouched, hear, signed_copy
from scanward.seals.trust import Trust
from scanward.verdict import Label
from scanward.verdict import worst as worst_label

MOST = 12


def run_sign(paths: Sequence[str], output: Path, signer: DicomSigner, quiet: bool) -> int:
    """Write a signed copy of every DICOM image that the paths name, as they lie in the folders that were named; one
    that cannot be signed never stops the others."""
    codes, found = set(), []
    for argument in paths:
        passed: list[Passed] = []
        sources, errors = find([argument], passed=passed)
        for sentence in [*map(str, errors), *([passed_over(passed)] if passed else [])]:
            complain(sentence)
        codes |= {ERROR} if errors else set()
        for source in sources:
            check_apart(source, output)
        found.append((argument, sources))
    for argument, sources in found:
        for path in (path for source in sources for path in source.paths):
            name = path.relative_to(argument) if Path(argument).is_dir() else Path(path.name)
            try:
                made = signed_copy(path, signer)
                with whole_file(output / name, replace=False) as file:
                    file.write(made)
            except InputError as error:
                complain(str(error))
                codes.add(ERROR)
                continue
            if not quiet:
                print(shown(str(output / name)), flush=True)
    return worst(codes)


class Said(Protocol):
    """What is said of one image."""

    @property
    def label(self) -> Label: ...
    def facts(self) -> dict[str, Any]: ...
    def say(self) -> None: ...


@dataclass(frozen=True)
class Signed:
    """One image by the signatures in it and, where it has one, by its seal."""

    path: str
    answer: Vouched
    seal: Said | None = None

    @property
    def label(self) -> Label:
        """The worst of both."""
        return cast(Label, worst_label([self.answer.label] + ([self.seal.label] if self.seal else [])))

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        answer = self.answer
        own = {"path": self.path, "label": answer.label, "reason": answer.reason} | {
            name: {"label": part.label, "reason": part.reason} for name, part in answer.named}
        told = {"signers": list(answer.signers), "signatures": [_facts(one) for one in answer.heard]}
        if self.seal is None:
            return own | told
        both = self.seal.facts()
        if answer.label == self.label != self.seal.label:
            both |= {"label": answer.label, "reason": answer.reason}
        return both | {"signature": own | told}

    def say(self) -> None:
        """For people."""
        if self.seal is not None:
            self.seal.say()
        print(f"{self.answer.label}: {shown(self.path)}")
        for one in self.answer.heard:
            where = f", in {one.signature.place}" if one.signature.place else ""
            print(f"  Signed by {shown(one.signer or 'nobody who can be told')}, {shown(one.made)}"
                  f"{shown(where)}: {len(one.signature.names)} elements.")
            left = sorted(one.signature.uncovered)
            if left:
                print(f"  Not covered: {', '.join(left[:MOST])}{f' and {len(left) - MOST} more' * (len(left) > MOST)}.")
        for reason in dict.fromkeys(part.reason for _, part in self.answer.named):
            print(f"  {shown(reason)}")
        sys.stdout.flush()


def _facts(one: Heard) -> dict[str, Any]:
    return {"signer": one.signer, "made": one.made, "algorithm": one.signature.algorithm, "in": one.signature.place,
            "label": one.label, "reason": one.reason, "covered": list(one.signature.names),
            "uncovered": sorted(one.signature.uncovered)}


def with_signatures(given: Path | Source, trusted: Trust, identity: Identity,
                    seal: Callable[[bool], tuple[Said, bool] | None]) -> Said:
    """What an image's seal says, or the signatures in its files, or both.

    `seal` gives what the seal says and whether it is of somebody trusted; asked with False, it raises where there is
    none, with True it gives None. A stranger's seal or signature counts as none where there is the site's own of the
    other kind.
    """
    source = series_or_file(given)
    answer = hear(source, trusted, identity)
    found = seal(answer is not None)
    if answer is None or (found is not None and found[1] and not answer.trusted):
        return cast(tuple[Said, bool], found)[0]
    counts = found is not None and (found[1] or not answer.trusted)
    return Signed(str(source.path), answer, found[0] if found is not None and counts else None)


def checkup_of(said: Said) -> Checkup | None:
    """What was said by a seal, where there is one."""
    found = said.seal if isinstance(said, Signed) else said
    return found if isinstance(found, Checkup) else None


def write_said(said: Said, folder: Path) -> None:
    """What is said of an image, and where it was held to its seal a picture and a map."""
    checkup = checkup_of(said)
    if checkup is not None:
        checkup.write(folder, said.facts())
        return
    with whole_folder(folder, last=VERIFIED, taken=BESIDE) as draft:
        (draft / VERIFIED).write_text(json.dumps(said.facts(), indent=2, allow_nan=False) + "\n", "utf-8")
