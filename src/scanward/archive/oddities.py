"""What the file witness heard across an archive: which files do not agree with themselves, and in what.

Only what made an answer inconclusive or tampered is here: what it told beside, and what weighs nothing, is in the
answers alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scanward.archive.reading import Answers
from scanward.formats.guard import clean
from scanward.verdict import FILE

SHOWN = 10
"""Files of one kind."""
SENTENCES = 5
"""Of one file and kind."""
TITLES = {
    "two patients": "Slices name two patients",
    "two studies": "Slices name two studies or dates",
    "two scanners": "Slices name two scanners or sites",
    "odd value": "Some slices say otherwise how they were made",
    "odd writing": "Some slices were written otherwise than the rest",
    "odd elements": "Some slices have other elements than the rest",
    "odd blocks": "Some slices have other private blocks than the rest",
    "odd uid": "Some slices have UIDs of another maker",
    "number order": "Slices are numbered out of their order",
    "time order": "Slices were taken out of their order",
    "location": "Slices lie elsewhere by one element than by another",
    "moved": "The image lies elsewhere by one element than by another",
    "jump": "Slices show another anatomy than their neighbours",
    "largest": "Slices hold larger values than they say",
    "slice twice": "A slice is there twice",
    "foreign slice": "Slices are those of another patient or study",
    "same name": "Two images have one UID",
    "same values": "Two patients have one image",
    "nearly same": "Nearly all slices are those of another series",
    "levels": "Grey levels are missing, as after eight bits",
    "combed": "Grey levels are missing, as after a change of contrast",
    "blocks": "The pixels have the blocks of JPEG, and the header says of none",
    "air": "The air is not that of a CT",
    "foreign kernel": "The kernel is another maker's",
    "foreign model": "The model is another maker's",
    "program": "The file can be run as a program",
    "table": "What viewers show is not in the order of the grey levels",
    "icon": "The small picture is that of another image",
    "overlay": "An overlay covers the image",
    "window": "Viewers open it black or white",
    "hidden": "Viewers cover a part of the image",
    "text": "Text is written into the pixels beside the patient",
    "unread": "The header holds what the standard does not allow",
}  # fmt: skip
"""By kind, for people; of another kind its name is one."""
_STUDY = "StudyInstanceUID|Study[A-Z]\\w*|SeriesNumber|\\w*Date|AccessionNumber"
_SCANNER = "Manufacturer\\w*|SoftwareVersions|StationName|DeviceSerialNumber|InstitutionName"
_KIND = f"""CASE WHEN name <> 'odd value' THEN name
    WHEN regexp_matches(says, 'another Patient(ID|Name|Sex|BirthDate|Age) ') THEN 'two patients'
    WHEN regexp_matches(says, 'another ({_STUDY}) ') THEN 'two studies'
    WHEN regexp_matches(says, 'another ({_SCANNER}) ') THEN 'two scanners' ELSE name END"""


@dataclass(frozen=True)
class Odd:
    """An image or series."""

    path: str
    label: str
    says: tuple[str, ...]
    """Sentences, with what a header says in them."""


@dataclass(frozen=True)
class Oddity:
    """The images and series that are odd in one way, the heaviest first; one may be odd in several."""

    kind: str
    count: int
    shown: tuple[Odd, ...]

    @property
    def title(self) -> str:
        return TITLES.get(self.kind) or clean(self.kind)


@dataclass(frozen=True)
class Oddities:
    """Proof first, then by the weight of the kind's facts; of one weight two patients first, then the rarest: what half
    of an archive shows is how it was exported."""

    kinds: tuple[Oddity, ...]
    count: int
    """Images and series, each once."""


def oddities(answers: Answers, most: int) -> Oddities:
    """At most so many kinds."""
    rows = answers.rows(f"""
        WITH witnesses AS (
            SELECT unit, path, label, unnest(from_json(evidence, '["JSON"]')) AS witness
            FROM answers WHERE contains(evidence, '"{FILE}"')),
        heard AS (
            SELECT unit, path, label, witness->>'$.label' = 'tampered' AS proof,
                   unnest(from_json(witness->'$.facts.facts', '["JSON"]')) AS fact
            FROM witnesses WHERE witness->>'$.method' = '{FILE}' AND witness->>'$.label' <> 'authentic'),
        facts AS (
            SELECT unit, path, label, proof, fact->>'$.name' AS name, fact->>'$.says' AS says,
                   (fact->>'$.weight')::DOUBLE AS weight
            FROM heard WHERE (fact->>'$.harmless') = 'false'),
        files AS (
            SELECT unit, path, label, {_KIND} AS kind, list(says ORDER BY weight DESC, says)[:{SENTENCES}] AS says,
                   sum(weight) AS heavy, max(weight) AS weight, bool_or(proof) AS proof
            FROM facts WHERE weight > 0 GROUP BY ALL),
        kinds AS (
            SELECT *, row_number() OVER (
                ORDER BY proof DESC, weight DESC, kind <> 'two patients', n, kind = 'odd value', kind) AS place
            FROM (SELECT kind, count(*) AS n, bool_or(proof) AS proof, max(weight) AS weight FROM files GROUP BY kind)
            QUALIFY place <= {most}),
        total AS (SELECT count(DISTINCT unit) AS n FROM files)
        SELECT kind, kinds.n, total.n, path, label, says
        FROM files JOIN kinds USING (kind), total
        QUALIFY row_number() OVER (PARTITION BY kind ORDER BY files.proof DESC, heavy DESC, path) <= {SHOWN}
        ORDER BY kinds.place, files.proof DESC, heavy DESC, path""")  # noqa: S608
    shown: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        shown.setdefault(row[0], []).append(row)
    kinds = tuple(Oddity(kind, int(found[0][1]), tuple(Odd(path, label, tuple(says))
                                                       for *_, path, label, says in found))
                  for kind, found in shown.items())
    return Oddities(kinds, int(rows[0][2]) if rows else 0)
