"""Objects delivered to a destination: by C-STORE or by STOW-RS, whole, in the transfer syntax they lie in."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanward.delivery.spool import Refused, Unreachable
from scanward.delivery.webclient import ANSWER, CONNECT, client, request
from scanward.delivery.words import UNSUPPORTED, broken, name_of, of_store
from scanward.errors import UnreadableError
from scanward.formats.guard import clean, shown

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from scanward.settings import Destination

__all__ = ["Refused", "Unreachable", "deliver"]

MESSAGES = 65535
"""Message IDs that one association can tell apart."""
CONTEXTS = 128
"""Presentation contexts that one association can propose."""
BATCH, BATCH_BYTES = 100, 256 << 20
"""Objects and bytes of one STOW-RS request, at most."""
CHUNK = 1 << 20
DEFAULT_SYNTAX, EXPLICIT_SYNTAX = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
DUPLICATE, PROCESSING, LIMITED = 0x0111, 0x0110, 0x0213
WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


def deliver(paths: list[Path], to: Destination, *, calling: str) -> None:
    """Send DICOM files to a destination, as `calling` where it names no title of its own.

    Objects that the receiver has already count as delivered. Raises `Unreachable` where trying again later may help,
    `Refused` where it cannot, and `UnreadableError` for files that are no DICOM. An error about one object does not
    keep the others back, and after any error all may be sent again.
    """
    if not paths:
        return
    if to.kind == "stow":
        _stow(paths, to)
    else:
        _store(paths, to, to.calling or calling)


def _store(paths: list[Path], to: Destination, calling: str) -> None:
    groups: list[tuple[set[tuple[str, str]], list[Path]]] = []
    for path in paths:
        wanted = _contexts(path)
        if not groups or len(groups[-1][0] | wanted) > CONTEXTS:
            groups.append((set(), []))
        groups[-1][0].update(wanted)
        groups[-1][1].append(path)
    answers: list[int] = []
    for contexts, members in groups:
        answers += _associate(contexts, members, to, calling)
    _judge(answers, to)


def _contexts(path: Path) -> set[tuple[str, str]]:
    """(SOP class, transfer syntax) that a file can be sent with."""
    meta, _ = _split(path)
    sop_class, syntax = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    # Every receiver must take the default syntax; another plain one is turned into it where it has to be.
    return {(sop_class, syntax)} | ({(sop_class, DEFAULT_SYNTAX)} if syntax == EXPLICIT_SYNTAX else set())


def objects_in(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """SOP class and SOP instance of each file; `UnreadableError` where one is no DICOM."""
    heads = (_split(path)[0] for path in paths)
    return [(str(head.MediaStorageSOPClassUID), str(head.MediaStorageSOPInstanceUID)) for head in heads]


def _split(path: Path) -> tuple[Any, int]:
    from pynetdicom.dsutils import split_dataset

    try:
        meta, offset = split_dataset(path)
        if all(word in meta for word in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")):
            return meta, offset
    # pydicom raises nearly anything on what is no DICOM file.
    except Exception as error:
        raise UnreadableError(f"{shown(path)} cannot be sent ({clean(error)}).") from error
    raise UnreadableError(f"{shown(path)} cannot be sent: it has no DICOM file header.")


def _associate(contexts: set[tuple[str, str]], paths: list[Path], to: Destination, calling: str) -> list[int]:
    """One association; the status of each object."""
    from scanward.delivery.association import associated

    with associated(contexts, to, calling) as line:
        return [_send_one(line, path, number, to) for number, path in enumerate(paths, 1)]


def _send_one(line: Association, path: Path, number: int, to: Destination) -> int:
    """The status of the object that is the `number`th on this association."""
    from pynetdicom.dsutils import decode

    meta, offset = _split(path)
    sop_class, syntax = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    accepted = {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in line.accepted_contexts}
    try:
        if (sop_class, syntax) in accepted:
            status = line.send_c_store(path, 1 + number % MESSAGES)
        elif syntax == EXPLICIT_SYNTAX and (sop_class, DEFAULT_SYNTAX) in accepted:
            with path.open("rb") as file:
                file.seek(offset)
                data = decode(io.BytesIO(file.read()), False, True)
            data.file_meta = meta
            status = line.send_c_store(data, 1 + number % MESSAGES)
        else:
            return UNSUPPORTED
    except RuntimeError as error:
        raise Unreachable(f"{name_of(to)} broke the connection off.") from error
    except (ValueError, AttributeError, OSError) as error:
        raise UnreadableError(f"{shown(path)} cannot be sent ({clean(error)}).") from error
    if "Status" not in status:
        raise broken(to)
    return int(status.Status)


def _stow(paths: list[Path], to: Destination) -> None:
    answers: list[int] = []
    with client(to.url, to.user, to.password_file, to.tls, timeout=ANSWER) as web:
        for batch in _batches(paths):
            boundary = secrets.token_hex(16)
            headers = {"Accept": "application/dicom+json", "Content-Length": str(_length(batch, boundary)),
                       "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
            answer = request(web, "POST", f"{to.url.rstrip('/')}/studies", name_of(to), content=_body(batch, boundary),
                             headers=headers, passed=(200, 202, 409))
            answers += _failures(answer.json_or_none(), len(batch), answer.status)
    _judge(answers, to)


def _batches(paths: Iterable[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    held = 0
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise UnreadableError(f"{shown(path)} cannot be sent ({error.strerror}).") from error
        if batch and (len(batch) == BATCH or held + size > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(path)
        held += size
    if batch:
        yield batch


def _opening(boundary: str) -> bytes:
    return f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()


def _closing(boundary: str) -> bytes:
    return f"--{boundary}--\r\n".encode()


def _length(paths: list[Path], boundary: str) -> int:
    return sum(path.stat().st_size + len(_opening(boundary)) + 2 for path in paths) + len(_closing(boundary))


def _body(paths: list[Path], boundary: str) -> Iterator[bytes]:
    for path in paths:
        yield _opening(boundary)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        yield b"\r\n"
    yield _closing(boundary)


def _failures(answer: Any, count: int, status: int) -> list[int]:
    """A status for each object of a STOW-RS answer (PS3.18 10.5.3)."""
    found = answer[0] if isinstance(answer, list) and answer else answer
    failed = found.get("00081198", {}) if isinstance(found, Mapping) else {}
    items = failed.get("Value") if isinstance(failed, Mapping) else None
    reasons = [_reason(item) for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
    if not reasons and status == 409:
        return [0xC000] * count
    return reasons + [0] * max(0, count - len(reasons))


def _reason(item: Mapping[str, Any]) -> int:
    try:
        return int(item["00081197"]["Value"][0])
    except (KeyError, IndexError, TypeError, ValueError):
        return 0xC000


def _judge(answers: list[int], to: Destination) -> None:
    """Raises for the statuses of PS3.4 B.2.3 that mean an object was not stored; permanent ones first."""
    bad = [status for status in answers if not _stored(status)]
    lasting = [status for status in bad if not _passing(status)]
    if lasting:
        raise Refused(f"{name_of(to)} refused {len(lasting)} of {len(answers)} objects ({of_store(lasting[0])}); see "
                      "its log for the reason.")
    if bad:
        raise Unreachable(f"{name_of(to)} could not store {len(bad)} of {len(answers)} objects ({of_store(bad[0])}).")


def _stored(status: int) -> bool:
    return status in (0, DUPLICATE) or status in WARNINGS or status >> 12 == 0xB


def _passing(status: int) -> bool:
    return status >> 8 == 0xA7 or status in (PROCESSING, LIMITED)


def echo(to: Destination, *, calling: str) -> None:
    """A C-ECHO, as `calling` where the destination names no title of its own. Raises as `deliver`."""
    from scanward.delivery.association import associated

    with associated({(VERIFICATION, DEFAULT_SYNTAX)}, to, to.calling or calling, patience=CONNECT) as line:
        status = line.send_c_echo()
    if status.get("Status") != 0:
        raise Unreachable(f"{name_of(to)} did not answer C-ECHO with success.")
