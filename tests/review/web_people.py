"""People before the pages: an app over an inbox, its token, signing in."""

from __future__ import annotations

import re

import httpx
import web_studies
from web_studies import Client

from scanward.review.app import make_app

NAME, PASSWORD = "dr.roe", "a long enough password"


def client(inbox, users=None, *, https=False, sent=None, **options) -> Client:
    send = sent.extend if sent is not None else None
    app = make_app(inbox, users=users, secret=web_studies.SECRET, https=https, send=send, **options)
    return Client(app, "https://testserver" if https else "http://testserver")


def token(http: Client, path: str = "/login") -> str:
    return re.search(r'name="csrf" content="([^"]+)"', http.get(path).text)[1]


def sign_in(http: Client, name=NAME, password=PASSWORD, **fields) -> httpx.Response:
    return http.post("/login", data={"csrf": token(http), "name": name, "password": password, **fields})
