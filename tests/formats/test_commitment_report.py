"""Reports of storage commitment, as whoever reaches the node may send them."""

import io

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filewriter import write_dataset

from scanward.errors import UnreadableError
from scanward.formats.commitment import report_in, request_for, transaction_in

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


def encoded(data, syntax):
    stream = pydicom.filebase.DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, syntax == IMPLICIT
    write_dataset(stream, data)
    return io.BytesIO(stream.getvalue())


def failed(uid, reason):
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID, item.FailureReason = "1.2.3", uid, reason
    return item


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_what_is_kept_and_what_is_not(syntax):
    data = request_for("2.25.7", [("1.2.3", "1.1"), ("1.2.3", "1.2")])
    data.FailedSOPSequence = [failed("1.3", 0x0112)]
    stream = encoded(data, syntax)
    assert transaction_in(stream, syntax) == "2.25.7"
    report = report_in(stream, syntax, 9)
    assert (report.transaction, report.kept, report.failed) == ("2.25.7", {"1.1", "1.2"}, {"1.3": 0x0112})


def test_an_object_that_is_named_twice_makes_it_unreadable():
    data = request_for("2.25.7", [("1.2.3", "1.1")])
    data.FailedSOPSequence = [failed("1.1", 0x0112)]
    with pytest.raises(UnreadableError, match="twice"):
        report_in(encoded(data, EXPLICIT), EXPLICIT, 9)


@given(st.data())
def test_whatever_comes_is_a_report_or_one_sentence(data):
    whole = encoded(request_for("2.25.7", [("1.2.3", f"1.{n}") for n in range(3)]), EXPLICIT).getvalue()
    changed = bytearray(whole[:data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    for syntax in (IMPLICIT, EXPLICIT):
        try:
            report = report_in(io.BytesIO(bytes(changed)), syntax, 9)
        except UnreadableError as error:
            assert str(error).count(".") == 1
        else:
            assert not report.kept & set(report.failed)


def test_sequences_within_sequences_without_end_are_one_sentence():
    deep = b"\x08\x00\x99\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000
    head = b"\x08\x00\x95\x11UI\x06\x002.25.7"
    with pytest.raises(UnreadableError, match="cannot be read"):
        report_in(io.BytesIO(head + deep), EXPLICIT, 10**6)


def test_whoever_knows_no_request_makes_nobody_read_a_list():
    """4 MB of empty items before the transaction, which no report has; reading them took 24 seconds."""
    items = bytes.fromhex("08001111ffffffff") + bytes.fromhex("feff00e000000000") * 500_000
    end = bytes.fromhex("feffdde000000000") + bytes.fromhex("08009511") + (6).to_bytes(4, "little") + b"2.25.7"
    stream = io.BytesIO(items + end)
    assert transaction_in(stream, "1.2.840.10008.1.2") == ""
    assert stream.tell() < 1000


def test_no_more_is_read_than_a_report_on_so_many_objects_has():
    data = pydicom.Dataset()
    data.TransactionUID, data.ReferencedSOPSequence = "2.25.7", [pydicom.Dataset() for _ in range(20_000)]
    with pytest.raises(UnreadableError, match="longer than one on the objects that were asked for"):
        report_in(encoded(data, EXPLICIT), EXPLICIT, 3)
