"""Clipping and freezing."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimizer_cases import ALL, ELEMENTWISE, draw, run, same_bits

from fnn import tree
from fnn.optimizers import (
    adam,
    adamw,
    chain,
    clip_by_global_norm,
    freeze,
    global_norm,
    momentum,
    sgd,
)

elementwise_ones = pytest.mark.parametrize("transform", ELEMENTWISE, ids=repr)
every_one = pytest.mark.parametrize("transform", ALL, ids=repr)


# --- clipping --------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=6),
    st.floats(1e-6, 1e6),
)
def test_clipping_keeps_the_direction_and_bounds_the_norm(values, most):
    grads = {"a": np.array(values[:1]), "b": np.array(values[1:])}
    norm = math.hypot(*values)
    assert global_norm(grads) == pytest.approx(norm, rel=1e-13)
    clipped, _ = clip_by_global_norm(most).update(grads, {}, grads, 0)
    if norm <= most * (1 - 1e-12):
        assert same_bits(clipped, grads)
    elif norm >= most * (1 + 1e-12):
        assert global_norm(clipped) == pytest.approx(most, rel=1e-12)
        expected = [value / norm * most for value in values]
        got = [*clipped["a"], *clipped["b"]]
        assert got == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_a_zero_gradient_stays_zero():
    grads = {"w": np.zeros(3, "float32"), "b": -np.zeros(2, "float32")}
    for most in (0.0, 1.0):
        assert same_bits(clip_by_global_norm(most).update(grads, {}, grads, 0)[0], grads)
    assert global_norm(grads) == 0.0
    assert global_norm({}) == 0.0
    assert global_norm({"w": np.zeros((0, 3))}) == 0.0


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        ("float32", 1e30),
        ("float32", 3e38),
        ("float32", 1e-44),
        ("float64", 1.7e308),
        ("float64", 1e-310),
    ],
)
def test_huge_and_tiny_gradients_clip_without_overflow(dtype, size):
    grads = {"a": np.full(300, size, dtype), "b": np.full(100, -size, dtype)}
    exact = float(grads["a"][0])
    assert global_norm(grads) == exact * 20  # inf beyond what a float64 holds
    most = min(1.0, exact * 4)
    clipped, _ = clip_by_global_norm(most).update(grads, {}, grads, 0)
    assert clipped["a"].dtype == dtype
    spacing = float(np.spacing(np.array(most / 20, dtype)))
    np.testing.assert_allclose(clipped["a"], most / 20, rtol=4e-7, atol=spacing)
    np.testing.assert_allclose(clipped["b"], -most / 20, rtol=4e-7, atol=spacing)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_gradients_that_are_not_finite_pass_clipping_unchanged(bad, dtype):
    grads = {"a": np.array([1.0, bad, 2.0], dtype), "b": np.array([1e9], dtype)}
    clipped, _ = clip_by_global_norm(0.1).update(grads, {}, grads, 0)
    assert same_bits(clipped, grads)
    norm = global_norm(grads)
    assert math.isnan(norm) if math.isnan(bad) else norm == math.inf


def test_a_norm_at_the_bound_is_not_clipped():
    grads = np.array([3.0, 4.0])
    assert same_bits(clip_by_global_norm(5.0).update(grads, {}, grads, 0)[0], grads)
    clipped, _ = clip_by_global_norm(2.5).update(grads, {}, grads, 0)
    np.testing.assert_array_equal(clipped, [1.5, 2.0])


@every_one
@pytest.mark.parametrize("bad", [math.inf, math.nan, 3e38])
def test_gradients_that_are_not_finite_or_overflow_print_no_warning(transform, bad):
    grads = tree.map(lambda g: np.full_like(g, bad), draw(0, "float32"))
    params = draw(0, "float32")
    moved, _ = run(transform, params, [grads, tree.map(np.negative, grads), grads])
    assert [path for path, _ in tree.items(moved)] == [path for path, _ in tree.items(params)]


# --- freezing --------------------------------------------------------------------------------


def test_frozen_leaves_keep_every_bit():
    values = [0.0, -0.0, 1.5, -2.5, 5e-324, math.inf]
    params = {
        "dense_0": {"w": np.array(values), "b": np.array([-0.0])},
        "dense_01": {"w": np.ones(2)},
        "dense_1": {"w": np.array([-0.0]), "b": np.ones(1)},
    }
    grads = tree.map(lambda p: np.full_like(p, 0.25), params)
    optimizer = chain(adamw(0.1, weight_decay=0.5), freeze(["dense_0", "dense_1/w"]))
    moved, _ = run(optimizer, params, [grads] * 3)
    for path in ("dense_0/w", "dense_0/b", "dense_1/w"):
        assert same_bits(tree.get(moved, path), tree.get(params, path))
    for path in ("dense_01/w", "dense_1/b"):
        assert not np.any(tree.get(moved, path) == tree.get(params, path))


def test_a_frozen_layer_ignores_gradients_that_are_not_finite():
    params, grads = draw(0), tree.map(lambda p: np.full_like(p, math.nan), draw(0))
    moved, _ = run(chain(momentum(0.1), freeze(["dense_0", "dense_1", "scale"])), params, [grads])
    assert same_bits(moved, params)


def test_freezing_leaves_the_other_updates_alone():
    params, grads = draw(0), [draw(1), draw(2)]
    free, _ = run(adam(), params, grads)
    held, _ = run(chain(adam(), freeze("dense_0/w")), params, grads)
    assert same_bits(tree.update(held, {"dense_0/w": free["dense_0"]["w"]}), free)


def test_paths_to_freeze_come_as_a_string_or_any_iterable():
    params, grads = draw(0), [draw(1)]
    expected, _ = run(chain(sgd(0.1), freeze(("dense_0", "scale"))), params, grads)
    for paths in (["scale", "dense_0"], {"scale", "dense_0"}, iter(["scale", "dense_0", "scale"])):
        frozen = freeze(paths)
        assert frozen == freeze(["dense_0", "scale"])
        again = pickle.loads(pickle.dumps(frozen))
        assert same_bits(run(chain(sgd(0.1), again), params, grads)[0], expected)
    assert freeze("dense_0") == freeze(["dense_0"])
    assert same_bits(
        run(chain(sgd(0.1), freeze([])), params, grads)[0], run(sgd(0.1), params, grads)[0]
    )


def test_whole_and_part_of_a_layer_may_both_be_frozen():
    params = draw(0)
    moved, _ = run(chain(sgd(0.1), freeze(["dense_0", "dense_0/w"])), params, [draw(1)])
    assert same_bits(moved["dense_0"], params["dense_0"])


def test_the_norm_of_float32_gradients_is_summed_in_float64():
    grads = np.random.default_rng(0).normal(size=100_000).astype("float32")
    exact = math.sqrt(math.fsum(float(g) ** 2 for g in grads))
    assert global_norm(grads) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda *each: chain(*each),
        lambda clip, step, still: chain(clip, chain(step, still)),
        lambda clip, step, still: chain(chain(clip, step), chain(chain(still))),
        lambda clip, step, still: chain(chain(clip), step, still, freeze("dense_0/w")),
    ],
)
def test_clipping_before_freezing_counts_only_what_is_trained(wrap):
    params, grads = draw(0), draw(1)
    still = ["dense_0", "scale"]
    alone = {name: node for name, node in params.items() if name not in still}
    kept = {name: node for name, node in grads.items() if name not in still}
    expected, _ = run(chain(clip_by_global_norm(0.01), momentum(1.0)), alone, [kept] * 3)
    moved, _ = run(wrap(clip_by_global_norm(0.01), momentum(1.0), freeze(still)), params, [grads] * 3)
    for name in alone:
        assert same_bits(moved[name], expected[name])
    for name in still:
        assert same_bits(moved[name], params[name])


def test_bad_gradients_of_what_is_frozen_reach_no_norm():
    params = draw(0)
    grads = tree.update(draw(1), {"scale": np.full_like(draw(1)["scale"], math.nan)})
    optimizer = chain(clip_by_global_norm(0.01), adam(), freeze("scale"))
    moved, state = run(optimizer, params, [grads] * 2)
    assert all(np.isfinite(leaf).all() for _, leaf in tree.items(moved))
    assert all(np.isfinite(leaf).all() for _, leaf in tree.items(state))
