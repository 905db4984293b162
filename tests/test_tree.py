"""Trees: immutable, strict about structure, and nobody's arrays but their own."""

from __future__ import annotations

import copy
import operator
import pickle
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from tree_cases import (
    NAMES,
    TREES,
    backwards,
    every_leaf_is_read_only,
    example,
    only_trees,
    same_bits,
)

from fnn import Tree, tree
from fnn.errors import DivergedError, ShapeError, TreeError

# --- equality, union, copies


@given(TREES)
def test_a_tree_equals_the_dict_it_was_made_of_in_both_orders(plain):
    now = Tree(plain)
    other = backwards(plain)
    assert now == plain
    assert plain == now
    assert not operator.ne(now, plain)
    assert not operator.ne(plain, now)
    assert now == other
    assert other == now
    assert {"in": now} == {"in": other}
    assert {"in": other} == {"in": now}
    assert Tree(other) == now
    assert only_trees(now)
    assert every_leaf_is_read_only(now)


@given(TREES, NAMES)
def test_a_tree_differs_from_one_with_another_leaf(plain, name):
    now = Tree(plain)
    other = {**plain, name: np.full((2, 2, 2, 2), 5.0)}
    assert now != other
    assert other != now
    assert now != {**plain, name: {"x": now}}


def test_equality_is_strict_about_shapes_structure_and_types_of_things():
    now = Tree({"a": np.ones(2)})
    for other in (
        {"a": np.ones((1, 2))},
        {"a": np.ones(1)},
        {"a": 1.0},
        {"a": {}},
        {"a": {"b": np.ones(2)}},
        {"b": np.ones(2)},
        {},
        {"a": None},
        {"a": "x"},
        {"a": [[1], [1, 2]]},
        1,
        None,
        [("a", np.ones(2))],
        {"a": np.array([1, np.nan])},
    ):
        assert now != other
        assert other != now
        assert not operator.eq(now, other)
    assert now == {"a": np.ones(2, "float32")}
    assert now == MappingProxyType({"a": np.ones(2)})
    assert now == {"a": [1, 1]}


def test_trees_have_no_hash():
    with pytest.raises(TypeError):
        hash(example())


@given(TREES, TREES)
def test_union_gives_a_tree_from_either_side(a, b):
    for union in (Tree(a) | b, a | Tree(b), Tree(a) | Tree(b)):
        assert type(union) is Tree
        assert union == {**a, **b}
        assert list(union) == list({**a, **b})


def test_a_union_with_something_else_is_a_typeerror():
    for other in (1, [("a", 1)], None):
        with pytest.raises(TypeError):
            Tree() | other
        with pytest.raises(TypeError):
            other | Tree()


def test_a_plain_dict_takes_a_tree_in_with_its_own_update():
    plain = {"a": 1}
    plain |= example()
    assert type(plain) is dict


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_everything(protocol):
    now = example()
    back = pickle.loads(pickle.dumps({"now": now, "leaf": now["scale"]}, protocol))
    assert same_bits(back["now"], now)
    assert only_trees(back["now"])
    assert every_leaf_is_read_only(back["now"])
    assert list(back["now"]) == list(now)


def test_copies_are_the_tree_itself():
    now = example()
    for again in (copy.copy(now), copy.deepcopy(now), now.copy(), copy.deepcopy([now])[0]):
        assert again is now


def test_fromkeys_and_freeze_make_trees():
    zeros = np.zeros(2)
    assert Tree.fromkeys(["a", "b"], zeros) == {"a": zeros, "b": zeros}
    assert type(tree.freeze({"a": zeros})) is Tree
    assert tree.freeze(3.0).shape == ()


def test_own_takes_arrays_without_a_copy():
    w = np.ones(2)
    now = Tree.own({"w": w, "in": example()})
    assert now["w"] is w
    assert not w.flags.writeable


def test_repr_shows_dtype_and_shape():
    assert repr(example()) == "Tree(dense_0: Tree(w: float32[2, 3], b: float32[3]), scale: float32[])"
    assert repr(Tree()) == "Tree()"


# --- paths


def test_paths_are_stable_and_sorted():
    assert [path for path, _ in tree.items(example())] == ["dense_0/b", "dense_0/w", "scale"]
    assert next(path for path, _ in tree.items(example(), "params")) == "params/dense_0/b"
    assert [path for path, _ in tree.items(np.ones(2))] == [""]


@given(TREES)
def test_paths_are_distinct_lead_to_their_leaves_and_ignore_the_order_of_keys(plain):
    paths = [path for path, _ in tree.items(plain)]
    assert len(set(paths)) == len(paths)
    assert paths == [path for path, _ in tree.items(backwards(plain))]
    for (path, leaf), same in zip(tree.items(plain), tree.leaves(plain), strict=True):
        assert tree.get(plain, path) is leaf
        assert same is leaf


def test_get_says_what_there_is_instead():
    now = example()
    assert tree.get(now, "") is now
    assert tree.get(now, "dense_0") is now["dense_0"]
    message = r"expected the path 'dense_0/v', got \['b', 'w'\] before 'v'"
    with pytest.raises(TreeError, match=message):
        tree.get(now, "dense_0/v")
    with pytest.raises(TreeError, match="got a leaf before 'x'"):
        tree.get(now, "scale/x")
    with pytest.raises(TreeError, match="before ''"):
        tree.get(now, "dense_0//w")


# --- map


@given(TREES)
def test_map_keeps_structure_order_and_pairs_by_key(plain):
    now = tree.map(lambda a, b: np.array([a.size, a.shape == b.shape]), plain, Tree(backwards(plain)))
    assert only_trees(now)
    assert [path for path, _ in tree.items(now)] == [path for path, _ in tree.items(plain)]
    assert list(now) == list(plain)
    assert all(leaf[1] == 1 for leaf in tree.leaves(now))


def test_map_on_leaves_gives_a_leaf():
    assert tree.map(np.add, np.ones(2), np.ones(2)).tolist() == [2, 2]


W = np.ones((2, 3))


@pytest.mark.parametrize(
    ("first", "second", "error", "message"),
    [
        ({"a": {"w": W}}, {"a": {"w": W[:1]}}, ShapeError, r"^a/w: expected \(2, 3\), got \(1, 3\)$"),
        ({"a": {"w": W}}, {"a": {"w": W[0]}}, ShapeError, r"^a/w: expected \(2, 3\), got \(3,\)$"),
        ({"a": {"w": W}}, {"a": {"w": W.T}}, ShapeError, r"^a/w: expected \(2, 3\), got \(3, 2\)$"),
        ({"a": {"w": W}}, {"a": {"w": W.ravel()}}, ShapeError, r"^a/w: expected \(2, 3\), got \(6,\)$"),
        ({"a": {"w": W}}, {"a": {"w": [1]}}, ShapeError, r"^a/w: expected \(2, 3\), got \(1,\)$"),
        ({"a": {"w": W}}, {"a": {"w": 1.0}}, ShapeError, r"^a/w: expected \(2, 3\), got \(\)$"),
        ({"a": {"w": W}}, {"a": {"v": W}}, TreeError, r"^a: expected \['w'\], got \['v'\]$"),
        ({"a": {"w": W}}, {"a": {}}, TreeError, r"^a: expected \['w'\], got \[\]$"),
        ({"a": {}}, {"a": {"w": W}}, TreeError, r"^a: expected \[\], got \['w'\]$"),
        (
            {"a": {"w": W}},
            {"a": {"w": W, "v": W}},
            TreeError,
            r"^a: expected \['w'\], got \['v', 'w'\]$",
        ),
        ({"a": {"w": W}}, {"a": W}, TreeError, r"^a: expected \['w'\], got a leaf$"),
        ({"a": W}, {"a": {"w": W}}, TreeError, r"^a: expected a leaf, got \['w'\]$"),
        ({"a": W}, {"b": W}, TreeError, r"^/: expected \['a'\], got \['b'\]$"),
        ({"a": W}, W, TreeError, r"^/: expected \['a'\], got a leaf$"),
        (W, {"a": W}, TreeError, r"^/: expected a leaf, got \['a'\]$"),
        (W, W[0], ShapeError, r"^/: expected \(2, 3\), got \(3,\)$"),
    ],
)
def test_trees_pair_strictly_and_errors_name_the_path(first, second, error, message):
    for a, b in ((first, second), (tree.freeze(first), tree.freeze(second))):
        with pytest.raises(error, match=message):
            tree.map(np.add, a, b)
        with pytest.raises(error, match=message):
            tree.map(lambda a, b, c: a, a, a, b)


def test_errors_of_fn_gain_the_path():
    def fn(leaf):
        raise ShapeError("too small")

    with pytest.raises(ShapeError, match=r"^a/b: too small$"):
        tree.map(fn, {"a": {"b": np.ones(1)}})


@pytest.mark.parametrize(
    "error",
    [
        ShapeError("expected 3").inside("w", "").inside("dense_0", "train.py:3"),
        TreeError("bare"),
        DivergedError("nan", step=3, leaf="x", learning_rate=None, grad_norm=np.inf).inside("fit", ""),
    ],
)
def test_errors_survive_pickling_with_all_they_know(error):
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), again.args) == (type(error), str(error), error.args)
        assert vars(again) == vars(error)
