"""Laws of every optimizer: purity, bits, dtypes, recipes."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from optimizer_cases import ALL, ELEMENTWISE, OTHERS, decaying, draw, run, same_bits

from fnn import optimizers, tree
from fnn.optimizers import (
    Transform,
    adam,
    apply_updates,
    chain,
    scale_by_learning_rate,
    sgd,
)

elementwise_ones = pytest.mark.parametrize("transform", ELEMENTWISE, ids=repr)
every_one = pytest.mark.parametrize("transform", ALL, ids=repr)


# --- laws of every transform -----------------------------------------------------------------


@every_one
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arguments_stay_untouched_and_calls_repeat(transform, dtype):
    params, grads = draw(0, dtype), draw(1, dtype)
    _, opt_state = run(transform, params, [draw(2, dtype)])
    loose = copy_of(opt_state)
    before = [tree.digest(each) for each in (params, grads, loose)]
    first = transform.update(grads, loose, params, 1)
    second = transform.update(grads, loose, params, 1)
    assert before == [tree.digest(each) for each in (params, grads, loose)]
    assert all(leaf.flags.writeable for each in (params, grads, loose) for leaf in tree.leaves(each))
    for a, b in zip(first, second, strict=True):
        assert same_bits(a, b)


def copy_of(node):
    """Return plain dicts of writeable copies."""
    if isinstance(node, dict):
        return {name: copy_of(value) for name, value in node.items()}
    return np.array(node)


@every_one
def test_what_comes_out_is_immutable_and_shares_nothing_writeable(transform):
    params, grads = draw(0), draw(1)
    opt_state = transform.init(params)
    updates, new_state = transform.update(grads, opt_state, params, 0)
    moved = apply_updates(params, updates)
    for each in (opt_state, updates, new_state, moved):
        assert type(each) is tree.Tree
        for leaf in tree.leaves(each):
            assert not leaf.flags.writeable
            given = tree.leaves(params) + tree.leaves(grads)
            assert not any(np.shares_memory(leaf, other) for other in given)


@every_one
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_stay_also_under_schedules_of_float64(transform, dtype):
    params, opt_state = run(transform, draw(0, dtype), [draw(1, dtype), draw(2, dtype)])
    assert {str(leaf.dtype) for leaf in tree.leaves({"p": params, "s": opt_state})} == {dtype}


@every_one
def test_a_numpy_clock_gives_the_same_bits(transform):
    params, grads = draw(0, "float32"), draw(1, "float32")
    opt_state = transform.init(params)
    expected = transform.update(grads, opt_state, params, 7)
    got = transform.update(grads, opt_state, params, np.int64(7))
    assert all(same_bits(a, b) for a, b in zip(expected, got, strict=True))


@elementwise_ones
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_flat_vector_gives_the_bits_of_the_tree(transform, dtype):
    assert transform.elementwise
    trees = [draw(seed, dtype) for seed in range(6)]
    params, opt_state = run(transform, trees[0], trees[1:])
    flat = [tree.ravel(each)[0] for each in trees]
    flat_params, flat_state = run(transform, flat[0], flat[1:])
    assert same_bits(tree.ravel(params)[0], flat_params)

    def compare(node, flat_node):
        """Walk down the names of the memory to where the flat one has a vector."""
        if isinstance(flat_node, np.ndarray):
            assert same_bits(tree.ravel(node)[0], flat_node)
            return
        assert node.keys() == flat_node.keys()
        for name in node:
            compare(node[name], flat_node[name])

    compare(opt_state, flat_state)


@elementwise_ones
def test_an_entry_depends_on_its_own_numbers_alone(transform):
    params, grads = np.linspace(-1, 1, 9), np.linspace(2, -3, 9)
    together, _ = run(transform, params, [grads, grads[::-1]])
    for i in range(9):
        alone, _ = run(transform, params[i], [grads[i], grads[::-1][i]])
        assert same_bits(alone, together[i])


@pytest.mark.parametrize("transform", OTHERS, ids=repr)
def test_what_looks_at_the_whole_tree_says_so(transform):
    assert not transform.elementwise


@every_one
def test_transforms_pickle_copy_and_compare_by_their_recipe(transform):
    assert copy.copy(transform) == copy.deepcopy(transform) == transform
    assert transform.where.startswith("optimizer_cases.py:")
    if "<lambda" not in repr(transform):
        again = pickle.loads(pickle.dumps(transform))
        assert again == transform
        assert hash(again) == hash(transform)
        assert (repr(again), again.where) == (repr(transform), transform.where)
        params, grads = draw(0), [draw(1), draw(2)]
        assert same_bits(run(again, params, grads)[0], run(transform, params, grads)[0])


def test_transforms_print_as_the_code_that_makes_them():
    for text in (
        "sgd(0.1)",
        "momentum(0.1, nesterov=True)",
        "adam()",
        "adamw(learning_rate=0.01, weight_decay=0.1)",
        "chain(clip_by_global_norm(1.0), scale_by_adam(b1=0.8), scale_by_learning_rate(0.1))",
        "freeze('dense_0')",
        "freeze(('dense_0', 'dense_1/w'))",
    ):
        made = eval(text, vars(optimizers))
        assert repr(made) == text
        assert eval(repr(made), vars(optimizers)) == made
    assert repr(sgd(decaying)) == "sgd(decaying)"
    assert adam(0.001) == adam()
    assert adam(0.002) != adam()
    assert sgd(0.1) != scale_by_learning_rate(0.1)


def test_a_transform_of_ones_own_is_placed_frozen_and_chains():
    def update(updates, opt_state, params, step):
        count = opt_state["count"] + 1
        return tree.map(np.sign, updates), {"count": count}

    own = Transform("sign", lambda params: {"count": np.zeros(1)}, update)
    init, own_update = own
    updates, opt_state = own_update({"w": np.array([-3.0])}, init({}), {}, 0)
    assert updates == {"w": [-1.0]}
    assert opt_state == {"count": [1.0]}
    assert type(opt_state) is tree.Tree
    params, opt_state = run(chain(own, sgd(0.5)), {"w": np.ones(1)}, [{"w": np.array([-3.0])}] * 2)
    assert params == {"w": [2.0]}
    assert opt_state == {"sign_0": {"count": [2.0]}}
    assert own == Transform("sign", own.core.init, own.core.update)
    assert own.numbers(0) == {}
