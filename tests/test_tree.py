"""Trees: immutable, strict about structure, and nobody's arrays but their own."""

from __future__ import annotations

import copy
import mmap
import operator
import pickle
import sys
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fnn import Tree, tree
from fnn.errors import DivergedError, DTypeError, ShapeError, TreeError

DTYPES = [np.dtype(name) for name in ("float32", "float64", "complex64", "int64", "uint8", "bool")]
NAMES = st.text("abz_.-0é", min_size=1, max_size=4)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
LEAVES = hnp.arrays(
    st.sampled_from(DTYPES), SHAPES, elements={"allow_nan": False, "allow_infinity": False}
)


def branches(leaves):
    return st.recursive(
        st.dictionaries(NAMES, leaves, max_size=3),
        lambda inner: st.dictionaries(NAMES, leaves | inner, max_size=3),
        max_leaves=6,
    )


TREES = branches(LEAVES)
FLOAT_TREES = branches(hnp.arrays("float32", SHAPES, elements=st.floats(-9, 9, width=32)))


def example():
    return Tree(
        {
            "dense_0": {"w": np.arange(6, dtype="float32").reshape(2, 3), "b": np.zeros(3, "float32")},
            "scale": np.float32(2),
        }
    )


def backwards(node):
    """Return the same tree as plain dicts, keys in the other order."""
    if not isinstance(node, dict):
        return node
    return {name: backwards(node[name]) for name in reversed(node)}


def dict_map(fn, node):
    return {name: dict_map(fn, x) for name, x in node.items()} if isinstance(node, dict) else fn(node)


def every_leaf_is_read_only(node):
    return all(not leaf.flags.writeable for leaf in tree.leaves(node))


def only_trees(node):
    return not isinstance(node, dict) or (type(node) is Tree and all(map(only_trees, node.values())))


def same_bits(a, b):
    pairs = zip(tree.items(a), tree.items(b), strict=True)
    return all(
        p == q and x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for (p, x), (q, y) in pairs
    )


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

    now = tree.map(fn, {"a": np.ones(3), "b": {"c": np.ones((2, 2))}})
    assert [address(leaf) for leaf in tree.leaves(now)] == made
    assert every_leaf_is_read_only(now)
    assert address(tree.map(np.negative, np.ones(3))) != 0


def test_what_fn_keeps_is_copied_and_stays_writeable():
    buffer, kept = np.zeros(3), []

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

    for fn in (into_buffer, remember, view_kept, view_of_buffer, part_of_buffer):
        now = tree.map(fn, {"a": np.ones(3)})
        before = now["a"].copy()
        for array in (buffer, *kept):
            array += 1
        np.testing.assert_array_equal(now["a"], before)


def test_the_interpreter_still_counts_references_as_sealing_expects():
    fresh = tree._seal(np.ones(3))
    held = np.ones(3)
    assert sys.getrefcount(fresh) == sys.getrefcount(held)
    assert tree._seal(held) is not held
    assert held.flags.writeable


def test_scalars_lists_and_views_of_fresh_arrays_become_leaves():
    now = tree.map(lambda leaf: leaf.sum(), {"a": np.ones(3)})
    assert (type(now["a"]), now["a"].shape) == (np.ndarray, ())
    assert tree.map(lambda leaf: [1, 2], {"a": np.ones(3)})["a"].shape == (2,)
    assert tree.map(lambda leaf: (leaf + 1)[::2], {"a": np.ones(3)})["a"].tolist() == [2, 2]
    assert tree.map(lambda leaf: leaf + 1, {"a": [1.0, 2.0]}) == {"a": np.array([2.0, 3.0])}


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
