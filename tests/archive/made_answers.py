"""Answers of an archive that is made up: as many rows as wanted, in the columns that a run writes.

    python tests/archive/made_answers.py 1000000 OUT
"""

import datetime
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from scanward.archive.answers import (
    ANSWERS,
    COMPLETE,
    LISTING,
    RUN,
    Answer,
    part_path,
    picture_path,
    schema,
    write_part,
)
from scanward.archive.run import FORMAT
from scanward.archive.unit import Unit

SCANNERS = [("HOLOGIC, Inc.", "Selenia Dimensions"), ("FUJIFILM Corporation", "AMULET"), ("SIEMENS", "Mammomat"),
            ("GE MEDICAL SYSTEMS", "LightSpeed VCT"), ("SIEMENS", "SOMATOM Definition")]
SITES = [("Saint Mary", "MG01"), ("Saint Mary", "CT02"), ("Northern General", "MG7"), ("Harbour Clinic", "ROOM3")]


def row(i: int, label="authentic", **other) -> Answer:
    """The i-th image: a film of a study of four, none of it chance."""
    study = i // 4
    score = {"tampered": 0.5 + (i * 37 % 500) / 1000, "inconclusive": 0.45}.get(label, 0.1)
    scanner, site = SCANNERS[study % 3], SITES[study % 4]
    day = datetime.date(2024, 1, 1) + datetime.timedelta(study % 400)
    values = {
        "unit": f"{i:032x}", "path": f"{study % 1000:03}/{study}/film-{i}.dcm", "files": 1, "source": "/archive",
        "label": label, "modality": "MG", "score": score, "threshold": 0.5, "manufacturer": scanner[0],
        "model": scanner[1], "institution": site[0], "station": site[1], "study_date": day,
        "study_uid": f"1.2.3.{study}", "series_uid": f"1.2.3.{study}.1", "sop_uid": f"1.2.3.{study}.1.{i}",
        "content": f"{i + 1:032x}", "method": "default", "version": "0.1.0", "weights": "ab", "peak_mb": 800.0,
        "seconds": 2.0 + i % 5 / 10, "worker": f"w{i % 2}",
        "judged_at": datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC) + datetime.timedelta(seconds=i // 2),
        "reason": "Grain here is not that of the rest." if label == "tampered" else "",
        "kinds": ("self-reference",) if label == "tampered" else ()}
    return Answer(**{**values, **other})


def run(out: Path, *parts, listed: int | None = None, complete: bool = True) -> Path:
    """A run's folder with these parts of answers."""
    for name in (ANSWERS, LISTING):
        (out / name).mkdir(parents=True, exist_ok=True)
    terms = {"source": "/archive", "method": "default"}
    (out / RUN).write_text(json.dumps({"format": FORMAT, "terms": terms}))
    for number, rows in enumerate(parts):
        write_part(out, number, rows)
    total = sum(map(len, parts)) if listed is None else listed
    if complete:
        done = {"parts": len(parts), "units": total, "cost": 1000 * total}
        (out / LISTING / COMPLETE).write_text(json.dumps(done))
    else:
        head = {"units": total, "cost": 1000 * total, "after": None}
        (out / LISTING / f"{len(parts):08}.jsonl").write_text(f"{json.dumps(head)}\n{Unit(('x',), 1000).line()}\n")
    return out


def picture(out: Path, unit: str, size: int = 96) -> Path:
    """The heat map of an alarm: marked as made up."""
    path = out / picture_path(unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = np.full((size, size, 3), 40, np.uint8)
    cv2.circle(canvas, (size // 2, size // 2), size // 4, (60, 120, 230), -1)
    cv2.putText(canvas, "made up", (4, size - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    path.write_bytes(cv2.imencode(".png", canvas)[1].tobytes())
    return path


def many(count: int, out: Path, a_part: int = 50_000, slices: int = 0) -> Path:
    """`count` rows by SQL: 1 in 200 an alarm, 1 in 50 inconclusive, 1 in 500 an error; every 1000th image twice."""
    import duckdb

    run(out, listed=count)
    texts = {"scanner": [f"{maker}|{model}" for maker, model in SCANNERS], "site": ["|".join(s) for s in SITES]}
    chosen = {
        "unit": "md5('u' || i)", "path": "'/archive/' || (i // 4000) || '/' || (i // 4) || '/image-' || i || '.dcm'",
        "files": "1", "source": "'/archive'", "modality": "if(i % 5 = 0, 'CT', 'MG')",
        "label": "CASE WHEN hash(i) % 200 = 7 THEN 'tampered' WHEN i % 50 = 3 OR i % 500 = 1 THEN 'inconclusive' "
                 "ELSE 'authentic' END",
        "score": "if(i % 500 = 1, NULL, if(hash(i) % 200 = 7, 0.5 + (i * 37 % 500) / 1000, (i * 31 % 400) / 1000))",
        "threshold": "0.5", "reason": "if(hash(i) % 200 = 7, 'Grain here is not that of the rest.', '')",
        "kinds": "if(hash(i) % 200 = 7, ['self-reference'], [])", "findings": "'[]'", "evidence": "'[]'",
        "error": "if(i % 500 = 1, path || ' is cut short; copy it again.', NULL)", "attempts": "1", "aside": "false",
        "manufacturer": f"split_part({texts['scanner']}[1 + i // 4 % 5], '|', 1)",
        "model": f"split_part({texts['scanner']}[1 + i // 4 % 5], '|', 2)",
        "station": f"split_part({texts['site']}[1 + i // 4 % 4], '|', 2)",
        "institution": f"split_part({texts['site']}[1 + i // 4 % 4], '|', 1)",
        "study_date": "DATE '2020-01-01' + (i // 4 % 1800)::INTEGER", "study_uid": "'1.2.840.113619.2.1.' || (i // 4)",
        "series_uid": "study_uid || '.1'", "sop_uid": "study_uid || '.1.' || i", "remade": "NULL",
        "content": "md5('c' || (i - if(i % 1000 = 5, 4, 0)))",
        "slices": f"if(i % 5 = 0 AND {slices} > 0, [md5(i || '/' || s) FOR s IN range({slices})], NULL)",
        "method": "'default'", "version": "'0.1.0'", "weights": "md5('w')", "seconds": "1.5 + (i * 7 % 100) / 50",
        "peak_mb": "700 + i % 200", "worker": "'worker-' || i % 64",
        "judged_at": "make_timestamptz(1796083200000000 + i * 20000)", "raw_path": "NULL", "real_path": "NULL"}
    import pyarrow as pa
    import pyarrow.parquet

    database = duckdb.connect(config={"memory_limit": "1GB"})
    columns = ", ".join(f"{text} AS {name}" for name, text in chosen.items())
    for number, start in enumerate(range(0, count, a_part)):
        found = database.sql(f"SELECT {columns} FROM (SELECT range AS i FROM range({start}, "
                                 f"{min(count, start + a_part)}))").to_arrow_table()
        found = found.select(schema().names).cast(schema())
        pa.parquet.write_table(found, part_path(out, number), compression="zstd")
    return out


if __name__ == "__main__":
    many(int(sys.argv[1]), Path(sys.argv[2]), slices=int(sys.argv[3]) if len(sys.argv) > 3 else 0)
