"""Objects sent to real receivers: Orthanc by C-STORE and STOW-RS, with and without TLS, and DCMTK's storescp."""

import gzip
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from pynetdicom import evt

from scanward.delivery.association import associated
from scanward.delivery.contexts import client_context, server_context
from scanward.delivery.send import DEFAULT_SYNTAX, VERIFICATION, Refused, Unreachable, deliver
from scanward.delivery.webclient import Answer
from scanward.errors import ArgumentError, ScanwardError, UnreadableError
from scanward.settings import Destination, Tls


def uid_of(path: Path) -> str:
    import pydicom

    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def dimse(orthanc, **more):
    return Destination(**{"name": "pacs", "host": "127.0.0.1", "port": orthanc.dicom_port, "aet": orthanc.aet, **more})


def stow(orthanc, **more):
    return Destination(**{"name": "pacs", "kind": "stow", "url": orthanc.web, **more})


@pytest.mark.parametrize("way", [dimse, stow])
def test_what_is_sent_lies_in_orthanc_byte_for_byte_and_again_is_no_error(way, shared_orthanc, dicom, tmp_path):
    import pydicom

    paths = [dicom.file(tmp_path / "a.dcm"), *dicom.ct(tmp_path / "ct", 3)]
    for _ in range(2):
        deliver(paths, way(shared_orthanc), calling="SCANWARD")
    assert {uid_of(path) for path in paths} <= shared_orthanc.sop_uids()
    found = shared_orthanc.post("/tools/lookup", uid_of(paths[0]).encode())
    (tmp_path / "back.dcm").write_bytes(shared_orthanc.raw(f"{found[0]['Path']}/file"))
    assert pydicom.dcmread(tmp_path / "back.dcm").PixelData == pydicom.dcmread(paths[0]).PixelData


@pytest.mark.parametrize("way", [dimse, stow])
def test_a_compressed_object_keeps_its_transfer_syntax(way, shared_orthanc, dicom, tmp_path):
    import pydicom
    from pydicom.uid import RLELossless

    path = dicom.file(tmp_path / "a.dcm")
    data = pydicom.dcmread(path)
    data.compress(RLELossless, generate_instance_uid=False)
    data.save_as(path)
    deliver([path], way(shared_orthanc), calling="SCANWARD")
    found = shared_orthanc.post("/tools/lookup", uid_of(path).encode())
    assert shared_orthanc.get(f"{found[0]['Path']}/header?simplify")["TransferSyntaxUID"] == RLELossless


def test_a_receiver_of_the_default_syntax_alone_gets_it(storescp, dicom, tmp_path):
    import pydicom

    peer = storescp("+xi")
    path = dicom.file(tmp_path / "a.dcm")
    deliver([path], Destination("old", port=peer.port, aet="STORESCP"), calling="SCANWARD")
    (received,) = peer.received()
    with pydicom.dcmread(received) as one, pydicom.dcmread(path) as sent:
        assert one.file_meta.TransferSyntaxUID == pydicom.uid.ImplicitVRLittleEndian
        assert one.PixelData == sent.PixelData and one.PatientID == sent.PatientID


def test_the_calling_title_is_the_destinations_own_or_the_nodes(storescp, dicom, tmp_path):
    peer = storescp()
    path = dicom.file(tmp_path / "a.dcm")
    deliver([path], Destination("one", port=peer.port, aet="STORESCP"), calling="NODE")
    deliver([path], Destination("one", port=peer.port, aet="STORESCP", calling="OTHER"), calling="NODE")
    assert "Calling Application Name:    NODE" in peer.log() and "Calling Application Name:    OTHER" in peer.log()


def refusal(paths, to):
    with pytest.raises(Refused) as caught:
        deliver(paths, to, calling="SCANWARD")
    return str(caught.value)


def test_a_wrong_title_and_an_unknown_kind_of_object_are_refusals(shared_orthanc, storescp, dicom, tmp_path):
    path = dicom.file(tmp_path / "a.dcm")
    words = refusal([path], dimse(shared_orthanc, aet="NOBODY"))
    assert words.startswith("Destination pacs rejected the association") and "AE titles" in words
    odd = dicom.file(tmp_path / "b.dcm", SOPClassUID="1.2.3.4.5.6.7")
    peer = storescp("--fork")
    assert "kind" in refusal([odd], Destination("picky", port=peer.port, aet="STORESCP"))
    # The objects beside it arrive.
    assert "1 of 2 objects" in refusal([odd, path], Destination("picky", port=peer.port, aet="STORESCP"))
    assert len(peer.received()) == 1


def test_a_rejection_is_heard_where_the_receiver_hangs_up_before_it_is_read(storescp):
    to = Destination("shut", port=storescp("--refuse").port)
    late = [(evt.EVT_REQUESTED, lambda event: time.sleep(0.5))]
    with pytest.raises(Refused, match="rejected the association"), associated(
            {(VERIFICATION, DEFAULT_SYNTAX)}, to, "SCANWARD", late):
        pass


def test_a_peer_that_rejects_or_aborts(storescp, dicom, tmp_path):
    path = dicom.file(tmp_path / "a.dcm")
    with pytest.raises(Refused, match="rejected"):
        deliver([path], Destination("shut", port=storescp("--refuse").port), calling="SCANWARD")
    for option in ("--abort-during", "--abort-after"):
        with pytest.raises(Unreachable, match="Destination hasty broke the connection off"):
            deliver([path], Destination("hasty", port=storescp(option).port), calling="SCANWARD")


def test_nobody_there_is_no_refusal(port, dicom, tmp_path):
    path = dicom.file(tmp_path / "a.dcm")
    for to in (Destination("gone", port=port), Destination("gone", "stow", url=f"http://127.0.0.1:{port}/dicom-web")):
        with pytest.raises(Unreachable, match="Destination gone cannot be reached") as caught:
            deliver([path], to, calling="SCANWARD")
        assert "PID" not in str(caught.value) and "Doe" not in str(caught.value)


@pytest.mark.parametrize(("status", "error"), [
    (0xA700, Unreachable), (0x0110, Unreachable), (0xA900, Refused), (0xC000, Refused), (0x0124, Refused),
    (0xB000, None), (0x0111, None)])
def test_each_status_of_c_store_means_later_never_or_done(status, error, dicom, tmp_path, port):
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    entity = AE("ODD")
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: status)])
    try:
        path = dicom.file(tmp_path / "a.dcm")
        to = Destination("odd", port=port, aet="ODD")
        if error is None:
            deliver([path], to, calling="SCANWARD")
        else:
            with pytest.raises(error, match=f"Destination odd .*0x{status:04X}"):
                deliver([path], to, calling="SCANWARD")
    finally:
        server.shutdown()


def test_a_file_that_is_no_dicom_is_named(shared_orthanc, tmp_path):
    (tmp_path / "junk.dcm").write_bytes(b"junk" * 100)
    with pytest.raises(UnreadableError, match=r"junk\.dcm cannot be sent"):
        deliver([tmp_path / "junk.dcm"], dimse(shared_orthanc), calling="SCANWARD")
    with pytest.raises(ScanwardError, match=r"gone\.dcm cannot be sent"):
        deliver([tmp_path / "gone.dcm"], stow(shared_orthanc), calling="SCANWARD")


@pytest.fixture(scope="module")
def secure_orthanc(start_orthanc, certificates):
    one = start_orthanc(
        DicomTlsEnabled=True, DicomTlsCertificate=str(certificates.cert), DicomTlsPrivateKey=str(certificates.key),
        DicomTlsTrustedCertificates=str(certificates.ca))
    yield one
    one.kill()


@pytest.mark.parametrize("kind", ["dimse", "stow"])
def test_mutual_tls(kind, secure_orthanc, tls_front, certificates, dicom, tmp_path):
    path = dicom.file(tmp_path / "a.dcm")
    url = f"https://localhost:{tls_front(secure_orthanc.http_port, clients=True).port}/dicom-web"
    where = {"host": "localhost", "kind": kind, "url": url}
    cert, key, ca = certificates.client_cert, certificates.client_key, certificates.ca
    deliver([path], dimse(secure_orthanc, **where, tls=Tls(cert, key, ca)), calling="SCANWARD")
    assert uid_of(path) in secure_orthanc.sop_uids()
    with pytest.raises(Refused, match="certificate that is not trusted"):
        deliver([path], dimse(secure_orthanc, **where, tls=Tls(cert, key, certificates.other_ca)), calling="SCANWARD")
    for tls in (Tls(certificates.other_cert, certificates.other_key, ca), Tls(ca=ca)):
        with pytest.raises((Refused, Unreachable), match=r"pacs refused the TLS handshake|pacs broke"):
            deliver([path], dimse(secure_orthanc, **where, tls=tls), calling="SCANWARD")


def test_a_certificate_for_another_host_is_refused(tls_front, shared_orthanc, certificates, dicom, tmp_path):
    path = dicom.file(tmp_path / "a.dcm")
    port, tls = tls_front(shared_orthanc.http_port, host="127.0.0.2").port, Tls(ca=certificates.ca)
    for to in (Destination("pacs", "stow", url=f"https://127.0.0.2:{port}/dicom-web", tls=tls),
               Destination("pacs", "dimse", "127.0.0.2", port, tls=tls)):
        with pytest.raises(Refused, match=r"not trusted .*not valid for '127\.0\.0\.2'"):
            deliver([path], to, calling="SCANWARD")


def test_tls_to_a_plain_port_is_refused_with_a_word_on_tls(shared_orthanc, certificates, dicom, tmp_path):
    path = dicom.file(tmp_path / "a.dcm")
    with pytest.raises((Refused, Unreachable), match="TLS"):
        deliver([path], dimse(shared_orthanc, tls=Tls(ca=certificates.ca)), calling="SCANWARD")


def test_password(start_orthanc, dicom, tmp_path):
    one = start_orthanc(AuthenticationEnabled=True, RegisteredUsers={"scanward": "s3cret"})
    path = dicom.file(tmp_path / "a.dcm")
    (tmp_path / "password").write_text("s3cret\n")
    deliver([path], stow(one, user="scanward", password_file=tmp_path / "password"), calling="SCANWARD")
    assert uid_of(path) in one.sop_uids()
    (tmp_path / "password").write_text("wrong")
    for user in ("scanward", ""):
        with pytest.raises(Refused, match=r"user or the password \(HTTP 401\)") as caught:
            deliver([path], stow(one, user=user, password_file=tmp_path / "password"), calling="SCANWARD")
        assert "wrong" not in str(caught.value)
    one.kill()


class Answering:
    """A web server that answers every request with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url, self.answer = f"http://127.0.0.1:{self._socket.getsockname()[1]}/dicom-web", answer
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                lines = head.split(b"\r\n\r\n")[0].lower().split(b"\r\n")
                length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
                left = length - len(head.split(b"\r\n\r\n", 1)[1])
                while left > 0:
                    left -= len(connection.recv(65536))
                connection.sendall(self.answer)

    def close(self):
        self._socket.close()


def answer_of(status, body=b"", **headers):
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close",
             *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(("answer", "error", "after"), [
    (answer_of(503, Retry_After="7"), Unreachable, 7.0), (answer_of(429), Unreachable, None),
    (answer_of(500), Unreachable, None), (answer_of(400), Refused, None), (answer_of(403), Refused, None),
    (answer_of(302, Location="http://127.0.0.1:1/"), Refused, None), (answer_of(409), Refused, None),
    (answer_of(202, b'{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[42752]}}]}}'), Unreachable, None),
    (answer_of(202, b'{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[43264]}}]}}'), Refused, None),
    (answer_of(409, b'{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[273]}}]}}'), None, None),
    (answer_of(200, b"no JSON"), None, None), (answer_of(200, b'{"00081198":{"Value":3}}'), None, None),
    (b"nonsense\r\n\r\n", Unreachable, None), (b"", Unreachable, None)])
def test_each_answer_to_stow_means_later_never_or_done(answer, error, after, dicom, tmp_path):
    server = Answering(answer)
    try:
        path = dicom.file(tmp_path / "a.dcm")
        to = Destination("web", "stow", url=server.url)
        if error is None:
            deliver([path], to, calling="SCANWARD")
            return
        with pytest.raises(error, match=r"^Destination web ") as caught:
            deliver([path], to, calling="SCANWARD")
        assert getattr(caught.value, "retry_after", None) == after
    finally:
        server.close()


def test_an_answer_that_unpacks_beyond_the_memory_is_refused_before_it_is_unpacked(dicom, tmp_path):
    """100 MB in some hundred bytes: what it unpacks to is counted only where it comes in small parts."""
    bomb = gzip.compress(gzip.compress(bytes(100 << 20)))
    twice = Answering(answer_of(200, bomb, Content_Encoding="gzip, gzip"))
    strange = Answering(answer_of(200, b"{}", Content_Encoding="br"))
    once = Answering(answer_of(200, gzip.compress(b"{}"), Content_Encoding="gzip"))
    path = dicom.file(tmp_path / "a.dcm")
    try:
        for server, coded in ((twice, "gzip, gzip"), (strange, "br")):
            with pytest.raises(Refused, match=rf"packs its answer in a way that nobody asked for \({coded}\)"):
                deliver([path], Destination("web", "stow", url=server.url), calling="SCANWARD")
        deliver([path], Destination("web", "stow", url=once.url), calling="SCANWARD")
    finally:
        for server in (twice, strange, once):
            server.close()


def test_json_without_a_bottom_is_none():
    assert Answer(200, b"[" * 1_000_000).json_or_none() is None


def test_contexts(certificates, tmp_path):
    assert client_context(Tls()) is None and server_context(Tls()) is None
    server = server_context(Tls(certificates.cert, certificates.key, certificates.ca))
    assert server.verify_mode is ssl.CERT_REQUIRED and server.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert server_context(Tls(certificates.cert, certificates.key)).verify_mode is ssl.CERT_NONE
    client = client_context(Tls(ca=certificates.ca))
    assert client.check_hostname and client.verify_mode is ssl.CERT_REQUIRED
    (tmp_path / "junk.pem").write_text("junk")
    junk = tmp_path / "junk.pem"
    for tls in (Tls(junk), Tls(certificates.cert, certificates.client_key), Tls(ca=junk)):
        with pytest.raises(ArgumentError, match="certificate or key cannot be used"):
            client_context(tls)
