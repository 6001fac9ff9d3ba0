"""Decodes compressed frames; run as a program by `decoder`, and imports nothing of Scanward.

Reads, again and again until its input ends, one line of JSON: which `kind` of decoding, the `memory` (bytes beyond what
the process has) and the `seconds` (of processor time) that it may take, how many `bytes` follow, and what the function
of that kind takes besides. Answers with a byte, 1 for samples and 0 for the words of an error; the number of bytes that
follow (eight, little-endian); and these.
"""

import importlib
import io
import json
import os
import resource
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image as Pillow

_PAGE = resource.getpagesize()


def jpeg2000(data: bytes) -> bytes:
    """Pillow's samples of one grey frame, as it widens them: rows x columns of one or two bytes."""
    from PIL import Jpeg2KImagePlugin

    with Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(data)) as picture:
        picture.load()
        values = np.asarray(picture)
    if values.dtype not in (np.uint8, np.uint16) or values.ndim != 2:
        raise ValueError("the JPEG 2000 stream is not of one grey component")
    return values.tobytes()


def jpeg(data: bytes) -> bytes:
    """The samples of one grey frame of baseline JPEG."""
    from PIL import JpegImagePlugin

    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as picture:
        picture.load()
        return picture.tobytes()


def jpeg_ls(data: bytes) -> bytes:
    """The samples of one frame."""
    import jpeg_ls as charls

    return bytes(charls.decode_buffer(data)[0])


def rle(data: bytes, lengths: list[int], pixels: int) -> bytes:
    """The words, little-endian, of the segments of these `lengths`, the highest bytes first."""
    planes = np.empty((pixels, len(lengths)), np.uint8)
    at = 0
    for i, length in enumerate(lengths):
        # One long row, because Pillow cuts a run at the row's end where DICOM encoders do not always.
        row = Pillow.frombytes("L", (pixels, 1), data[at : at + length], "packbits", "L")
        planes[:, -1 - i] = np.asarray(row)[0]
        at += length
    return planes.tobytes()


def gdcm(data: bytes, syntax: str, rows: int, columns: int, precision: int) -> bytes:
    """The samples of one grey JPEG frame, of one byte up to a precision of 8, else of two, little-endian."""
    import gdcm as library

    fragment = library.Fragment()
    fragment.SetByteStringValue(data)
    fragments = library.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = library.DataElement(library.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    picture = library.Image()
    picture.SetNumberOfDimensions(2)
    picture.SetDimensions((columns, rows, 1))
    picture.SetDataElement(element)
    grey = library.PhotometricInterpretation.GetPIType("MONOCHROME2")
    picture.SetPhotometricInterpretation(library.PhotometricInterpretation(grey))
    picture.SetTransferSyntax(library.TransferSyntax(library.TransferSyntax.GetTSType(syntax)))
    width = 8 if precision <= 8 else 16
    picture.SetPixelFormat(library.PixelFormat(1, width, precision, precision - 1, 0))
    buffer = picture.GetBuffer()
    # The Python binding hands bytes over as text with surrogates.
    return b"" if buffer is None else buffer.encode("utf-8", "surrogateescape")


def file(data: bytes, path: str, whole_words: bool) -> bytes:
    """The stored values of all frames of a DICOM file, as one NPY file; with `whole_words`, bits that are not stored
    are left as they are."""
    from pydicom.pixels.utils import iter_pixels

    made = io.BytesIO()
    np.save(made, np.stack(list(iter_pixels(path, raw=True, correct_unused_bits=not whole_words))))
    return made.getvalue()


KINDS: dict[str, tuple[Callable[..., bytes], str]] = {
    "jpeg2000": (jpeg2000, "PIL.Jpeg2KImagePlugin"), "jpeg": (jpeg, "PIL.JpegImagePlugin"),
    "jpeg_ls": (jpeg_ls, "jpeg_ls"), "rle": (rle, "PIL"), "gdcm": (gdcm, "gdcm"),
    "file": (file, "pydicom.pixels.utils"),
}  # fmt: skip
"""Each with the library that is loaded before the limit of memory holds."""


def limited(memory: int, seconds: int) -> None:
    """Lowers the soft limits: of memory, so that an allocation beyond fails; of processor time, so that the system ends
    the process, even where nobody waits for it any more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm", "rb") as statm:
        taken = int(statm.read().split()[0]) * _PAGE
    for what, most in ((resource.RLIMIT_AS, taken + memory),
                       (resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + seconds)):  # fmt: skip
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def freed() -> None:
    """Raises the soft limits again, for what comes next has its own."""
    for what in (resource.RLIMIT_AS, resource.RLIMIT_CPU):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (hard, hard))


def answer(kind: str, memory: int, seconds: int, data: bytes, asked: dict[str, object]) -> tuple[bool, bytes]:
    """Whether it was decoded, and the samples or why not."""
    decode, library = KINDS[kind]
    try:
        importlib.import_module(library)
        limited(memory, seconds)
        return True, decode(data, **asked)
    except MemoryError:
        return False, f"decoding takes more than the {memory >> 20} MB that an image of its size may take".encode()
    except Exception as error:  # decoders raise what their parts raise
        return False, f"{type(error).__name__}\n{error}".encode("utf-8", "replace")[:1000]
    finally:
        freed()


def main() -> None:
    """Answers until the input ends."""
    # GDCM's JPEG prints from C: the answers get a descriptor of their own, and descriptor 1 leads nowhere.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    while line := sys.stdin.buffer.readline():
        asked = json.loads(line)
        data = sys.stdin.buffer.read(asked.pop("bytes"))
        done, made = answer(asked.pop("kind"), asked.pop("memory"), asked.pop("seconds"), data, asked)
        answers.write(bytes([done]) + len(made).to_bytes(8, "little"))
        answers.write(made)
        answers.flush()


if __name__ == "__main__":
    main()
