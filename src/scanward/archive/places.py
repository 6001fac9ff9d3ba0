"""From what a user typed to the archive that it names."""

from __future__ import annotations

import re
from pathlib import Path

from scanward.archive.folder import local_archive
from scanward.archive.servers import DicomWebServer, OrthancServer
from scanward.archive.store import Store
from scanward.archive.unit import Archive, Login
from scanward.errors import ArgumentError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
SERVERS = {"orthanc:": OrthancServer, "dicomweb:": DicomWebServer}


def archive_of(source: str, login: Login, out: Path | None = None) -> Archive:
    """A folder, a list, a server, or a URL of fsspec's; `out` is where answers go. Raises `ArgumentError` for what
    names none."""
    if re.match(r"[^/]*//[^/@]*:[^/@]*@", source):
        raise ArgumentError("A password in an address would be kept in every answer; give it by --user and "
                            "--password-file, or as the driver's settings.")
    for scheme, kind in SERVERS.items():
        if source.startswith(scheme):
            url = source.removeprefix(scheme)
            if not re.match(r"https?://[^/]", url):
                raise ArgumentError(f"{source} names no server; write {scheme}http://HOST:PORT, or https.")
            server = kind(url.rstrip("/"), login)
            server.check()
            return server
    if re.match(r"https?://", source):
        raise ArgumentError(f"{source} does not say what it is; write orthanc:{source} or dicomweb:{source}.")
    if login != Login():
        raise ArgumentError("--user, --password-file and --ca are for orthanc: and dicomweb:; leave them out.")
    if URL.match(source):
        store = Store(source)
        store.check()
        return store
    return local_archive(Path(source), out)
