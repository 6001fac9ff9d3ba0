"""Merkle trees as RFC 9162 hashes them (section 2.1): roots, inclusion and consistency proofs, and checking these."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

Hash = bytes


def leaf_of(entry: bytes) -> Hash:
    """The hash of one entry."""
    return hashlib.sha256(b"\0" + entry).digest()


def _node(left: Hash, right: Hash) -> Hash:
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def root_of(leaves: Sequence[Hash]) -> Hash:
    """MTH (2.1.1), of the leaves' hashes; of none, the hash of nothing."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:  # pairing from the left, the last one left over, gives the same tree as splitting does
        paired = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) // 2 * 2 :]
    return level[0]


def inclusion(leaves: Sequence[Hash], index: int) -> list[Hash]:
    """PATH (2.1.3.1): what leads from the leaf at `index` to the root of all."""
    if len(leaves) <= 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion(leaves[:k], index), root_of(leaves[k:])]
    return [*inclusion(leaves[k:], index - k), root_of(leaves[:k])]


def included(leaf: Hash, index: int, size: int, path: Sequence[Hash], root: Hash) -> bool:
    """Whether a path proves that `leaf` is the entry at `index` of the `size` under `root` (2.1.3.2)."""
    if not 0 <= index < size:
        return False
    here, last, found = index, size - 1, leaf
    for part in path:
        if last == 0:
            return False
        if here & 1 or here == last:
            found = _node(part, found)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            found = _node(found, part)
        here, last = here >> 1, last >> 1
    return last == 0 and found == root


def consistency(leaves: Sequence[Hash], first: int) -> list[Hash]:
    """PROOF (2.1.4.1): that the first `first` leaves stand unchanged at the beginning of all."""
    return _subproof(first, leaves, True) if 0 < first < len(leaves) else []


def _subproof(first: int, leaves: Sequence[Hash], known: bool) -> list[Hash]:
    if first == len(leaves):
        return [] if known else [root_of(leaves)]
    k = _split(len(leaves))
    if first <= k:
        return [*_subproof(first, leaves[:k], known), root_of(leaves[k:])]
    return [*_subproof(first - k, leaves[k:], False), root_of(leaves[:k])]


def consistent(first: int, size: int, path: Sequence[Hash], old: Hash, new: Hash) -> bool:
    """Whether a path proves that the tree of `first` entries under `old` begins that of `size` under `new`
    (2.1.4.2)."""
    if first == size:
        return not path and old == new
    if not 0 < first < size or not path:
        return False
    parts = [old, *path] if first & (first - 1) == 0 else list(path)
    here, last = first - 1, size - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    was = now = parts[0]
    for part in parts[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            was, now = _node(part, was), _node(part, now)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            now = _node(now, part)
        here, last = here >> 1, last >> 1
    return last == 0 and was == old and now == new
