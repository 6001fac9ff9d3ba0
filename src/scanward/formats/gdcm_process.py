"""GDCM in a process of its own: a damaged JPEG frame can make it abort, and it would take Scanward along."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, cast

SECONDS = 60.0
"""A frame that takes longer is given up: the largest mammogram takes two seconds."""


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
        with self._lock:
            process = self._started()
            timer = threading.Timer(SECONDS, process.kill)
            timer.start()
            try:
                asked, answer = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
                asked.write(json.dumps(header).encode() + b"\n" + data)
                asked.flush()
                length = answer.read(8)
                samples = answer.read(needed) if length == needed.to_bytes(8, "little") else b""
            except BrokenPipeError:
                length = samples = b""
            finally:
                timer.cancel()
            if len(samples) != needed:
                if length != bytes(8):
                    self._stop()
                raise ValueError("the JPEG stream could not be decoded")
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
