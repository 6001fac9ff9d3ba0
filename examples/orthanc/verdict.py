"""Waits for Scanward's verdict of a study, prints it as JSON, and keeps it in Orthanc where one is named.

    python verdict.py http://127.0.0.1:8042 STUDY_INSTANCE_UID
    python verdict.py https://scanward.hospital 1.2.3 --user pacs --password-file pacs.password --ca hospital-ca.pem \\
        --orthanc http://127.0.0.1:8042

Exit code 0: authentic, 1: tampered, 3: inconclusive or not scanned, 2: no verdict came, or somebody cannot be reached.
In Orthanc the verdict is the study's metadata 4201: GET /studies/ID/metadata/4201. Only Python's own library is needed.
"""

import argparse
import hashlib
import http.cookiejar
import json
import re
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

CODES = {"authentic": 0, "tampered": 1}
METADATA = "4201"
TIMEOUT = 30.0


class Scanward:
    """Its API, for one account or for a loopback address without accounts."""

    def __init__(self, url: str, user: str, password: str, ca: str | None) -> None:
        context = ssl.create_default_context(cafile=ca)
        self._url = url.rstrip("/")
        self._web = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context),
                                                urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        if user:
            form = self._ask("/login").decode()
            token = re.search(r'name="csrf" content="([^"]+)"', form)
            given = {"name": user, "password": password, "csrf": token[1] if token else ""}
            self._ask("/login", urllib.parse.urlencode(given).encode())

    def study(self, uid: str) -> dict[str, Any] | None:
        """What is known of a study; None where it was not scanned yet. Its key follows from its UID."""
        key = hashlib.sha256(uid.encode()).hexdigest()[:24]
        try:
            return dict(json.loads(self._ask(f"/api/studies/{key}")))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        with self._web.open(self._url + path, body, timeout=TIMEOUT) as answer:
            return bytes(answer.read())


def keep(orthanc: str, uid: str, verdict: dict[str, Any]) -> None:
    """The verdict with the study in Orthanc."""
    found = urllib.request.Request(f"{orthanc.rstrip('/')}/tools/lookup", uid.encode(), method="POST")
    with urllib.request.urlopen(found, timeout=TIMEOUT) as answer:
        (study,) = (one["ID"] for one in json.load(answer) if one["Type"] == "Study")
    put = urllib.request.Request(f"{orthanc.rstrip('/')}/studies/{study}/metadata/{METADATA}",
                                 json.dumps(verdict).encode(), method="PUT")
    urllib.request.urlopen(put, timeout=TIMEOUT).close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Wait for Scanward's verdict of a study.")
    parser.add_argument("scanward", help="address of Scanward's pages")
    parser.add_argument("study", help="Study Instance UID")
    parser.add_argument("--user", default="", help="account, where there are any; with role reviewer or auditor")
    parser.add_argument("--password-file", type=Path, help="its first line is the password")
    parser.add_argument("--ca", help="whom to believe that Scanward is itself")
    parser.add_argument("--orthanc", help="address of an Orthanc that keeps the verdict with the study")
    parser.add_argument("--wait", type=float, default=600.0, help="seconds, at most")
    given = parser.parse_args()
    try:
        password = given.password_file.read_text().split("\n", 1)[0] if given.password_file else ""
        scanward, end = Scanward(given.scanward, given.user, password, given.ca), time.monotonic() + given.wait
        while (study := scanward.study(given.study)) is None:
            if time.monotonic() > end:
                print("No verdict came in time.", file=sys.stderr)
                return 2
            time.sleep(2)
        verdict = {"label": study["label"] if study["state"] == "done" else "failed", "score": study["score"],
                   "key": study["key"], "finished": study.get("finished")}
        print(json.dumps(verdict))
        if given.orthanc:
            keep(given.orthanc, given.study, verdict)
    except (OSError, ValueError) as error:
        print(f"No verdict can be had: {error}", file=sys.stderr)
        return 2
    return CODES.get(verdict["label"], 3)


if __name__ == "__main__":
    sys.exit(main())
