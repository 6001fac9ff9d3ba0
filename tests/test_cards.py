"""Every method's folder has a card that names its methods and the weights that ship, so that none outlives them."""

import re
from pathlib import Path

import pytest

import scanward
from scanward import weights
from scanward.methods import METHODS

PACKAGE = Path(scanward.__file__).parent
FAMILIES = ("attacks", "detectors", "protectors")
FOLDERS = [f"{family}/{made.parent.name}" for family in FAMILIES
           for made in sorted((PACKAGE / family).glob("*/__init__.py"))]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_card_names_the_methods_of_its_folder_and_the_weights_that_ship_and_no_others(folder):
    card = (PACKAGE / folder / "README.md").read_text(encoding="utf-8")
    rows = [m for m in METHODS if m.factory.split(":")[0] == f"scanward.{folder.replace('/', '.')}"]
    assert [m.name for m in rows if f"`{m.name}`" not in card] == []
    shipped = {weights.entry(name).sha256[:8] for m in rows for name in m.weights}
    assert set(re.findall(r"`([0-9a-f]{8})`", card)) == shipped


def test_every_method_whose_code_fills_a_folder_is_among_them():
    made = {m.factory.split(":")[0].removeprefix("scanward.").replace(".", "/") for m in METHODS}
    assert {name for name in made if (PACKAGE / name).is_dir()} <= set(FOLDERS)
