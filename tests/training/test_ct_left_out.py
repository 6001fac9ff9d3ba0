"""Networks without a maker's scanners: who is trained and calibrated on what, and that nothing is done twice."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from scanward.anatomy.airways import lungs_alone
from scanward.datasets.thorax import Scan, Thorax
from scanward.detectors.ct_self_reference.network import CtSelfReferenceNet
from scanward.errors import UnreadableError
from scanward.training import ct_left_out
from scanward.training.ct_left_out import ALL, WITHOUT, outcomes
from scanward.training.self_reference import arrays_of
from tests.training.test_ct_pairs import chest


@pytest.fixture
def made(monkeypatch):
    """What networks were fitted to, scan by scan, with one authentic scan to judge of each maker."""
    image = chest()
    scans = {name: Scan(name, image, lungs_alone(image), maker) for name, maker in (
        ("train-ge", "GE"), ("train-siemens", "Siemens"), ("val-ge", "GE"), ("val-toshiba", "TOSHIBA"))}
    seen = []

    def fitted(banks, known, preset, folder):
        seen.append(("fit", [scan.name for scan in known]))
        folder.mkdir(parents=True)
        save_file(arrays_of(CtSelfReferenceNet().eval()), folder / ct_left_out.FILE)
        return {}

    def settled(make, known, keep, counts):
        seen.append(("settle", [scan.name for scan in known]))
        return {"threshold": 0.7, "heat_threshold": 0.5}

    rows = [Thorax(name, "test", "", f"{name}, 1 mm", forged=False) for name in ("GE", "Siemens")]
    monkeypatch.setattr(ct_left_out, "SCANS", rows)
    monkeypatch.setattr(ct_left_out, "place_of", lambda name, data: data)
    monkeypatch.setattr(ct_left_out, "scans",
                        lambda split, data: [one for one in scans.values() if one.name.startswith(split)])
    monkeypatch.setattr(ct_left_out, "read", lambda row, data: iter([Scan(row.name, image, lungs_alone(image))]))
    monkeypatch.setattr(ct_left_out, "banks_of", lambda folder, known, preset: [])
    monkeypatch.setattr(ct_left_out, "fit_network", fitted)
    monkeypatch.setattr(ct_left_out, "settings_of", settled)
    return seen


def test_a_maker_is_in_no_part_of_the_network_that_is_tested_on_it(made, tmp_path):
    found = {one.maker: one.rows for one in outcomes(tmp_path, tmp_path, makers=("GE", "Siemens"))}
    assert made == [
        ("fit", ["train-ge", "train-siemens"]), ("settle", ["val-ge", "val-toshiba"]),
        ("fit", ["train-siemens"]), ("settle", ["val-toshiba"]),
        ("fit", ["train-ge"]), ("settle", ["val-ge", "val-toshiba"])]
    assert list(found) == ["GE", "Siemens"]
    for maker, rows in found.items():
        assert list(rows) == [ALL, WITHOUT]
        assert all([row.item.scan for row in some] == [maker] for some in rows.values())


def test_what_is_finished_is_used_again_and_other_weights_judge_anew(made, tmp_path):
    (first,) = outcomes(tmp_path, tmp_path, makers=("GE",))
    (again,) = outcomes(tmp_path, tmp_path, makers=("GE",))
    assert again == first and len(made) == 4
    (answers,) = (tmp_path / "no-ge").glob("ge-*.jsonl")
    place = tmp_path / "no-ge" / ct_left_out.FILE
    place.write_bytes(place.read_bytes()[:-1] + b"!")
    (other,) = outcomes(tmp_path, tmp_path, makers=("GE",))
    assert len(list((tmp_path / "no-ge").glob("ge-*.jsonl"))) == 2 and answers.is_file()
    assert np.isfinite([row.score for row in other.rows[WITHOUT]]).all()


def test_without_a_scan_to_test_on_nothing_is_trained(made, tmp_path, monkeypatch):
    monkeypatch.setattr(ct_left_out, "place_of", lambda name, data: tmp_path if name == "Siemens" else None)
    monkeypatch.setattr(ct_left_out, "data_folder", lambda data: data)
    with pytest.raises(UnreadableError, match="split test"):
        list(outcomes(tmp_path, tmp_path, makers=("GE", "Philips")))
    assert not made and not list(tmp_path.iterdir())
    assert [one.maker for one in outcomes(tmp_path, tmp_path, makers=("GE", "Siemens"))] == ["Siemens"]
    assert ("fit", ["train-siemens"]) not in made
