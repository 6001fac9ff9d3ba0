"""Images sealed as they come from modalities, and whatever comes held against what was sealed before."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from functools import partial

from scanward import settings
from scanward.errors import UnsupportedError
from scanward.formats import Source
from scanward.formats.content import Content, read_content
from scanward.formats.identity import Identity
from scanward.gateway import copies
from scanward.inbox.folders import SEALS, Inbox
from scanward.protection import key_in
from scanward.seals.archive import Archive, Look, look_of
from scanward.seals.check import Checked, check
from scanward.seals.copies import copy_of
from scanward.seals.files import hold
from scanward.seals.known import Known
from scanward.seals.log import History, Log
from scanward.seals.record import Seal
from scanward.seals.signing import read_certificate, signer_of
from scanward.seals.tree import flat
from scanward.seals.trust import Anchor, Trust, read_trust
from scanward.settings import Gateway

LOG = "log"
AT_ONCE = 1.0
"""Seconds by which the time in a seal, which has no fractions, may lie before its images came."""
LEFT = 0.05
"""Share of the tiles with anything in them that two reconstructions of one scan may have in common."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """An image to be held against the seals."""

    source: Source
    members: tuple[Identity, ...]
    """Of its objects."""
    why: str = ""
    """Why it cannot be sealed, a clause; empty where nothing is known to be in the way."""

    @property
    def instances(self) -> list[str]:
        return [one.sop_instance for one in self.members]

    @property
    def arrived(self) -> float:
        """When its last object came, in seconds since the epoch."""
        return max(path.stat().st_mtime for path in self.source.paths)


class Sealer:
    """Seals what the settings want sealed, once, and answers for whatever is known."""

    def __init__(self, gateway: Gateway, inbox: Inbox) -> None:
        """Raises `InputError` where a key or certificate cannot be read."""
        self._rules = gateway.seal
        self._signer = None if gateway.seal.key is None else signer_of(key_in(gateway.seal.key))
        keys = [*([] if gateway.seal.key is None else [gateway.seal.key]), *gateway.seal.older]
        self._masters = tuple(key_in(key) for key in keys)
        self._trusted = _trust(gateway.seal, self._masters)
        self._root = inbox.root
        self._log = Log(inbox.root / LOG)
        self._archive = Archive(inbox.root / SEALS, self._log)
        with self._archive.alone():
            pass  # what a kill left half done is seen through before anything is asked

    def hold(self, asked: Asked) -> Known | None:
        """What is to be said of an image: by the seal that it is known by, or the one that it gets now; None where
        nothing is known and no rule asks for a seal. Raises `InputError` for what cannot be read, and where a seal is
        asked for and there is none."""
        content = read_content(asked.source)
        look = look_of(content)
        with self._archive.alone():
            known, like = self._known(asked, content, look)
            if known is None and self._wanted(asked) and self._signer is not None and not asked.why:
                name = self._archive.add(content, _by_plane(asked, content), look, self._signer)
                copies.ask(self._root, name, asked.source)
                return self._said(content, name, "now", f"It was sealed now as {name}, as it came from "
                                                        f"{asked.members[0].sender}.{like}")
        if known is None and self._wanted(asked):
            raise UnsupportedError(f"It is not sealed, as {asked.why}; what came from the modality cannot be told.")
        if known is None and self._due(asked):
            raise UnsupportedError("It has to be sealed, and there is no seal of it that counts.")
        return known

    def _wanted(self, asked: Asked) -> bool:
        return all(self._rules.by(one.sender) for one in asked.members)

    def _due(self, asked: Asked) -> bool:
        first, senders = asked.members[0], {one.sender for one in asked.members}
        return any(rule.takes(senders, first.modality, first.patient_id) for rule in self._rules.must_be_sealed)

    def _known(self, asked: Asked, content: Content, look: Look) -> tuple[Known | None, str]:
        """What the seal says that it is known by, its own UIDs before its content; and a sentence on what it resembles
        where that is no reason not to seal it."""
        own = self._asked(content, self._archive.named(asked.instances), "uids")
        if own:
            goes_on = self._wanted(asked) and not asked.why and self._goes_on(asked, content, look, own[0].seal)
            return None if goes_on else own[0], ""
        alike = self._asked(content, self._archive.alike(look), "content")
        same = next((one for one in alike if one.voxels.label == "authentic"), None)
        if same is None and alike and self._of_one_scan(asked, content, alike[0]):
            return None, f" It looks like {alike[0].seal} of the same study, which came with it."
        if same is None and not alike and (asked.why or not self._wanted(asked)):
            # A phase that came late from the modality is a new image; from elsewhere it is one that was put in.
            alike = self._asked(content, self._archive.of_series(asked.members[0].series), "series")
        return same or next(iter(alike), None) or self._brought(asked), ""

    def _brought(self, asked: Asked) -> Known | None:
        """What a seal says that came with the study, in a DICOM object."""
        held = hold(asked.source, self._trusted, history=self._history(), masters=self._masters)
        if held is None or not held.answer.trusted:
            return None
        found = f"With its study came its seal, {held.seal.name}, of {held.seal.made}."
        return _known(held.answer, held.seal, "object", found)

    def _history(self) -> History | None:
        """The log, where a key's seals count for what stood in it before."""
        dated = any(anchor.compromised for anchor in self._trusted.anchors)
        return self._log.history(self._trusted) if dated else None

    def _asked(self, content: Content, names: Sequence[str], how: str) -> list[Known]:
        """What each of some seals says; a stranger's seal counts as none."""
        said = [self._said(content, name, how) for name in names]
        return [one for one in said if one.trusted]

    def _said(self, content: Content, name: str, how: str, found: str = "") -> Known:
        seal = self._archive.seal(name)
        answer = check(content, seal, self._trusted, history=self._history(),
                       copy=partial(copy_of, seal, [self._root / SEALS], self._masters))
        what = f"what was sealed as {name} on {seal.made}"
        if not found and how == "uids":
            found = f"It is {what}." if answer.label == "authentic" else f"It says by its UIDs that it is {what}."
        elif how == "series":
            found = f"It says that it is of the series of {what}, and has none of its objects."
        elif not found:
            found = f"It {'is' if answer.voxels.label == 'authentic' else 'looks like'} {what}, under other UIDs."
        return dataclasses.replace(_known(answer, seal, how, found), seal=name)

    def _goes_on(self, asked: Asked, content: Content, look: Look, name: str) -> bool:
        """Whether all that was sealed is there as it was, and what came later is nothing known: a modality may pause
        for longer than a study is waited for."""
        sealed, whole = self._archive.holds(name, asked.instances)
        late = [z for z, uid in enumerate(_by_plane(asked, content)) if uid not in sealed]
        if not whole or not late:
            return False
        paths = tuple(path for path, one in zip(asked.source.paths, asked.members, strict=True)
                      if one.sop_instance in sealed)
        first = read_content(Source(paths, "file" if len(paths) == 1 else "series"))
        new = dataclasses.replace(look, prints={z: one for z, one in look.prints.items() if z in late})
        return (self._said(first, name, "uids").label == "authentic"
                and not set(self._archive.alike(new)) - {name})

    def _of_one_scan(self, asked: Asked, content: Content, like: Known) -> bool:
        """Whether an image resembles one of its own study that came from the modality together with it, and has nothing
        in common with it voxel by voxel: another reconstruction, or the same film processed otherwise."""
        seal = self._archive.seal(like.seal)
        made = datetime.datetime.fromisoformat(seal.made).timestamp()
        if (not self._wanted(asked) or seal.study.get("StudyInstanceUID") != asked.members[0].study
                or asked.arrived > made + AT_ONCE):
            return False
        return like.voxels.label == "inconclusive" or (
            content.values.shape == seal.shape and _left(content, like, seal) < LEFT)


def _trust(rules: settings.Seal, masters: Sequence[bytes]) -> Trust:
    """Whose seals count."""
    given = Trust(()) if rules.trust is None else read_trust(rules.trust)
    own = (signer_of(master).certificate for master in masters)
    others = (read_certificate(path, authority=True) for path in rules.also)
    return Trust((*map(Anchor, (*own, *others)), *given.anchors), given.heads)


def _known(answer: Checked, seal: Seal, how: str, found: str) -> Known:
    values = {one.name: getattr(answer, one.name) for one in dataclasses.fields(answer)}
    return Known(**values, seal=seal.name, made=seal.made, how=how, found=found)


def _by_plane(asked: Asked, content: Content) -> list[str]:
    """The SOP Instance UID of each plane."""
    uids = {path.name: one.sop_instance for path, one in zip(asked.source.paths, asked.members, strict=True)}
    return [uids[name.partition(", ")[0]] for name in content.names]


def _left(content: Content, like: Known, seal: Seal) -> float:
    """Of the tiles that are not of one value, the share that is as it was sealed."""
    drawn = ~flat(content.values if content.values.ndim == 3 else content.values.max(axis=-1), seal.tile)
    return float((drawn & ~like.tiles).sum() / max(1, drawn.sum()))
