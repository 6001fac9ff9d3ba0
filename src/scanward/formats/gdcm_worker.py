"""Decodes JPEG frames with GDCM; run as a program by `gdcm_process`, and imports nothing of Scanward.

Reads, again and again until its input ends, one line of JSON: either `syntax`, `rows`, `columns`, `precision`,
`bytes`, and that many bytes of JPEG follow; or the `path` of a DICOM file. Answers with the number of bytes that
follow (eight, little-endian; 0 where GDCM or pydicom refuses) and these: of a frame, rows x columns samples of one byte
up to a precision of 8, else of two, little-endian; of a file, the stored values of all its frames as one NPY file.
"""

import io
import json
import os
import sys

import gdcm
import numpy as np


def decode(data: bytes, syntax: str, rows: int, columns: int, precision: int) -> bytes:
    """The samples of one grey frame; empty where GDCM refuses it."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    picture = gdcm.Image()
    picture.SetNumberOfDimensions(2)
    picture.SetDimensions((columns, rows, 1))
    picture.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    picture.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    picture.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    width = 8 if precision <= 8 else 16
    picture.SetPixelFormat(gdcm.PixelFormat(1, width, precision, precision - 1, 0))
    buffer = picture.GetBuffer()
    # The Python binding hands bytes over as text with surrogates.
    return b"" if buffer is None else buffer.encode("utf-8", "surrogateescape")


def decode_file(path: str, whole_words: bool) -> bytes:
    """All frames of a file, raw; with `whole_words`, bits that are not stored are left as they are."""
    from pydicom.pixels.utils import iter_pixels

    made = io.BytesIO()
    try:
        np.save(made, np.stack(list(iter_pixels(path, raw=True, correct_unused_bits=not whole_words))))
    except Exception:  # pydicom raises what its parts raise
        return b""
    return made.getvalue()


def main() -> None:
    """Answers frames until the input ends."""
    # GDCM's JPEG prints from C: the answers get a descriptor of their own, and descriptor 1 leads nowhere.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while line := sys.stdin.buffer.readline():
        frame = json.loads(line)
        data = sys.stdin.buffer.read(frame.pop("bytes", 0))
        samples = decode_file(**frame) if "path" in frame else decode(data, **frame)
        answers.write(len(samples).to_bytes(8, "little"))
        answers.write(samples)
        answers.flush()


if __name__ == "__main__":
    main()
