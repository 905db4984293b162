"""Optimizers that ask for the loss elsewhere, in training steps: `sam` and `lbfgs`."""

from __future__ import annotations

import math
import re

import attrs
import numpy as np
import pytest
from optimizer_cases import same_bits

import fnn
from fnn import tree
from fnn.errors import OptionError
from fnn.testing.laws.of_transforms import called

NET = fnn.serial(fnn.Dense(8), fnn.Tanh(), fnn.Dense(2))


def data(n=60, dtype="float64"):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    return fnn.Dataset(x.astype(dtype), np.stack([x[:, 0] * x[:, 1], np.sin(x[:, 0])], 1).astype(dtype))


def begin(net, optimizer, dtype="float64", in_shape=(2,)):
    now = fnn.init_train_state(net, optimizer, in_shape, fnn.Key.of(0))
    parts = ("params", "state", "opt_state")
    return attrs.evolve(now, **{name: tree.cast(getattr(now, name), dtype) for name in parts})


# --- sam ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda step: step, fnn.jit], ids=["step", "jit"])
def test_sam_steps_by_the_gradient_uphill_with_the_same_mask_and_statistics(wrap):
    net = fnn.serial(fnn.Dense(6), fnn.BatchNorm(), fnn.Dropout(0.5), fnn.frozen(fnn.Dense(2)))
    optimizer = fnn.chain(fnn.sam(0.3), fnn.sgd(0.1))
    now, batch = begin(net, optimizer), (data().x, data().y)
    step = wrap(fnn.train_step(net, fnn.squared_error, optimizer))
    after, logs = step(now, batch)
    grad_at, key = fnn.value_and_grad(net, fnn.squared_error), now.key.fold("step", 0)
    value, grads = grad_at(now.params, now.state, batch, train=True, key=key)
    assert logs["loss"] == value
    (still,) = net.frozen
    own = tree.filter(grads, lambda path, _: not path.startswith(still))
    moved = {
        path: tree.get(now.params, path) + 0.3 * g / fnn.global_norm(own) for path, g in tree.items(own)
    }
    _, there = grad_at(tree.update(now.params, moved), now.state, batch, train=True, key=key)
    for path, p in tree.items(after.params):
        g = 0.0 if path.startswith(still) else tree.get(there, path)
        np.testing.assert_allclose(p, tree.get(now.params, path) - 0.1 * g, rtol=1e-12, atol=1e-14)
    _, state, _ = net.vjp(now.params, now.state, batch[0], train=True, key=key)
    assert same_bits(after.state, state)


def test_sam_without_a_gradient_stays():
    zeros = {"w": np.zeros(3)}
    u, _ = called(fnn.sam(), zeros, {}, zeros, 0)
    assert same_bits(u, fnn.Tree(zeros))


# --- lbfgs ----------------------------------------------------------------------------------


def quadratic(optimizer, n_steps, size=12, dtype="float64"):
    """Return the distances to the minimum of an ill-conditioned bowl, and how often it was asked."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(size, size)))
    hessian, goal = (q * np.logspace(0, 3, size)) @ q.T, rng.normal(size=size)
    asked = []

    def at(params):
        asked.append(1)
        d = params["w"] - goal
        return 0.5 * float(d @ hessian @ d), tree.freeze({"w": (hessian @ d).astype(dtype)})

    params = tree.freeze({"w": np.zeros(size, dtype)})
    memory, gaps = optimizer.init(params), []
    for step in range(n_steps):
        u, memory = optimizer.update(at(params)[1], memory, params, step, at)
        params = fnn.apply_updates(params, u)
        gaps.append(float(np.linalg.norm(params["w"] - goal)))
    return gaps, len(asked)


def test_lbfgs_finds_the_minimum_of_an_ill_conditioned_bowl_where_descent_does_not():
    gaps, asked = quadratic(fnn.lbfgs(12), 100)
    assert gaps[-1] < 1e-7
    assert asked < 100 * 4
    low, _ = quadratic(fnn.lbfgs(12), 100, dtype="float32")
    assert low[-1] < 1e-3


def test_lbfgs_finds_the_valley_of_rosenbrock():
    def at(params):
        a, b = params["w"]
        value = (1 - a) ** 2 + 100 * (b - a * a) ** 2
        gradient = np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)])
        return value, tree.freeze({"w": gradient})

    optimizer, params = fnn.lbfgs(), tree.freeze({"w": np.array([-1.2, 1.0])})
    memory, values = optimizer.init(params), []
    for step in range(60):
        value, grads = at(params)
        values.append(value)
        u, memory = optimizer.update(grads, memory, params, step, at)
        params = fnn.apply_updates(params, u)
    np.testing.assert_allclose(params["w"], 1.0, atol=1e-8)
    assert values == sorted(values, reverse=True)


def test_the_line_search_backs_away_from_what_is_not_finite():
    def at(params):
        (w,) = params["w"]
        bad = w <= 0
        return (math.nan if bad else w - math.log(w)), {"w": np.array([math.nan if bad else 1 - 1 / w])}

    optimizer, params = fnn.lbfgs(), tree.freeze({"w": np.array([9.0])})
    memory = optimizer.init(params)
    for step in range(30):
        u, memory = optimizer.update(at(params)[1], memory, params, step, at)
        params = fnn.apply_updates(params, u)
    np.testing.assert_allclose(params["w"], 1.0, rtol=1e-7)


def test_without_a_step_that_falls_the_parameters_and_the_memory_stay():
    optimizer, params = fnn.lbfgs(evaluations=3), tree.freeze({"w": np.array([1.0, -0.0])})
    memory = optimizer.init(params)
    u, after = optimizer.update(
        {"w": np.ones(2)}, memory, params, 0, lambda p: (float(p is not params), {"w": np.ones(2)})
    )
    assert same_bits(fnn.apply_updates(params, u), params)
    assert same_bits(after, memory)
    bad = {"w": np.array([math.nan, 1.0])}
    u, _ = called(optimizer, bad, memory, params, 0)
    assert np.isnan(u["w"][0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fit_on_full_batches_by_lbfgs_beats_adam_and_resumes_bit_for_bit(dtype):
    kept = []

    def save(progress):
        if progress.now.step == 12:
            kept.append(progress)

    given = {"batch_size": 60, "key": fnn.Key.of(0), "dtype": dtype, "progress": False}
    loss, train = fnn.squared_error, data(dtype=dtype)
    reached = fnn.fit(NET, loss, fnn.lbfgs(), train, epochs=30, save=save, **given)
    adam = fnn.fit(NET, loss, fnn.adam(0.01), train, epochs=100, **given)
    losses = reached.history["loss"]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.5 * adam.history["loss"][-1]
    again = fnn.fit(NET, loss, fnn.lbfgs(), train, epochs=30, start=kept[0], **given)
    assert same_bits(again.last.params, reached.last.params)
    assert {str(leaf.dtype) for leaf in tree.leaves(again.last.opt_state)} == {dtype}


# --- bad input ------------------------------------------------------------------------------


def test_without_the_loss_elsewhere_they_say_what_they_need():
    params = {"w": np.ones(3)}
    for optimizer in (fnn.sam(), fnn.lbfgs(), fnn.chain(fnn.sam(), fnn.sgd(0.1))):
        assert optimizer.needs_gradient
        with pytest.raises(
            OptionError, match=r"expected the loss elsewhere, at\(params\), which a trai"
        ):
            optimizer.update(params, optimizer.init(params), params, 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda inner: fnn.accumulate(inner, 2),
        fnn.lookahead,
        fnn.skip_nonfinite,
        lambda inner: fnn.masked(inner, "w"),
        lambda inner: fnn.partition({"a": inner}, {"": "a"}),
        lambda inner: fnn.ensemble.per_member(inner, 2),
    ],
)
def test_what_sees_another_gradient_or_a_part_refuses_them(make):
    message = re.escape("expected a transform that asks for no other gradient, got ")
    for inner in (fnn.lbfgs(), fnn.chain(fnn.sam(), fnn.sgd(0.1))):
        with pytest.raises(OptionError, match=message):
            make(inner)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, "pairs: expected 1 or more, got 0"),
        ({"curvature": 1.0}, "curvature: expected a number in [1e-12, 1.0), got 1.0"),
        ({"decrease": 0.95}, "decrease: expected a number in [1e-12, 0.9), got 0.95"),
        ({"evaluations": 0}, "evaluations: expected 1 or more, got 0"),
    ],
)
def test_options_out_of_range_raise_at_construction(options, message):
    with pytest.raises(OptionError, match=re.escape(f"lbfgs: {message}")):
        fnn.lbfgs(**options)
    with pytest.raises(OptionError, match=re.escape("sam: rho: expected a number in [0.0")):
        fnn.sam(-1.0)
