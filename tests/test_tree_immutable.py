"""Nobody can change a tree, and a tree changes nobody's arrays."""

from __future__ import annotations

import mmap
import operator

import numpy as np
import pytest
from tree_cases import (
    every_leaf_is_read_only,
    example,
    same_bits,
)

from fnn import Tree, tree
from fnn.errors import DTypeError, TreeError

# --- nobody can change a tree


@pytest.mark.parametrize(
    "change",
    [
        lambda t: operator.setitem(t, "scale", np.ones(1)),
        lambda t: operator.setitem(t["dense_0"], "w", np.ones(1)),
        lambda t: operator.delitem(t, "scale"),
        lambda t: operator.ior(t, {"new": np.ones(1)}),
        lambda t: t.update({"new": np.ones(1)}),
        lambda t: t.update(new=np.ones(1)),
        lambda t: t.setdefault("new", np.ones(1)),
        lambda t: t.pop("scale"),
        lambda t: t.pop("absent", None),
        lambda t: t.popitem(),
        lambda t: t.clear(),
    ],
)
def test_every_way_to_change_a_tree_raises_a_typeerror(change):
    now = example()
    with pytest.raises(TypeError, match="a Tree is immutable"):
        change(now)
    assert same_bits(now, example())


def test_calling_init_again_changes_nothing():
    now = example()
    now.__init__({"new": np.ones(1)})
    tree.EMPTY.__init__({"new": np.ones(1)})
    assert now == example()
    assert tree.EMPTY == {}


def test_a_tree_takes_no_attributes():
    with pytest.raises(AttributeError):
        example().note = 1


def test_writing_to_a_leaf_raises_a_valueerror():
    now = example()
    with pytest.raises(ValueError, match="read-only"):
        now["dense_0"]["w"][0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        now["dense_0"]["w"][...] += 1
    with pytest.raises(ValueError, match="read-only"):
        np.add(now["scale"], 1, out=now["scale"])


def test_a_list_of_keys_is_not_a_tree():
    with pytest.raises(TreeError, match="expected a dict of arrays, got list"):
        Tree([("a", np.ones(1))])


# --- arrays that are not ours


def owner_and_view():
    owner = np.arange(6.0)
    return owner, owner[::2]


def owner_and_read_only_view():
    owner = np.arange(6.0)
    view = owner[1:]
    view.setflags(write=False)
    return owner, view


def owner_and_broadcast():
    owner = np.arange(3.0)
    return owner, np.broadcast_to(owner, (2, 3))


def owner_and_bytearray():
    owner = np.frombuffer(memory := bytearray(24))
    view = np.frombuffer(memoryview(memory).toreadonly())
    return owner, view


def owner_and_memory_map():
    memory = mmap.mmap(-1, 24)
    view = np.frombuffer(memory)
    view.setflags(write=False)
    return np.frombuffer(memory), view


def owner_and_matrix():
    owner = np.arange(4.0).reshape(2, 2)
    return owner, owner.view(np.matrix)


def owner_and_strided():
    owner = np.arange(4.0)
    return owner, np.lib.stride_tricks.as_strided(owner, (2, 2), (8, 8), writeable=False)


SHARED = [
    lambda: (np.arange(3.0),) * 2,
    owner_and_view,
    owner_and_read_only_view,
    owner_and_broadcast,
    owner_and_bytearray,
    owner_and_memory_map,
    owner_and_matrix,
    owner_and_strided,
]


@pytest.mark.parametrize("pair", SHARED)
@pytest.mark.parametrize(
    "enter",
    [
        lambda view: Tree({"a": {"b": view}})["a"]["b"],
        lambda view: tree.freeze(view),
        lambda view: (Tree() | {"a": view})["a"],
        lambda view: ({"a": view} | Tree())["a"],
        lambda view: tree.map(lambda _: view, {"a": np.ones(1)})["a"],
        lambda view: tree.map(lambda leaf: leaf, {"a": view})["a"],
        lambda view: tree.update({"a": {"b": np.ones(1)}}, {"a/b": view})["a"]["b"],
        lambda view: tree.update({"a": {"b": np.ones(1)}}, {"a": {"b": view}})["a"]["b"],
        lambda view: tree.filter({"a": view}, lambda path, leaf: True)["a"],
        lambda view: tree.cast({"a": view}, "float64")["a"],
        lambda view: tree.ravel({"a": np.zeros(view.size)})[1](np.ravel(view))["a"],
        lambda view: tree.ravel({"a": view})[0],
        lambda view: Tree.fromkeys(["a"], view)["a"],
    ],
)
def test_arrays_that_others_can_write_to_are_copied_and_stay_theirs(pair, enter):
    owner, view = pair()
    flags = owner.flags.writeable, view.flags.writeable
    leaf = enter(view)
    before = leaf.copy()
    assert (owner.flags.writeable, view.flags.writeable) == flags
    owner[...] = 77
    np.testing.assert_array_equal(leaf, before)
    assert type(leaf) is np.ndarray
    assert not leaf.flags.writeable


def test_a_file_mapped_into_memory_is_copied(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3.0))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    leaf = Tree({"a": mapped})["a"]
    assert type(leaf) is np.ndarray
    assert not np.shares_memory(leaf, mapped)


def test_immutable_arrays_are_shared_and_not_copied():
    now = example()
    again = Tree({**now, "more": np.frombuffer(b"12345678")})
    assert again["dense_0"] is now["dense_0"]
    assert Tree(dict(now["dense_0"]))["w"] is now["dense_0"]["w"]
    assert tree.map(lambda leaf: leaf, now)["scale"] is now["scale"]
    assert isinstance(again["more"].base, bytes)
    assert Tree(now) == now


def test_a_changing_dict_does_not_change_the_tree_made_of_it():
    inner = {"w": np.ones(2)}
    outer = {"a": inner}
    now = Tree(outer)
    inner["w"] = np.zeros(2)
    outer["b"] = np.zeros(2)
    assert now == {"a": {"w": np.ones(2)}}


def test_masked_arrays_are_refused_as_their_mask_would_be_lost():
    with pytest.raises(DTypeError, match=r"a/b: expected numbers .* MaskedArray; fill it first"):
        Tree({"a": {"b": np.ma.masked_array([1.0, 2.0], [0, 1])}})


@pytest.mark.parametrize("leaf", ["x", None, np.array([{}]), np.array("2020", "M8[Y]"), b"x", {1, 2}])
def test_what_holds_no_numbers_is_refused_with_its_path(leaf):
    with pytest.raises(DTypeError, match="a/b: expected numbers at a leaf, got"):
        Tree({"a": {"b": leaf}})
    with pytest.raises(DTypeError, match="a/b: expected numbers at a leaf, got"):
        tree.map(lambda _: leaf, {"a": {"b": np.ones(2)}})


def test_a_fresh_array_of_objects_is_refused_too():
    with pytest.raises(DTypeError, match="a: expected numbers at a leaf"):
        tree.map(lambda _: np.array([None]), {"a": np.ones(2)})


@pytest.mark.parametrize("name", ["", "a/b", 1, None, b"a", ("a",)])
def test_keys_that_would_not_make_a_path_are_refused(name):
    plain = {"top": {name: np.ones(2)}}
    for use in (
        Tree,
        tree.digest,
        tree.ravel,
        Tree().__or__,
        lambda plain: list(tree.items(plain)),
        lambda plain: tree.map(np.negative, plain),
        lambda plain: tree.filter(plain, lambda path, leaf: True),
    ):
        with pytest.raises(TreeError, match=r"top: expected keys|: expected keys|^expected keys"):
            use(plain)


# --- sealing: fresh arrays are not copied


def address(array):
    return array.__array_interface__["data"][0]


def test_what_fn_makes_is_sealed_without_a_copy():
    made = []

    def fn(leaf):
        out = leaf + 1
        made.append(address(out))
        return out

    now = tree.map_new(fn, {"a": np.ones(3), "b": {"c": np.ones((2, 2))}})
    assert [address(leaf) for leaf in tree.leaves(now)] == made
    assert every_leaf_is_read_only(now)


def test_what_is_new_but_no_array_of_its_own_becomes_an_immutable_leaf_too():
    given = {"a": np.ones(3)}
    for fn in (np.sum, lambda leaf: [1, 2], lambda leaf: (leaf + 1)[::2], np.ndarray.tolist):
        now = tree.map_new(fn, given)
        assert every_leaf_is_read_only(now)
        assert tree.freeze(now["a"]) is now["a"]
    with pytest.raises(DTypeError, match="a: expected numbers at a leaf"):
        tree.map_new(lambda _: np.array([None]), given)
    assert given["a"].flags.writeable


def test_what_fn_keeps_is_copied_and_stays_writeable():
    buffer, kept, loose = np.zeros(3), [], {"a": np.ones(3)}

    def into_buffer(leaf):
        return np.add(leaf, 1, out=buffer)

    def remember(leaf):
        kept.append(leaf * 2)
        return kept[-1]

    def view_kept(leaf):
        out = leaf * 3
        kept.append(out[:1])
        return out

    def view_of_buffer(leaf):
        return buffer[::-1]

    def part_of_buffer(leaf):
        return buffer[1:].reshape(1, 2)

    def itself(leaf):
        return leaf

    def of_the_calls_before(leaf):
        kept[-1] += 1  # No count of references could tell: in between, nobody holds it but the list.
        return kept[-1]

    for fn in (
        into_buffer, remember, view_kept, view_of_buffer, part_of_buffer, itself, of_the_calls_before,
    ):  # fmt: skip
        now = tree.map(fn, loose)
        before = now["a"].copy()
        for array in (buffer, *kept, loose["a"]):
            array += 1
        np.testing.assert_array_equal(now["a"], before)


def test_scalars_lists_and_views_of_fresh_arrays_become_leaves():
    now = tree.map(lambda leaf: leaf.sum(), {"a": np.ones(3)})
    assert (type(now["a"]), now["a"].shape) == (np.ndarray, ())
    assert tree.map(lambda leaf: [1, 2], {"a": np.ones(3)})["a"].shape == (2,)
    assert tree.map(lambda leaf: (leaf + 1)[::2], {"a": np.ones(3)})["a"].tolist() == [2, 2]
    assert tree.map(lambda leaf: leaf + 1, {"a": [1.0, 2.0]}) == {"a": np.array([2.0, 3.0])}
