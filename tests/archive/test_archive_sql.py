"""`scanward archive report --sql`: answers, and nothing else of the machine."""

import csv
import os
import pty
import subprocess

import made_answers as made
import pytest
from archives import command


@pytest.fixture
def out(tmp_path):
    stations = {3: "=HYPERLINK(1)"}
    rows = [made.row(i, "tampered" if i in (3, 5) else "authentic", station=stations.get(i, "\x1b[31mred"))
            for i in range(10)]
    return made.run(tmp_path / "out", rows[:4], rows[4:])


def test_a_query_prints_a_table(run, out):
    code, said, told = run("archive", "report", out, "--sql",
                           "select label, count(*) as n, max(judged_at) as last from answers group by label order by n")
    assert (code, told) == (0, "")
    assert [line.split() for line in said.splitlines()] == [
        ["label", "n", "last"], ["tampered", "2", "2026-11-30", "00:00:02"],
        ["authentic", "8", "2026-11-30", "00:00:04"]]
    assert not (out / "report.html").exists()


@pytest.mark.parametrize(("query", "words"), [
    ("pivot (select label from answers) on label in ('tampered') using count(*)", "2"),
    ("summarize answers", "null_percentage"),
    ("select count(*) as all_of_it from read_parquet('{out}/answers/part-00000000.parquet')", "4")])
def test_what_the_refusal_and_the_manual_name_is_taken(run, out, query, words):
    code, said, told = run("archive", "report", out, "--sql", query.format(out=out))
    assert (code, told) == (0, "") and words in said, said


def test_what_goes_into_a_pipe_is_not_broken(run, tmp_path):
    long = "x" * 300 + "/film.dcm"
    out = made.run(tmp_path, [made.row(0, path=long), made.row(1, reason="r" * 500), made.row(2, path="文.png")])
    code, said, _ = run("archive", "report", out, "--sql", "select label, path, reason from answers order by unit")
    assert code == 0 and [line.split() for line in said.splitlines()] == [
        ["label", "path", "reason"], ["authentic", long], ["authentic", "000/0/film-1.dcm", "r" * 500],
        ["authentic", "文.png"]]
    said = run("archive", "report", out, "--sql", "select * from answers order by unit limit 2")[1]
    blocks = said.split("\n\n")
    assert len(blocks) == 2 and all(len(block.splitlines()) == len(made.schema().names) for block in blocks)
    assert f"\npath          {long}\n" in said and f"\nreason        {'r' * 500}\n" in said
    described = run("archive", "report", out, "--sql", "summarize answers")[1]
    assert "\nmax              文.png\n" in described and described.count("\n\n") == len(made.schema().names) - 1


def test_a_table_that_a_terminal_is_too_narrow_for_is_told_by_columns(out):
    asked = ["report", out, "--sql", "select unit, label, station from answers where label = 'tampered' order by unit"]
    command_, environment = command(*asked)
    for width, lines in ((100, 3), (30, 7)):
        ours, theirs = pty.openpty()
        try:
            done = subprocess.run(command_, env=environment | {"COLUMNS": str(width), "TERM": "xterm"}, stdout=theirs,
                                  check=True)
            assert done.returncode == 0
            said = os.read(ours, 10_000).decode().replace("\r\n", "\n")
        finally:
            os.close(ours)
            os.close(theirs)
        assert len(said.splitlines()) == lines, said
        assert f"{3:032x}" in said and f"{5:032x}" in said and "\x1b[31m" not in said


def test_a_file_gets_every_row_and_no_formula(run, out, tmp_path):
    file = tmp_path / "answer.csv"
    query = "select unit, score, kinds, station, error from answers where label = 'tampered' order by unit"
    assert run("archive", "report", out, "--sql", query, "--csv", file) == (0, "", "")
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))
    assert rows == [["unit", "score", "kinds", "station", "error"],
                    [f"{3:032x}", rows[1][1], "self-reference", "'=HYPERLINK(1)", ""],
                    [f"{5:032x}", rows[2][1], "self-reference", "\x1b[31mred", ""]]
    assert [float(row[1]) for row in rows[1:]] == pytest.approx([0.611, 0.685])
    code, _, told = run("archive", "report", out, "--sql", query, "--csv", file)
    assert code == 2 and "exists already and is not overwritten" in told


def test_a_terminal_is_not_steered_and_not_flooded(run, out):
    code, said, _ = run("archive", "report", out, "--sql", "select distinct station from answers order by 1 desc")
    assert code == 0 and "\x1b" not in said and r"\x1b[31mred" in said
    code, said, told = run("archive", "report", out, "--sql", "select range from range(2500)")
    assert code == 0 and len(said.splitlines()) == 1001
    assert told == "Only the first 1000 rows are printed; --csv FILE writes all.\n"


@pytest.mark.parametrize("query", [
    "copy answers to '{out}/answers/part-00000000.parquet'", "copy (select 1) to '{out}/stolen'",
    "select * from read_text('{secret}')", "select * from read_csv('{secret}')", "select * from '{secret}'",
    "select * from read_blob('{out}/answers/../../secret')", "select * from glob('{out}/*')",
    "select * from sniff_csv('{secret}')", "attach '{out}/new.db'", "export database '{out}/all'",
    "install httpfs", "load '{secret}'", "set enable_external_access = true", "create table t as select 1",
    "drop view answers", "select * from duckdb_secrets()", "select * from query('select * from ''{secret}''')",
    "select * from files", "pragma database_list", "call enable_logging(storage = 'file', storage_path = '{out}/log')",
    "select 1; copy answers to '{out}/stolen'", "explain analyze copy answers to '{out}/stolen'",
    "select * from 'https://example.org/x.parquet'"])
def test_nothing_else_is_read_or_written(run, out, tmp_path, query):
    secret = tmp_path / "secret"
    secret.write_text("a,b\nhush,2\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    files = [secret]  # noqa: F841  a name that a query must not find
    code, said, told = run("archive", "report", out, "--sql", query.format(out=out, secret=secret))
    assert (code, said, told.count("\n")) == (2, "", 1), said
    assert "hush" not in told and "Traceback" not in told
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("query", "words"), [
    (" ", "--sql takes one select, describe or summarize"),
    ("explain select 1", "--sql takes one select, describe or"),
    ("pivot answers on label using count(*)", "a pivot needs its values (pivot answers on label in ('tampered') using"),
    ("selct 1", "--sql failed (Parser Error: syntax error"),
    ("select nothing from answers", 'Referenced column "nothing" not found'),
    ("select error('a') from answers", "--sql failed (Invalid Input Error: a)"),
    ("select '\udcff'", "--sql is no text in UTF-8"),
])
def test_a_query_that_fails_is_one_sentence(run, out, query, words):
    code, said, told = run("archive", "report", out, "--sql", query)
    assert (code, said, told.count("\n")) == (2, "", 1)
    assert words in told and "Internal error" not in told


def test_a_query_that_fails_on_its_way_leaves_no_file(run, out, tmp_path):
    query = "select if(range < 30000, range, error('late')::bigint) from range(40000)"
    code, _, told = run("archive", "report", out, "--sql", query, "--csv", tmp_path / "half.csv")
    assert code == 2 and "late" in told
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["answers/part-00000009.parquet", "listing/9.jsonl", "answers/../pictures/a.csv"])
def test_a_table_does_not_lie_among_the_answers(run, out, name):
    before = sorted(out.rglob("*"))
    code, _, told = run("archive", "report", out, "--sql", "select 1", "--csv", out / name)
    assert code == 2 and "would lie among the run's own files" in told and sorted(out.rglob("*")) == before


@pytest.mark.parametrize(("more", "words"), [
    (["--csv", "x.csv"], "--csv says where the answer of --sql goes; give --sql, too."),
    (["--sql", "select 1", "-o", "x.html"], "give --csv FILE for a file."),
])
def test_options_that_do_not_go_together(run, out, more, words):
    code, _, told = run("archive", "report", out, *more)
    assert code == 2 and words in told


def test_a_damaged_file_is_named(run, out):
    path = made.part_path(out, 1)
    data = bytearray(path.read_bytes())
    data[4:-2000] = bytes(len(data) - 2004)
    path.write_bytes(data)
    code, _, told = run("archive", "report", out, "--sql", "select * from answers")
    assert code == 2 and "part-00000001.parquet is damaged" in told and told.count("\n") == 1
