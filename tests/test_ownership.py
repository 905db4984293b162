"""Whoever makes an array and gives it away says so; what is given away is nobody else's."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from law_cases import TRANSFORM_CASES

import fnn
from fnn import tree
from fnn.testing.laws.of_transforms import called

SHAPES = {"dense_0": {"w": (3, 4), "b": (4,)}, "scale": (), "none": (0,)}


def drawn(seed, node=SHAPES):
    """Draw a plain dict of arrays that their owner can still write to."""
    rng = np.random.default_rng(seed)
    if isinstance(node, dict):
        return {name: drawn(10 * seed + i, shape) for i, (name, shape) in enumerate(node.items())}
    return np.asarray(rng.normal(size=node), "float32")


class Watch:
    """`tree.map_new`, for functions that are seen to keep their word."""

    def __init__(self):
        self.real, self.made = tree.map_new, []

    def __call__(self, fn, *trees):
        def watched(*leaves):
            new = fn(*leaves)
            if isinstance(new, np.ndarray) and not immutable(new):
                assert not shared(new, [*leaves, *self.made]), "it was there before"
                assert not gc.get_referrers(new), "somebody else holds it"
                self.made.append(new)
            return new

        return self.real(watched, *trees)


def shared(new, others):
    return any(isinstance(other, np.ndarray) and np.shares_memory(new, other) for other in others)


def immutable(array):
    return tree.freeze(array) is array


@pytest.fixture(scope="module")
def _what_was_there():
    gc.collect()
    gc.freeze()  # Only what is made from here on is searched for holders.
    yield
    gc.unfreeze()


@pytest.fixture
def watch(monkeypatch, _what_was_there):
    watch = Watch()
    monkeypatch.setattr(tree, "map_new", watch)
    gc.collect()
    return watch


@pytest.mark.parametrize("case", TRANSFORM_CASES, ids=str)
def test_optimizers_give_away_what_nobody_else_holds(case, watch):
    params, transform = drawn(0), case.transform
    opt_state = transform.init(params)
    for step in range(3):
        updates, opt_state = called(transform, drawn(step + 1), opt_state, params, step)
        params = fnn.apply_updates(params, updates)
    for leaf in tree.leaves({"params": params, "updates": updates, "opt_state": opt_state}):
        assert immutable(leaf)
    assert watch.made


@pytest.mark.parametrize("plain", [False, True], ids=["tree", "plain dict"])
def test_tools_of_the_library_give_away_what_nobody_else_holds(watch, plain):
    given = drawn(0) if plain else fnn.Tree(drawn(0))
    assert tree.cast(given, "float32") == given
    assert tree.cast(given, "float64") == given
    fnn.ensemble.stack([given, given])
    net = fnn.serial(fnn.Dense(4), fnn.Tanh(), fnn.BatchNorm(), fnn.Dense(2))
    _, params, state = net.init(fnn.Key.of(0), (3,))
    x, target = np.ones((5, 3), "float32"), np.ones((5, 2), "float32")
    fnn.jvp(net, params, state, x, params, x)
    fnn.hvp(net, fnn.squared_error, params, state, (x, target), params)
    fnn.per_example_grads(net, fnn.squared_error, params, state, (x, target))
    assert len(watch.made) > 10
    assert all(leaf.flags.writeable is plain for leaf in tree.leaves(given))


def test_the_watch_sees_what_is_not_given_away(watch):
    buffer, kept = np.zeros(3), []

    def keeping(leaf):
        kept.append(leaf + 1)
        return kept[-1]

    for fn in (lambda leaf: leaf, lambda leaf: leaf[:1], lambda leaf: buffer, keeping):
        with pytest.raises(AssertionError, match=r"before|holds"):
            tree.map_new(fn, {"a": np.ones(3), "b": np.ones(3)})


def test_what_an_optimizer_of_ones_own_keeps_stays_its_own():
    scratch = np.zeros(3)

    def update(updates, opt_state, params, step):
        return tree.map(lambda g: np.multiply(g, -0.1, out=scratch), updates), {}

    transform = fnn.Transform("scratch", lambda params: {}, update)
    first, _ = transform.update({"w": np.ones(3)}, {}, {"w": np.ones(3)}, 0)
    before = first["w"].copy()
    transform.update({"w": np.full(3, 7.0)}, {}, {"w": np.ones(3)}, 1)
    scratch += 1
    np.testing.assert_array_equal(first["w"], before)
