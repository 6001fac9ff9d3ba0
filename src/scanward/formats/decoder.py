"""Decoders in a process of their own, with a limit of memory and of time.

A damaged frame can make a decoder abort, and a mean one make it take gigabytes or minutes: both end that process, and
Scanward says why. What a frame may take follows from the pixels that it claims and the bytes that it has.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

_NPY_HEAD = 128
"""Bytes before the values."""
_WORDS = 1000
"""Bytes of an error."""


def memory_for(needed: int, held: int) -> int:
    """Bytes that decoding `held` bytes to `needed` may take. Measured on films of 14 to 40 million pixels: OpenJPEG
    takes 4 times the samples, GDCM 6 times; what each loads, and stacks of its threads, another 50 MB."""
    return 10 * needed + 4 * held + 2**27 + 2**24 * (os.cpu_count() or 1)


def seconds_for(needed: int, held: int) -> int:
    """Seconds of processor time, ten times what is usual: a lossless JPEG 2000 of 4096 x 3328 pixels in 12.5 MB takes
    2.3, a blank one 0.2."""
    return 5 + needed // 10_000_000 + held // 500_000


class Decoder:
    """Starts `decoder_worker` on the first frame, keeps it for the next, and starts another when it dies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._inherited: subprocess.Popen[bytes] | None = None

    def decode(self, kind: str, data: bytes, needed: int, **asked: Any) -> bytes:
        """The `needed` bytes of samples of one frame, as the function `kind` of `decoder_worker` makes them of `data`
        and what else it is `asked`; `ValueError` where it cannot, or takes more memory or time than it may."""
        samples = self._answer({"kind": kind, **asked}, data, needed, needed, len(data))
        if len(samples) != needed:
            raise ValueError("the compressed frame could not be decoded")
        return samples

    def decode_file(self, path: Path, needed: int, *, whole_words: bool = False) -> npt.NDArray[Any]:
        """The stored values of all frames of a DICOM file, in whatever colours, of `needed` bytes by its header, frames
        first; `ValueError` as from `decode`. With `whole_words`, bits that are not stored stay."""
        asked = {"kind": "file", "path": os.path.abspath(path), "whole_words": whole_words}
        # pydicom may put samples into wider words than the header has
        answer = self._answer(asked, b"", 8 * needed + _NPY_HEAD, needed, path.stat().st_size)
        return np.asarray(np.load(io.BytesIO(answer), allow_pickle=False))

    def _answer(self, asked: dict[str, Any], data: bytes, most: int, needed: int, held: int) -> bytes:
        """What the worker makes, of `most` bytes at most; `ValueError` with its words where it makes nothing."""
        seconds = seconds_for(needed, held)
        head = {**asked, "bytes": len(data), "memory": memory_for(needed, held), "seconds": seconds}
        with self._lock:
            process = self._started()
            late = threading.Event()
            # By the clock it takes longer where others use the cores, too.
            timer = threading.Timer(30 + 4 * seconds, _ended, (process, late))
            timer.start()
            done, length, made = b"", -1, b""
            try:
                to, back = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
                to.write(json.dumps(head).encode() + b"\n" + data)
                to.flush()
                done, length = back.read(1), int.from_bytes(back.read(8), "little")
                made = back.read(length) if done and length <= max(most, _WORDS) else b""
            except BrokenPipeError:
                pass  # the process died
            finally:
                timer.cancel()
            if not done or len(made) != length:
                raise ValueError(self._end(late, seconds))
        if done != b"\1":
            kind, _, words = made.decode("utf-8", "replace").partition("\n")
            raise ValueError(words or kind)
        return made

    def _end(self, late: threading.Event, seconds: int) -> str:
        """Why the process has not answered."""
        process = cast("subprocess.Popen[bytes]", self._process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
        code = process.returncode
        self._stop()
        if late.is_set() or code == -signal.SIGXCPU:
            return f"decoding takes more than the {seconds} seconds that an image of its size may take"
        return "the compressed frame could not be decoded"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            worker = Path(__file__).with_name("decoder_worker.py")
            # OpenJPEG asks the environment for its threads; arenas and pools of threads would count as memory.
            settings = {"OPJ_NUM_THREADS": str(os.cpu_count() or 1), **os.environ, "OPENBLAS_NUM_THREADS": "1",
                        "MALLOC_ARENA_MAX": "1"}  # fmt: skip
            self._process = subprocess.Popen(  # noqa: S603  our own program, no shell
                [sys.executable, "-P", str(worker)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=settings,
            )  # fmt: skip
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            try:
                cast(IO[bytes], pipe).close()
            except BrokenPipeError:
                continue  # bytes that the dead process never took
        process.wait()

    def forget(self) -> None:
        """For the child of a fork: the parent's process and lock are the parent's."""
        self._lock = threading.Lock()
        self._inherited, self._process = self._process, None

    def close(self) -> None:
        """Ends the process; the next frame starts another."""
        with self._lock:
            self._stop()


def _ended(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


DECODER = Decoder()
atexit.register(DECODER.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=DECODER.forget)
