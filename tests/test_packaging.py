"""What a fresh clone relies on: pins that fit, targets that work anywhere, pages that exist."""

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import scanward

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = {canonicalize_name(name): pin for name, pin in
        re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / "constraints-cpu.txt").read_text(), re.M)}


def requirements():
    texts = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        texts += extra
    return [r for r in map(Requirement, texts) if r.name != "scanward"]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_every_requirement_is_pinned_to_a_version_it_allows(requirement):
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)], prereleases=True)


def test_the_constraints_name_packages_only():
    lines = (ROOT / "constraints-cpu.txt").read_text().splitlines()
    assert [x for x in lines if x and not x.startswith("#") and not re.fullmatch(r"[\w.-]+==[\w.]+", x)] == []


def test_the_version_is_the_same_everywhere():
    assert scanward.__version__ == PROJECT["version"] == version("scanward")


@pytest.mark.needs("make")
@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "docs"])
def test_each_target_makes_the_environment_first_also_in_a_folder_with_a_space(target, tmp_path):
    clone = tmp_path / "a clone with spaces"
    clone.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints-cpu.txt"):
        shutil.copy(ROOT / name, clone)
    plan = subprocess.run(["make", "--dry-run", "--no-print-directory", target], cwd=clone, capture_output=True,
                          text=True, check=True).stdout
    first, last = plan.index("-m venv .venv"), plan.rindex(".venv/bin/")
    assert first < plan.index("pip install") < last
    assert ("-c constraints-cpu.txt" in plan) == (shutil.which("nvidia-smi") is None)
    assert str(ROOT) not in plan


def test_ci_runs_lint_then_the_tests_and_those_that_ask_for_data_once_more_without():
    text = (ROOT / ".ci/run").read_text()
    commands = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    assert [re.sub(r" PYTEST_WORKERS=.*", "", line) for line in commands if "make " in line][:2] == ["make lint",
                                                                                                  "make test"]
    assert re.fullmatch(r'SCANWARD_DATA=\$empty make test .*PYTEST_ARGS="-m data"', commands[-1])
    assert "set -euo pipefail" in commands
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    if bash := shutil.which("bash"):
        subprocess.run([bash, "-n", str(ROOT / ".ci/run")], check=True)


def test_every_page_in_the_navigation_exists_and_no_font_comes_from_outside():
    text = (ROOT / "mkdocs.yml").read_text()
    pages = re.findall(r": (\S+\.md)$", text, re.M)
    assert len(pages) >= 7
    assert [p for p in pages if not (ROOT / "docs" / p).is_file()] == []
    assert re.search(r"^  font: false$", text, re.M)
