"""Tools for trees: update, filter, ravel, cast, size and digest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree_cases import (
    FLOAT_TREES,
    TREES,
    backwards,
    dict_map,
    example,
    only_trees,
    same_bits,
)

from fnn import Tree, tree
from fnn.errors import DTypeError, ShapeError, TreeError

# --- update and filter


def test_update_replaces_leaves_and_subtrees_and_nothing_else():
    now = example()
    new = tree.update(now, {"dense_0/w": np.ones((1, 1)), "scale": {"x": np.ones(1)}})
    assert new["dense_0"]["w"].shape == (1, 1)
    assert new["dense_0"]["b"] is now["dense_0"]["b"]
    assert new["scale"] == {"x": np.ones(1)}
    assert list(new["dense_0"]) == ["w", "b"]
    assert only_trees(new)
    assert same_bits(now, example())
    assert tree.update(now, {}) is not None


@pytest.mark.parametrize(
    "path", ["absent", "dense_0/absent", "scale/x", "dense_0/w/x", "/scale", "scale/"]
)
def test_update_refuses_paths_that_are_not_there(path):
    with pytest.raises(TreeError, match="expected the path"):
        tree.update(example(), {path: np.ones(1)})


def test_update_refuses_the_path_of_the_whole():
    with pytest.raises(TreeError, match="expected"):
        tree.update(example(), {"": np.ones(1)})


@given(TREES, st.data())
def test_update_at_every_leaf_is_map(plain, data):
    changed = {
        path: leaf.astype("float64") + 1 for path, leaf in tree.items(plain) if leaf.dtype != "c8"
    }
    new = tree.update(plain, changed)
    for path, leaf in tree.items(new):
        np.testing.assert_array_equal(leaf, changed.get(path, tree.get(plain, path)))


def test_filter_drops_leaves_and_then_empty_branches():
    now = example()
    assert tree.filter(now, lambda path, leaf: path.endswith("/w")) == {
        "dense_0": {"w": now["dense_0"]["w"]}
    }
    assert tree.filter(now, lambda path, leaf: leaf.ndim == 0) == {"scale": now["scale"]}
    assert tree.filter(now, lambda path, leaf: False) == {}


@given(TREES)
def test_filter_shows_every_path_and_its_complements_make_up_the_whole(plain):
    seen = []
    kept = tree.filter(plain, lambda path, leaf: seen.append(path) or len(path) % 2 == 0)
    rest = tree.filter(plain, lambda path, leaf: len(path) % 2 == 1)
    assert sorted(seen) == sorted(path for path, _ in tree.items(plain))
    both = dict(tree.items(kept)) | dict(tree.items(rest))
    assert both.keys() == dict(tree.items(plain)).keys()


# --- ravel


@given(FLOAT_TREES)
def test_ravel_and_back_is_the_identity_bit_for_bit(plain):
    vector, unravel = tree.ravel(plain)
    back = unravel(vector)
    assert vector.shape == (tree.size(plain),)
    assert not vector.flags.writeable
    assert same_bits(back, plain)
    assert only_trees(back)
    assert back == plain
    assert list(back) == list(plain)
    assert vector.tobytes() == tree.ravel(backwards(plain))[0].tobytes()


def test_ravel_orders_leaves_by_path_whatever_the_order_of_keys_and_the_memory():
    one = {"b": np.array([[1.0, 2], [3, 4]], order="F"), "a": np.array(0.0)}
    assert tree.ravel(one)[0].tolist() == [0, 1, 2, 3, 4]
    assert tree.ravel(one)[1](np.arange(5.0)) == {"a": np.array(0.0), "b": np.array([[1.0, 2], [3, 4]])}


def test_ravel_of_a_leaf_gives_a_copy_and_a_leaf_back():
    leaf = np.ones((2, 2))
    vector, unravel = tree.ravel(leaf)
    assert not np.shares_memory(vector, leaf)
    assert unravel(vector).shape == (2, 2)


def test_ravel_of_an_empty_tree_is_an_empty_vector():
    vector, unravel = tree.ravel({"a": {}})
    assert (vector.shape, vector.dtype) == ((0,), np.float32)
    assert unravel(vector) == {"a": {}}


def test_unravel_keeps_the_vectors_dtype_and_forgets_nothing_of_a_dict_that_changes():
    plain = {"a": np.ones(2), "b": {"c": np.ones(1)}}
    _, unravel = tree.ravel(plain)
    del plain["b"]["c"]
    back = unravel(np.arange(3.0) + 1j)
    assert back == {"a": np.array([1j, 1 + 1j]), "b": {"c": np.array([2 + 1j])}}


def test_ravel_refuses_mixed_dtypes_and_unravel_other_lengths():
    with pytest.raises(
        DTypeError, match=r"ravel: expected leaves of one dtype, got \['float32', 'float64'\]"
    ):
        tree.ravel({"a": np.ones(1), "b": np.ones(1, "float32")})
    _, unravel = tree.ravel(example())
    for vector in (np.ones(9, "float32"), np.ones((2, 5), "float32"), np.float32(1)):
        with pytest.raises(ShapeError, match=r"unravel: expected \(10,\), got"):
            unravel(vector)


# --- cast, size, digest


def test_cast_changes_floats_and_complex_numbers_only():
    now = Tree({"f": np.ones(2, "float32"), "i": np.ones(2, "int64"), "b": np.array(True)})
    wide = tree.cast(now, "float64")
    assert [leaf.dtype for leaf in wide.values()] == ["float64", "int64", "bool"]
    assert wide["i"] is now["i"]
    assert tree.cast(now, np.complex64)["f"].dtype == "complex64"
    assert tree.cast(now, "float32")["f"] is now["f"]


@pytest.mark.parametrize(
    ("leaf", "dtype"), [(np.ones(2), "int32"), (np.ones(2) + 1j, "float64"), (1.5, bool)]
)
def test_cast_refuses_to_lose_more_than_digits(leaf, dtype):
    with pytest.raises(DTypeError, match=r"a/b: expected a dtype that holds"):
        tree.cast({"a": {"b": leaf}}, dtype)


@given(TREES)
def test_size_counts_numbers(plain):
    assert tree.size(plain) == sum(leaf.size for _, leaf in tree.items(plain))


def test_the_digest_of_an_example_is_pinned():
    assert tree.digest(example()) == "2c8993ede6724bd47093ccf98a886834a9599554ae04e596cdeba694ca0a6fc2"
    assert tree.digest({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(TREES)
def test_the_digest_ignores_order_of_keys_layout_in_memory_and_byte_order(plain):
    expected = tree.digest(plain)
    swapped = dict_map(lambda leaf: leaf.astype(leaf.dtype.newbyteorder(">")), plain)
    assert tree.digest(backwards(plain)) == expected
    assert tree.digest(Tree(plain)) == expected
    assert tree.digest(dict_map(lambda leaf: leaf.copy(order="F"), plain)) == expected
    assert tree.digest(swapped) == expected


def test_the_digest_sees_dtype_shape_path_and_every_bit():
    now = example()
    others = [
        tree.cast(now, "float64"),
        tree.update(now, {"scale": np.ones(1, "float32") * 2}),
        tree.update(now, {"dense_0/w": now["dense_0"]["w"].reshape(3, 2)}),
        tree.update(now, {"dense_0/w": now["dense_0"]["w"].T.copy().reshape(2, 3)}),
        tree.update(now, {"dense_0/b": -now["dense_0"]["b"]}),
        tree.update(now, {"dense_0/b": now["dense_0"]["b"].view("int32")}),
        tree.update(now, {"scale": np.nextafter(now["scale"], np.float32(3))}),
        {"dense_1": now["dense_0"], "scale": now["scale"]},
        {"dense_0": {**now["dense_0"], "scale": now["scale"]}},
        now | {"more": np.zeros(0)},
    ]
    digests = {tree.digest(each) for each in (now, *others)}
    assert len(digests) == 1 + len(others)
