"""Headers made to stop the file's witness, to slow it down, or to silence it: the rest is told all the same."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pydicom
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from stacks import change, stack
from test_structure import facts_in, told

from scanward.formats import structure
from scanward.formats.fact import UNREAD, Fact, gathered
from scanward.formats.structure_series import out_of_order
from scanward.judging.scan import scan

ASKED = ("SliceLocation", "LargestImagePixelValue", "ReconstructionDiameter", "WindowCenter", "WindowWidth",
         "PatientAge", "PatientBirthDate", "AcquisitionDate", "AcquisitionTime", "StudyDate", "InstanceNumber",
         "ConvolutionKernel", "Manufacturer", "ManufacturerModelName", "ImageType", "PixelPaddingValue",
         "DataCollectionCenterPatient", "BurnedInAnnotation", "PatientIdentityRemoved", "SyntheticData")
PROGRAM = b"MZ".ljust(128, b"\0")


def raw(path, keyword, value):
    """Bytes in the place of a value, under UN, which takes anything; and a program before them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path)
        tag = pydicom.datadict.tag_for_keyword(keyword)
        value += b" " * (len(value) % 2)
        data[tag] = RawDataElement(BaseTag(tag), "UN", len(value), value, 0, False, True)
        data.preamble = PROGRAM
        data.save_as(path)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keyword=st.sampled_from(ASKED), value=st.binary(max_size=40))
@example(keyword="SliceLocation", value=b"nan")
@example(keyword="WindowWidth", value=b"1e999\\-1e999")
@example(keyword="ConvolutionKernel", value=b"B30" + b"f" * 4000)
@example(keyword="Manufacturer", value=b"SIEMENS\n" * 500)
def test_no_value_stops_or_silences_the_rest(tmp_path, keyword, value):
    paths = sorted(tmp_path.glob("*.dcm")) or stack(tmp_path)
    sound = paths[0].read_bytes()
    raw(paths[0], keyword, value)
    found = facts_in(tmp_path)
    paths[0].write_bytes(sound)
    assert "program" in {fact.name for fact in found}
    assert all(len(fact.says) < 300 and fact.says.isprintable() for fact in found)


def test_a_part_that_fails_is_told_and_stops_no_other():
    def broken():
        yield Fact("one", "It is one.")
        raise KeyError("x")
    parts = broken(), iter([Fact("two", "It is two.")])
    assert [fact.name for fact in gathered(*parts)] == ["one", UNREAD.name, "two"]


def test_a_header_that_cannot_be_read_leaves_the_answer_open(tmp_path, bright, monkeypatch):
    stack(tmp_path)
    assert scan(tmp_path).label == "authentic"

    def unread(path):
        raise KeyError(path)
    monkeypatch.setattr(structure, "read_sheet", unread)
    verdict = scan(tmp_path)
    assert (verdict.label, verdict.reason) == ("inconclusive", UNREAD.says)


def test_much_of_everything_takes_no_time(tmp_path):
    paths = stack(tmp_path)

    def act(data: Dataset) -> None:
        block = data.private_block(0x0011, "X" * 60, create=True)
        for number in range(200):
            block.add_new(number, "LO", "y" * 60)
        data.WindowCenter, data.WindowWidth = ([float(one) for one in range(1, 3001)] for _ in range(2))
        item = Dataset()
        item.LUTDescriptor, item.LUTData = [8, 0, 16], b"\0\1" * 8
        item["LUTData"].VR, item["LUTDescriptor"].VR = "OW", "US"
        data.VOILUTSequence = Sequence([item] * 300)
        for group in range(0x6000, 0x6020, 2):
            data.add_new(group << 16 | 0x10, "US", 65535)
            data.add_new(group << 16 | 0x11, "US", 65535)
            data.add_new(group << 16 | 0x3000, "OW", b"\xff" * 60_000)
    began = time.process_time()
    change(paths, act)
    made = time.process_time() - began
    assert "odd writing" not in told(tmp_path)
    assert time.process_time() - began < 3 * made + 10


def test_twenty_thousand_slices_are_put_in_order_at_once():
    values = np.random.default_rng(0).permutation(20_000).astype(np.float64)
    began = time.process_time()
    assert out_of_order(values) == ()
    assert time.process_time() - began < 2
