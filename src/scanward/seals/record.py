"""The seal of one image, as a file: hashes of its voxels, where they lie, commitments to whose they are, signed.

It holds no voxel and no name: what identifies the patient is there as SHA-256 with a random salt. Of few possible
values (a sex, a date) such a hash can be guessed by whoever has the seal, so a seal does not travel with an anonymised
copy.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, replace
from typing import Any, cast

from cryptography import x509

from scanward.errors import UnreadableError
from scanward.formats.content import Content
from scanward.seals.signing import Signer, certificate_in, der_of, genuine
from scanward.seals.tree import SHORT, Three, Tree, tile_of, tree_of

FORMATS = 1, 2
"""Of seals: those of the first say nothing of versions."""
DOMAIN = b"scanward seal 1\0"
"""What is signed begins with it, so that no signature made for anything else is one of a seal."""
BRIEF = 16
"""Hexadecimal digits of a hash of which only is said that it is another."""
KINDS = ("i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
MOST_PLANES, MOST_TILES = 1 << 20, 1 << 26


@dataclass(frozen=True)
class Version:
    """Which of several seals of one image it is."""

    number: int = 1
    follows: str = ""
    """`Seal.root` of the one before, in hexadecimal."""

    def to_json(self) -> dict[str, Any]:
        """As seals and logs have it."""
        return {"version": self.number, "follows": self.follows}


@dataclass(frozen=True)
class Seal:
    """What was sealed, and by whom."""

    name: str
    """Of the file or folder, for people."""
    made: str
    """When, in UTC, as the sealing machine's clock had it."""
    shape: tuple[int, ...]
    """(z, y, x) or (z, y, x, samples)."""
    kind: str
    """NumPy's name of the values' type; little-endian."""
    tile: Three
    tree: Tree
    geometry: dict[str, Any]
    """`scale`, `spacing`, `axes`, `corners` of `Content`, in numbers."""
    place: dict[str, str]
    identity: dict[str, str]
    """SHA-256 of each with `salt`, in hexadecimal."""
    salt: str
    study: dict[str, str]
    """UIDs, modality and SOP class: to find it again, not to hold an image to."""
    certificate: x509.Certificate
    version: Version | None = None
    """None of a seal of the first format."""
    header: dict[str, str] | None = None
    """SHA-256 of what else it said, with `salt`, cut to `BRIEF` hexadecimal digits: what differs is told, and no more.
    None of an older seal, which holds fewer words of `place` and `identity`, too."""

    @property
    def number(self) -> int:
        """Of its version."""
        return self.version.number if self.version else 1

    @property
    def root(self) -> bytes:
        """What stands for the seal elsewhere: SHA-256 of what was signed."""
        return hashlib.sha256(self._signed()).digest()

    def to_json(self, signer: Signer) -> str:
        """The seal's file, signed."""
        return self._file(signer.sign(self._signed())) + "\n"

    def commitment(self, keyword: str, value: str) -> str:
        """What `identity` holds of a value."""
        return hashlib.sha256(b"\0".join(part.encode("utf-8", "surrogateescape")
                                         for part in (self.salt, keyword, value))).hexdigest()

    def briefly(self, header: dict[str, str]) -> dict[str, str]:
        """What `header` holds of `Content.header`."""
        return {keyword: self.commitment(keyword, said)[:BRIEF] for keyword, said in header.items()}

    def _signed(self) -> bytes:
        return DOMAIN + json.dumps(self._body(), sort_keys=True, separators=(",", ":")).encode()

    def _file(self, signature: bytes) -> str:
        return json.dumps({"body": self._body(), "signature": _text(signature)})

    def _body(self) -> dict[str, Any]:
        return {"scanward_seal": FORMATS[1] if self.version else FORMATS[0], "name": self.name, "made": self.made,
                "shape": list(self.shape), "kind": self.kind, "tile": list(self.tile),
                "rows": [_text(rows) for rows in self.tree.rows], "planes": _text(self.tree.planes),
                "geometry": self.geometry, "place": self.place,
                "identity": self.identity, "salt": self.salt, "study": self.study,
                "certificate": _text(der_of(self.certificate))} | (self.version.to_json() if self.version else {}) | (
                    {} if self.header is None else {"header": self.header})


def seal_of(content: Content, name: str, made: str, signer: Signer, version: Version | None = None) -> Seal:
    """The seal of what an image holds now, its first version where no other is said."""
    z, y, x = content.values.shape[:3]
    tile = tile_of((z, y, x), content.steps)
    values = little(content.values)
    salt = secrets.token_hex(16)
    seal = Seal(name, made, values.shape, values.dtype.str[1:], tile, tree_of(values, tile), geometry_of(content),
                content.place, {}, salt, content.study, signer.certificate, version or Version())
    seal.identity.update({keyword: seal.commitment(keyword, value) for keyword, value in content.identity.items()})
    return replace(seal, header=seal.briefly(content.header or {}))


def little(values: Any) -> Any:
    """In little-endian order, which `KINDS` names."""
    return values.astype(values.dtype.newbyteorder("<"), copy=False)


def geometry_of(content: Content) -> dict[str, Any]:
    """Numbers that can be held against another file's, whichever format wrote them."""
    return {"scale": [list(pair) for pair in content.scale],
            "spacing": None if content.spacing is None else list(content.spacing),
            "axes": None if content.axes is None else list(content.axes),
            "corners": [list(corner) for corner in content.corners]}


def from_json(text: str, where: str) -> Seal:
    """A seal from its file, `where` naming that; `UnreadableError` where it is none, or was altered since it was
    signed.

    Whose it is is not asked here: that the certificate in it is the site's is for `check` to say.
    """
    try:
        whole = json.loads(text)
        body, signature = whole["body"], base64.b64decode(whole["signature"], validate=True)
        version = body["scanward_seal"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnreadableError(f"{where} is no seal; name the one that `scanward seal` wrote.") from None
    if version not in FORMATS:
        raise UnreadableError(f"{where} was written by another version of scanward; verify it with that one.")
    try:
        seal = _parsed(body, where)
        if text.rstrip("\n") != seal._file(signature):
            raise ValueError  # a second value under one name, another spelling, or what is not signed
        intact = genuine(seal.certificate, signature, seal._signed())
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise UnreadableError(f"{where} is damaged; name the seal as `scanward seal` wrote it.") from None
    if not intact:
        raise UnreadableError(f"{where} was altered since it was signed; find the seal as it was made.")
    return seal


def _parsed(body: dict[str, Any], where: str) -> Seal:
    shape = tuple(_whole(n) for n in body["shape"])
    tile = cast(Three, tuple(_whole(n) for n in body["tile"]))
    if len(shape) not in (3, 4) or len(tile) != 3 or body["kind"] not in KINDS or shape[0] > MOST_PLANES:
        raise ValueError
    count = cast(Three, tuple(-(-length // side) for length, side in zip(shape, tile, strict=False)))
    if count[0] * count[1] * count[2] > MOST_TILES:
        raise ValueError
    rows = tuple(base64.b64decode(part, validate=True) for part in body["rows"])
    planes = base64.b64decode(body["planes"], validate=True)
    expected = [count[1] * count[2], count[0] * count[2], count[0] * count[1]] if count[0] > 1 else \
        [count[1] * count[2], 0, 0]
    if [len(part) for part in rows] != [n * SHORT for n in expected] or len(planes) != SHORT * shape[0]:
        raise ValueError
    certificate = certificate_in(base64.b64decode(body["certificate"], validate=True), where)
    texts = [{str(k): str(v) for k, v in body[part].items()} for part in ("place", "identity", "study", "header")
             if part != "header" or part in body]
    return Seal(str(body["name"]), str(body["made"]), shape, body["kind"], tile,
                Tree(count, cast(tuple[bytes, bytes, bytes], rows), planes), _geometry(body["geometry"]), texts[0],
                texts[1], str(body["salt"]), texts[2], certificate, version_in(body), *texts[3:])


def version_in(body: dict[str, Any]) -> Version | None:
    """What a seal or an entry of a log says of versions; `ValueError` or `KeyError` where it says it otherwise."""
    if "version" not in body:
        return None
    return Version(_whole(body["version"]), str(body["follows"]))


def _geometry(body: dict[str, Any]) -> dict[str, Any]:
    return {"scale": [[float(v) for v in pair] for pair in body["scale"]],
            "spacing": None if body["spacing"] is None else [float(v) for v in body["spacing"]],
            "axes": None if body["axes"] is None else [float(v) for v in body["axes"]],
            "corners": [[float(v) for v in corner] for corner in body["corners"]]}


def _whole(value: object) -> int:
    if type(value) is not int or not 0 < value < 2**31:
        raise ValueError
    return value


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
