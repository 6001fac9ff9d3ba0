"""GDCM in a process of its own: a damaged JPEG frame, or an odd header, can make it abort, and it would take Scanward
along."""

from __future__ import annotations

import atexit
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

SECONDS = 60.0
"""A frame that takes longer is given up: the largest mammogram takes two seconds."""
_NPY_HEAD = 128
"""Bytes before the values."""


class GdcmProcess:
    """Starts `gdcm_worker` on the first frame, keeps it for the next, and starts another when it dies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._inherited: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes, syntax: str, rows: int, columns: int, precision: int) -> bytes:
        """The samples of one grey JPEG frame, as `gdcm_worker` describes them; `ValueError` where GDCM cannot."""
        header = {"syntax": syntax, "rows": rows, "columns": columns, "precision": precision,
                  "bytes": len(data)}  # fmt: skip
        needed = rows * columns * (1 if precision <= 8 else 2)
        samples = self._answer(header, data, needed, SECONDS)
        if len(samples) != needed:
            raise ValueError("the JPEG stream could not be decoded")
        return samples

    def decode_file(self, path: Path, frames: int, largest: int, *, whole_words: bool = False) -> npt.NDArray[Any]:
        """The stored values of all `frames` of a DICOM file, in whatever colours, of `largest` bytes at most, frames
        first; `ValueError` where they cannot be decoded. With `whole_words`, bits that are not stored stay."""
        asked = {"path": os.path.abspath(path), "whole_words": whole_words}
        answer = self._answer(asked, b"", largest + _NPY_HEAD, SECONDS + frames)
        if not answer:
            raise ValueError("the compressed frames could not be decoded")
        return np.asarray(np.load(io.BytesIO(answer), allow_pickle=False))

    def _answer(self, header: dict[str, Any], data: bytes, most: int, seconds: float) -> bytes:
        with self._lock:
            process = self._started()
            timer = threading.Timer(seconds, process.kill)
            timer.start()
            length, samples, needed = b"", b"", -1
            try:
                asked, answer = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
                asked.write(json.dumps(header).encode() + b"\n" + data)
                asked.flush()
                length = answer.read(8)
                needed = int.from_bytes(length, "little")
                samples = answer.read(needed) if needed <= most else b""
            except BrokenPipeError:
                pass  # the process died
            finally:
                timer.cancel()
            if len(samples) != needed:
                self._stop()
                return b""
        return samples

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            worker = Path(__file__).with_name("gdcm_worker.py")
            self._process = subprocess.Popen(  # noqa: S603  our own program, no shell
                [sys.executable, "-P", str(worker)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
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


GDCM = GdcmProcess()
atexit.register(GDCM.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=GDCM.forget)
