"""Merkle trees: the published vectors of Certificate Transparency, and proofs of every entry of every size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanward.seals.merkle import consistency, consistent, included, inclusion, leaf_of, root_of

ENTRIES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]
"""The entries and roots with which implementations of RFC 6962 and 9162 are tested."""
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_of(entry) for entry in ENTRIES]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_the_published_ones(size):
    assert root_of(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing():
    assert root_of([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(("index", "size", "path"), [
    (0, 1, []),
    (0, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
])
def test_inclusion_proofs_are_the_published_ones(index, size, path):
    assert [part.hex() for part in inclusion(LEAVES[:size], index)] == path


@given(st.integers(1, 70).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_every_entry_has_a_proof_and_no_other_entry_has_it(pair):
    size, index = pair
    leaves = [leaf_of(bytes([n])) for n in range(size)]
    path, root = inclusion(leaves, index), root_of(leaves)
    assert included(leaves[index], index, size, path, root)
    assert not included(leaf_of(b"another"), index, size, path, root)
    assert not included(leaves[index], index + 1, size, path, root) or size == 1
    assert not included(leaves[index], index, size, [*path, root], root)
    if path:
        assert not included(leaves[index], index, size, path[:-1], root)


@given(st.integers(1, 70).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size))), st.integers(0, 69))
def test_a_tree_is_consistent_with_its_beginnings_alone(pair, changed):
    size, first = pair
    leaves = [leaf_of(bytes([n])) for n in range(size)]
    path, old, new = consistency(leaves, first), root_of(leaves[:first]), root_of(leaves)
    assert consistent(first, size, path, old, new)
    if changed < first:
        altered = list(leaves)
        altered[changed] = leaf_of(b"another")
        assert not consistent(first, size, consistency(altered, first), old, root_of(altered))
    if path:
        assert not consistent(first, size, path[:-1], old, new)
        assert not consistent(first, size, [bytes(32), *path[1:]], old, new)
