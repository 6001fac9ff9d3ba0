"""Holding an image to its seal: voxels, geometry and identity, each with its own answer; the worst is the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from cryptography import x509
from scipy import ndimage

from scanward.box import Box
from scanward.errors import InputError
from scanward.formats.content import Content
from scanward.formats.form import FORM, PREAMBLE, has_form, of_form
from scanward.formats.held import FIRST_IDENTITY, FIRST_PLACE, HIDING, OLDER, SEQUENCES
from scanward.seals.consistent import held
from scanward.seals.copies import stored_of
from scanward.seals.log import History
from scanward.seals.record import Seal, geometry_of, little
from scanward.seals.reduced import Reduced
from scanward.seals.signing import name_of
from scanward.seals.tree import SHORT, Tree, changed, flat, regions, tree_of
from scanward.seals.trust import Standing, Trust, trust_in
from scanward.verdict import Label, worst

Identity = Literal["same", "any"]
WHOLE = 0.5
"""Share of the tiles that are not all of one value, from which on an image was changed as a whole, by another
encoding, say."""
FEW = 8
"""Tiles of an image so small that nothing is told by how many have changed."""
SAME_MM, SAME_SHARE = 0.01, 1e-4
"""Millimetres, and parts, by which numbers of geometry may differ: formats round them each in its own way."""
FLOAT32 = 1e-6
"""The same of slopes, which hold for values of four digits and more."""
_SIDES = ("Its ImageLaterality", "Its Laterality", "Its ViewPosition", "Its PatientOrientation", "Its PatientPosition")
_COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420"}
"""What lossy encodings turn into one another."""
_FULL = "YBR_FULL_422", "YBR_FULL"
"""What is decoded is not subsampled any more, and its samples were the same."""
_ALONE = OLDER - {"PatientOrientation", "PatientPosition", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
                  "PixelAspectRatio", "SpacingBetweenSlices"}
"""What a volume in another format would have to say, and cannot."""
MOST = 12
"""Names that are listed."""


@dataclass(frozen=True)
class Part:
    """What is to be said of voxels, geometry or identity."""

    label: Label
    reason: str
    consistent: bool = False
    """Of voxels that were encoded anew: they are consistent with what was sealed."""


ANEW = Part("inconclusive", "It was processed as a whole, by another encoding, say; the seal vouches for nothing in "
                            "it.")


@dataclass(frozen=True)
class Checked:
    """What holding an image to its seal gave."""

    voxels: Part
    geometry: Part
    identity: Part
    signer: str
    """Who sealed, by the certificate."""
    tiles: npt.NDArray[np.bool_]
    """Tiles (z, y, x) that are others than were sealed."""
    boxes: tuple[Box, ...]
    """A box in voxels about each region of them, the largest first."""
    trusted: bool = True
    """Whether the signer is of those that were given; a stranger's seal says nothing."""
    history: Part = Part("authentic", "No newer version of it is known.")
    trust: Part = Part("authentic", "")
    """Why the seal counts, or does not."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """All five."""
        return self.voxels, self.geometry, self.identity, self.history, self.trust

    @property
    def named(self) -> tuple[tuple[str, Part], ...]:
        """All five, with their names."""
        return tuple(zip(("voxels", "geometry", "identity", "history", "trust"), self.parts, strict=True))

    @property
    def vouches(self) -> bool:
        """Whether every voxel is as it was when a signer who counts sealed it; a watermark could say no more."""
        return self.match == "exact"

    @property
    def match(self) -> Literal["exact", "consistent", ""]:
        """How far it is what was sealed: `consistent` where it was encoded anew and nothing else is in doubt."""
        if self.voxels.consistent and all(part.label == "authentic" for part in self.parts[1:]):
            return "consistent"
        return "exact" if self.label == "authentic" else ""

    @property
    def label(self) -> Label:
        """The worst of them."""
        return cast(Label, worst([part.label for part in self.parts]))

    @property
    def reason(self) -> str:
        """Of the worst, in one or more sentences."""
        return " ".join(dict.fromkeys(part.reason for part in self.parts if part.label == self.label))


def check(content: Content, seal: Seal, trusted: Trust | Sequence[x509.Certificate], identity: Identity = "same",
          history: History | None = None, copy: Callable[[], Reduced | None] | None = None) -> Checked:
    """Whether an image is, voxel by voxel, what was sealed, lies where that lay and is of whom that was.

    `trusted` says whose seals count; a seal by another key vouches for nothing, nor does one of a key that was
    compromised, but for those that `history` shows to be older. With `identity` `any`, a copy without or with another
    name is taken, and that is said. `copy` finds the reduced copy, to which an image is held that was encoded anew as a
    whole.
    """
    standing = standing_of(seal, trust_in(trusted), history)
    if not standing.counts:
        return uncounted(seal, standing)
    copies = [] if content.values.shape == seal.shape else content.copies
    said = listed([content.names[z] for z in copies])
    content = content.without(copies) if copies else content
    voxels, tiles = _voxels(content, seal)
    boxes = regions(tiles, seal.tile, seal.shape[:3])
    anew = voxels is ANEW
    if anew and copy is not None:
        voxels, boxes = _consistent(content, seal, copy)
    if copies:
        voxels = Part("inconclusive" if voxels.label == "authentic" else voxels.label,
                      f"{voxels.reason} Copies of others at their place, by which programs may show it otherwise: "
                      f"{said}; take them away.")
    other = _other_header(content, seal)
    geometry = _geometry(content, seal, anew, [keyword for keyword in other if of_form(keyword)])
    if geometry.label == "tampered" and content.values.shape != seal.shape and not geometry.reason.startswith(_SIDES):
        geometry = Part("inconclusive", geometry.reason)  # what was cut or resampled lies elsewhere, too
    geometry = Part(geometry.label, geometry.reason + _besides([keyword for keyword in other if not of_form(keyword)]))
    return Checked(voxels, geometry, _identity(content, seal, identity), name_of(seal.certificate), tiles, boxes,
                   trust=Part("authentic", standing.reason))


def _consistent(content: Content, seal: Seal, copy: Callable[[], Reduced | None]) -> tuple[Part, tuple[Box, ...]]:
    """What the reduced copy says of an image that was encoded anew as a whole."""
    try:
        reduced, stored = copy(), stored_of(content, seal)
    except InputError as error:
        return Part("inconclusive", f"{ANEW.reason} {error}"), ()
    if reduced is None or stored is None:
        return ANEW, ()
    answer = held(stored, reduced)
    return Part(answer.label, " ".join([answer.reason, *answer.notes]), answer.consistent), answer.boxes


def standing_of(seal: Seal, trust: Trust, history: History | None = None) -> Standing:
    """Whether a seal counts, whatever it seals."""
    return trust.standing(seal.certificate, seal.made,
                          lambda before: history is not None and history.covers(seal, before))


def uncounted(seal: Seal, standing: Standing) -> Checked:
    """What is said by a seal that does not count."""
    none, nothing = Part("inconclusive", standing.reason), np.zeros(seal.tree.count, bool)
    return Checked(none, none, none, name_of(seal.certificate), nothing, (), standing.known, trust=none)


def _voxels(content: Content, seal: Seal) -> tuple[Part, npt.NDArray[np.bool_]]:
    none: npt.NDArray[np.bool_] = np.zeros(seal.tree.count, bool)
    if content.values.shape != seal.shape:
        return _other_shape(content, seal), none
    found = _tree(content, seal)
    if found == seal.tree:
        return Part("authentic", "It is voxel by voxel what was sealed."), none
    tiles = changed(seal.tree, found)
    if tiles.size > FEW and tiles.sum() >= WHOLE * (tiles | ~_flat(content, seal)).sum():
        moved = _planes_moved(found, seal)
        strangers = sum(plane not in _planes(seal.tree) for plane in _planes(found))
        if content.places and strangers * 2 < seal.shape[0]:  # one more at a place shifts all that follow
            return _other_shape(content, seal), none
        return moved or ANEW, none
    count = int(ndimage.label(tiles, np.ones((3, 3, 3)))[1])
    where = "one place" if count == 1 else f"{count} places"
    return Part("tampered", f"It was altered in {where}."), tiles


def _flat(content: Content, seal: Seal) -> npt.NDArray[np.bool_]:
    """Tiles of one value, such as a film's black border, which no encoding changes."""
    if content.values.ndim == 3:
        return flat(content.values, seal.tile)
    z, y, x, samples = content.values.shape
    return flat(content.values.reshape(z, y, x * samples), (*seal.tile[:2], seal.tile[2] * samples))


def _tree(content: Content, seal: Seal) -> Tree:
    values = little(content.values)
    kind = np.dtype(f"<{seal.kind}")
    if values.dtype == kind:
        return tree_of(values, seal.tile)
    with np.errstate(invalid="ignore", over="ignore"):
        kept = values.astype(kind)
        strange: npt.NDArray[np.bool_] = np.asarray(kept.astype(values.dtype) != values)
        strange |= np.sign(kept.astype(np.float64)) != np.sign(values.astype(np.float64))
    if values.dtype.kind == "f" and kind.kind == "f":
        strange &= ~(np.isnan(kept) & np.isnan(values))
    return tree_of(kept, seal.tile, np.asarray(np.any(strange, axis=-1)) if strange.ndim == 4 else strange)


def _planes(tree: Tree) -> list[bytes]:
    return [tree.planes[start : start + SHORT] for start in range(0, len(tree.planes), SHORT)]


def _planes_moved(found: Tree, seal: Seal) -> Part | None:
    """The same slices in another order."""
    now, was = _planes(found), _planes(seal.tree)
    return Part("tampered", "Its slices are those that were sealed, in another order.") if sorted(now) == sorted(was) \
        else None


def _other_shape(content: Content, seal: Seal) -> Part:
    """What is to be said of more slices, fewer, or others."""
    now, was = content.values.shape, seal.shape
    size = f"{_size(now)} where {_size(was)} were sealed"
    if now[1:] != was[1:]:
        return Part("inconclusive", f"It has {size}: it was cut or resampled, and the seal vouches for nothing in it.")
    planes, known = _planes(_tree(content, seal)), _planes(seal.tree)
    strangers = [z for z, plane in enumerate(planes) if plane not in known]
    missing = sum((Counter(known) - Counter(planes)).values())
    if len(strangers) == len(planes):
        return Part("inconclusive", f"It has {size}, and none is as it was; the seal vouches for nothing in it.")
    if strangers:
        return Part("tampered", f"It has {size}; not sealed {'was' if len(strangers) == 1 else 'were'} "
                                f"{listed(_beside(content, strangers))}.")
    if Counter(planes) - Counter(known):
        return Part("tampered", f"It has {size}; some are there more than once.")
    return Part("inconclusive", f"It has {size}: {missing} are missing, and the others are voxel by voxel what was "
                                "sealed.")


def _beside(content: Content, strangers: Sequence[int]) -> list[str]:
    """The names of slices that were not sealed, each with those at its place that were."""
    names = []
    for z in strangers:
        others = [content.names[n] for place in content.places if z in place for n in place if n not in strangers]
        names.append(content.names[z] + (f" (sealed at its place: {', '.join(others[:MOST])})" if others else ""))
    return names


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} slices of {shape[2]} x {shape[1]}" if shape[0] != 1 else f"{shape[2]} x {shape[1]} pixels"


def listed(names: Sequence[str], most: int = MOST) -> str:
    """Names in a sentence, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _geometry(content: Content, seal: Seal, anew: bool, form: Sequence[str]) -> Part:
    """A number or word that is not there any more is another thing than one that is another; and what was encoded anew
    has the scale and the colours that its encoding needs: its values are held to the copy with them. `form` names what
    is said in another form."""
    gone: list[str] = []
    new: list[str] = []
    other = _measures(content, seal, anew, gone, new) or _words(content, seal, anew, gone, new)
    if other is not None:
        return other
    if new:
        gone.append(f"{listed(new)}, of which it said nothing when it was sealed")
    if gone:
        return Part("inconclusive", f"It does not say the same of its {listed(gone)}.")
    if form:
        return Part("inconclusive", f"It is written in another form than was sealed, which programs may read "
                                    f"otherwise: see its {listed(form)}. Find the file that was sealed.")
    return Part("authentic", "It lies where it lay.")


def _measures(content: Content, seal: Seal, anew: bool, gone: list[str], new: list[str]) -> Part | None:
    """What is to be said where a number is another; those that are missing and that were added go to the lists."""
    was, now = seal.geometry, geometry_of(content)
    for name, words in (("scale", "rescale slope or intercept"), ("spacing", "spacing"), ("axes", "orientation"),
                        ("corners", "position")):
        if not was[name] or not now[name]:
            gone += [words] if was[name] else []
            new += [words] if now[name] else []
        elif not _alike(was[name], now[name], name) and not (anew and name == "scale"):
            return Part("tampered", f"Its {words} is another than was sealed{_numbers(was[name], now[name], name)}.")
    return None


def _words(content: Content, seal: Seal, anew: bool, gone: list[str], new: list[str]) -> Part | None:
    """The same of what `PLACE` and `SEQUENCES` name."""
    place = content.place
    if seal.header is None:
        place = {word: place[word] for word in (OLDER if seal.version else frozenset(FIRST_PLACE)) & place.keys()}
    for keyword, text in seal.place.items():
        if keyword not in place:
            # Formats without the word mean it so, hide nothing, or say it by the position of each voxel.
            plainly = seal.place.get("PhotometricInterpretation") != "MONOCHROME1"  # which not all invert alike
            unsaid = text == "MONOCHROME2" or (text == "IDENTITY" and plainly) or (
                content.header is None and keyword not in (OLDER if content.axes is None else _ALONE))
            gone += [] if unsaid else [keyword]
        elif place[keyword] != text and (text, place[keyword]) != _FULL and not (
                anew and keyword == "PhotometricInterpretation" and {text, place[keyword]} <= _COLOURS):
            hashed = keyword in SEQUENCES or keyword.endswith("Palette") or len(text) == 64
            return Part("tampered", f"Its {keyword} is another than was sealed." if hashed else
                        f"Its {keyword} is {place[keyword]}, and was {text}.")
    added = [keyword for keyword in place if keyword not in seal.place]
    if hiding := [keyword for keyword in added if keyword in HIDING]:
        return Part("tampered", f"What hides or changes voxels for whoever looks was added: {listed(hiding)}.")
    new += added
    return None


def _alike(was: Any, now: Any, name: str) -> bool:
    one, other = np.array(was, np.float64), np.array(now, np.float64)
    if one.shape != other.shape and name == "corners":
        # Slices more or fewer are told of by the voxels; those that are there lie where they lay.
        return all(np.abs(one - corner).max(axis=1).min() <= SAME_MM for corner in other)
    if one.shape != other.shape:
        # A scale of one pair holds for all.
        return name == "scale" and 1 in (len(one), len(other)) and bool(np.allclose(one, other, rtol=FLOAT32, atol=0))
    return bool(np.allclose(one, other, rtol={"corners": 0, "scale": FLOAT32}.get(name, SAME_SHARE),
                            atol={"corners": SAME_MM, "axes": SAME_SHARE}.get(name, 0)))


def _numbers(was: Any, now: Any, name: str) -> str:
    if name != "spacing":
        return ""
    return f": {' x '.join(f'{mm:g}' for mm in now)} mm, and was {' x '.join(f'{mm:g}' for mm in was)} mm"


def _besides(other: Sequence[str]) -> str:
    """A sentence on what differs in the header that the seal does not hold; empty where nothing does."""
    return f" Its header says another {listed(other, FEW)} than when it was sealed; the seal does not hold " \
           f"{'it' if len(other) == 1 else 'them'}." if other else ""


def _other_header(content: Content, seal: Seal) -> list[str]:
    """The keywords of what its header says in other words, or in another form, than the one that was sealed."""
    # Of what was sealed as no DICOM `place` is empty, and there was no header.
    if seal.header is None or content.header is None or content.values.shape != seal.shape or not seal.place:
        return []
    now = seal.briefly({keyword: said for keyword, said in content.header.items()
                        if keyword not in FORM or has_form(seal.header)})
    return [keyword for keyword in sorted(seal.header | now) if seal.header.get(keyword) != now.get(keyword)
            and not (keyword == PREAMBLE and PREAMBLE not in now)]


def _identity(content: Content, seal: Seal, asked: Identity) -> Part:
    now = {keyword: said for keyword, said in content.identity.items()
           if seal.header is not None or keyword in FIRST_IDENTITY}
    gone = [keyword for keyword in seal.identity if keyword not in now]
    other = [keyword for keyword, kept in seal.identity.items()
             if keyword in now and seal.commitment(keyword, now[keyword]) != kept]
    new = [keyword for keyword in now if keyword not in seal.identity]
    whose = [keyword for keyword in new if keyword in FIRST_IDENTITY]
    if asked == "any":
        words = listed([*other, *gone, *new])
        return Part("authentic", f"Not looked at, as was asked; other or missing: {words}." if words else
                    "It is of whom it was.")
    if other or whose:
        return Part("tampered", f"It says another {listed([*other, *whose])} than was sealed.")
    if new:
        return Part("inconclusive", f"It says its {listed(new)}, of which it said nothing when it was sealed.")
    if not seal.identity:
        return Part("authentic", f"It does not say whose it is, nor did it when it was sealed as {seal.name}.")
    if gone:
        return Part("inconclusive", f"It does not say any more its {listed(gone)}; where that is a copy without a "
                                    "name, say --identity any.")
    return Part("authentic", "It is of whom it was.")
