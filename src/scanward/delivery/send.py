"""Objects delivered to a destination: by C-STORE or by STOW-RS, whole, in the transfer syntax they lie in."""

from __future__ import annotations

import io
import secrets
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanward.delivery.contexts import client_context
from scanward.delivery.spool import Refused, Unreachable
from scanward.delivery.webclient import client, request, tls_refusal
from scanward.errors import UnreadableError
from scanward.formats.guard import clean, shown

if TYPE_CHECKING:
    from scanward.settings import Destination

__all__ = ["Refused", "Unreachable", "deliver"]

CONNECT, ANSWER = 15.0, 120.0
"""Seconds to wait for a connection, and for each answer on it."""
CONTEXTS = 128
"""Presentation contexts that one association can propose."""
BATCH, BATCH_BYTES = 100, 256 << 20
"""Objects and bytes of one STOW-RS request, at most."""
CHUNK = 1 << 20
DEFAULT_SYNTAX, EXPLICIT_SYNTAX = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DUPLICATE, PROCESSING, LIMITED = 0x0111, 0x0110, 0x0213
WARNINGS = frozenset({0x0001, 0x0107, 0x0116})
WORDS = {0xA7: "it is out of resources", 0xA9: "the object does not match its SOP class", 0xC0: "it cannot understand "
         "the object", 0x01: "it cannot process the object"}


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
    from pynetdicom import AE, _config

    _config.STORE_SEND_CHUNKED_DATASET = True  # files go as they lie, and no object is held in memory
    entity = AE(ae_title=calling)
    entity.connection_timeout, entity.acse_timeout = CONNECT, ANSWER
    entity.dimse_timeout = entity.network_timeout = ANSWER
    for sop_class, syntax in sorted(contexts):
        entity.add_requested_context(sop_class, syntax)
    context = client_context(to.tls)
    tls = None if context is None else (context, to.host)
    try:
        association = entity.associate(to.host, to.port, ae_title=to.aet, tls_args=tls)
    except (OSError, RuntimeError) as error:
        raise Unreachable(f"{_name(to)} cannot be reached ({clean(error)}).") from error
    try:
        if not association.is_established:
            raise _no_association(association, to, context)
        return [_send_one(association, path, to) for path in paths]
    finally:
        if association.is_established:
            association.release()


def _send_one(association: Any, path: Path, to: Destination) -> int:
    from pynetdicom.dsutils import decode

    meta, offset = _split(path)
    sop_class, syntax = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    accepted = {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts}
    try:
        if (sop_class, syntax) in accepted:
            status = association.send_c_store(path)
        elif syntax == EXPLICIT_SYNTAX and (sop_class, DEFAULT_SYNTAX) in accepted:
            with path.open("rb") as file:
                file.seek(offset)
                data = decode(io.BytesIO(file.read()), False, True)
            data.file_meta = meta
            status = association.send_c_store(data)
        else:
            return 0x0122
    except RuntimeError as error:
        raise Unreachable(f"{_name(to)} broke the connection off.") from error
    except (ValueError, AttributeError, OSError) as error:
        raise UnreadableError(f"{shown(path)} cannot be sent ({clean(error)}).") from error
    if "Status" not in status:
        raise Unreachable(f"{_name(to)} broke the connection off, or did not answer in time.")
    return int(status.Status)


def _no_association(association: Any, to: Destination, context: ssl.SSLContext | None) -> Refused | Unreachable:
    if association.is_rejected:
        answer = association.acceptor.primitive
        why = clean(f"{answer.result_str}: {answer.reason_str}")
        if answer.result == 1:
            return Refused(f"{_name(to)} rejected the association ({why}); check the AE titles on both sides.")
        return Unreachable(f"{_name(to)} rejected the association for now ({why}).")
    if association.rejected_contexts:
        return Refused(f"{_name(to)} takes none of these kinds of object; allow their SOP classes there.")
    return _probed(to, context)


def _probed(to: Destination, context: ssl.SSLContext | None) -> Refused | Unreachable:
    """Why no association came about: pynetdicom keeps it to itself."""
    why = "cannot be reached"
    try:
        with socket.create_connection((to.host, to.port), timeout=CONNECT) as plain:
            if context is None:
                return Unreachable(f"{_name(to)} did not answer the request for an association.")
            why = "broke the TLS handshake off; check whether it speaks TLS and believes our certificate"
            with context.wrap_socket(plain, server_hostname=to.host) as secure:
                secure.settimeout(2.0)
                with suppress(TimeoutError):
                    secure.recv(1)  # with TLS 1.3 a refusal of our certificate comes after the handshake
            return Unreachable(f"{_name(to)} did not answer the request for an association.")
    except ssl.SSLError as error:
        return tls_refusal(_name(to), error)
    except OSError as error:
        return Unreachable(f"{_name(to)} {why} ({clean(error.strerror or error)}).")


def _stow(paths: list[Path], to: Destination) -> None:
    answers: list[int] = []
    with client(to.url, to.user, to.password_file, to.tls, timeout=ANSWER) as web:
        for batch in _batches(paths):
            boundary = secrets.token_hex(16)
            headers = {"Accept": "application/dicom+json", "Content-Length": str(_length(batch, boundary)),
                       "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
            answer = request(web, "POST", f"{to.url.rstrip('/')}/studies", _name(to), content=_body(batch, boundary),
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
        raise Refused(f"{_name(to)} refused {len(lasting)} of {len(answers)} objects ({_words(lasting[0])}); see its "
                      "log for the reason.")
    if bad:
        raise Unreachable(f"{_name(to)} could not store {len(bad)} of {len(answers)} objects ({_words(bad[0])}).")


def _stored(status: int) -> bool:
    return status in (0, DUPLICATE) or status in WARNINGS or status >> 12 == 0xB


def _passing(status: int) -> bool:
    return status >> 8 == 0xA7 or status in (PROCESSING, LIMITED)


def _words(status: int) -> str:
    if status == 0x0122:
        return "status 0x0122: it does not take this kind of object"
    meaning = WORDS.get(0xC0 if status >> 12 == 0xC else status >> 8)
    return f"status 0x{status:04X}" + (f": {meaning}" if meaning else "")


def _name(to: Destination) -> str:
    return f"Destination {to.name}"


def echo(to: Destination, *, calling: str) -> None:
    """A C-ECHO, as `calling` where the destination names no title of its own. Raises as `deliver`."""
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    entity = AE(ae_title=to.calling or calling)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = CONNECT
    entity.add_requested_context(Verification)
    context = client_context(to.tls)
    try:
        association = entity.associate(to.host, to.port, ae_title=to.aet,
                                       tls_args=None if context is None else (context, to.host))
    except (OSError, RuntimeError) as error:
        raise Unreachable(f"{_name(to)} cannot be reached ({clean(error)}).") from error
    if not association.is_established:
        raise _no_association(association, to, context)
    try:
        status = association.send_c_echo()
    finally:
        if association.is_established:
            association.release()
    if status.get("Status") != 0:
        raise Unreachable(f"{_name(to)} did not answer C-ECHO with success.")
