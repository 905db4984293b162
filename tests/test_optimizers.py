"""Optimizers: closed forms and PyTorch's trajectories."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from optimizer_cases import decaying, draw, run, same_bits

from fnn import tree
from fnn.errors import DTypeError, ShapeError, TreeError
from fnn.optimizers import (
    adagrad,
    adam,
    adamw,
    add_decayed_weights,
    apply_updates,
    chain,
    clip_by_global_norm,
    freeze,
    global_norm,
    momentum,
    rmsprop,
    scale_by_adam,
    scale_by_learning_rate,
    scale_by_rms,
    sgd,
    trace,
)


def one(transform, g, p=0.0, steps=1):
    """Return the last update of a single number under a steady gradient."""
    params, opt_state = np.array([p]), transform.init(np.array([p]))
    for step in range(steps):
        updates, opt_state = transform.update(np.array([g]), opt_state, params, step)
        params = apply_updates(params, updates)
    return float(updates[0])


def says(text):
    return "^" + re.escape(text) + "$"


# --- closed forms ----------------------------------------------------------------------------


def test_sgd_steps_against_the_gradient():
    assert one(sgd(0.1), 3.0) == -0.1 * 3.0
    assert one(scale_by_learning_rate(0.1), 3.0) == -0.1 * 3.0


def test_momentum_sums_a_geometric_series():
    assert one(momentum(0.1, 0.5), 1.0, steps=3) == pytest.approx(-0.1 * 1.75, rel=1e-15)
    assert one(momentum(0.1, 0.5, nesterov=True), 1.0, steps=2) == pytest.approx(-0.175, rel=1e-15)
    assert one(trace(0.5), 1.0, steps=3) == 1.75
    assert one(trace(0.5, nesterov=True), 1.0, steps=2) == 1.75


def test_the_learning_rate_of_momentum_acts_at_once():
    rate = [1.0, 0.0, 1.0].__getitem__
    assert one(momentum(rate, 0.5), 1.0, steps=2) == 0.0
    assert one(momentum(rate, 0.5), 1.0, steps=3) == -1.75


def test_rmsprop_first_step_has_eps_outside_the_root():
    expected = -0.1 * 3.0 / (math.sqrt(0.1 * 9.0) + 0.5)
    assert one(rmsprop(0.1, eps=0.5), 3.0) == pytest.approx(expected, rel=1e-15)
    assert one(scale_by_rms(eps=0.5), 3.0) == pytest.approx(-10 * expected, rel=1e-15)


def test_adagrad_steps_shrink_with_the_root_of_their_number():
    assert one(adagrad(0.1, eps=0.5), 3.0) == pytest.approx(-0.1 * 3.0 / 3.5, rel=1e-15)
    assert one(adagrad(0.1), 3.0, steps=4) == pytest.approx(-0.05, rel=1e-9)


def test_adam_under_a_steady_gradient_steps_by_the_learning_rate():
    for steps in (1, 2, 50):
        assert one(adam(0.1), 1e-3, steps=steps) == pytest.approx(-0.1, rel=1e-4)
    assert one(adam(0.1, eps=0.5), 3.0) == pytest.approx(-0.1 * 3.0 / 3.5, rel=1e-12)
    assert one(scale_by_adam(eps=0.5), 3.0) == pytest.approx(3.0 / 3.5, rel=1e-12)


def test_adamw_shrinks_the_parameters_beside_adam():
    plain = one(adam(0.1), 3.0, p=2.0)
    assert one(adamw(0.1, weight_decay=0.5), 3.0, p=2.0) == pytest.approx(plain - 0.1, rel=1e-14)
    assert one(adamw(0.1, weight_decay=0.0), 3.0, p=2.0) == plain


def test_decayed_weights_are_the_gradient_of_a_penalty():
    assert one(add_decayed_weights(0.5), 3.0, p=2.0) == 4.0


def test_blocks_chain_to_the_optimizers():
    params, grads = draw(0), [draw(seed) for seed in range(1, 9)]
    rate = scale_by_learning_rate(decaying)
    pairs = [
        (momentum(decaying, nesterov=True), chain(trace(nesterov=True), rate)),
        (rmsprop(decaying), chain(scale_by_rms(), rate)),
        (adam(decaying), chain(scale_by_adam(), rate)),
        (
            adamw(decaying, weight_decay=0.3),
            chain(scale_by_adam(), add_decayed_weights(0.3), rate),
        ),
    ]
    for whole, blocks in pairs:
        a, b = run(whole, params, grads)[0], run(blocks, params, grads)[0]
        tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13) or a, a, b)


# --- PyTorch ---------------------------------------------------------------------------------


TORCH = {
    "sgd": (sgd(0.1), "SGD", {"lr": 0.1}),
    "momentum": (momentum(0.1), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (
        momentum(0.1, 0.8, nesterov=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.8, "nesterov": True},
    ),
    "l2": (
        chain(add_decayed_weights(0.2), momentum(0.1)),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2},
    ),
    "rmsprop": (rmsprop(0.01), "RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-6}),
    "adagrad": (adagrad(), "Adagrad", {}),
    "adagrad, fast": (adagrad(0.1), "Adagrad", {"lr": 0.1}),
    "adam": (adam(), "Adam", {}),
    "adam, other betas": (
        adam(0.1, b1=0.5, b2=0.9, eps=1e-3),
        "Adam",
        {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
    ),
    "adamw": (adamw(), "AdamW", {}),
    "adamw, strong": (adamw(0.1, weight_decay=0.5), "AdamW", {"lr": 0.1, "weight_decay": 0.5}),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("name", TORCH)
def test_fifty_steps_follow_pytorch(name, dtype, tolerance):
    torch = pytest.importorskip("torch")
    ours, kind, options = TORCH[name]
    rng = np.random.default_rng(5)
    start, target = rng.normal(size=(2, 40)).astype(dtype)
    theirs = torch.nn.Parameter(torch.tensor(start))
    optimizer = getattr(torch.optim, kind)([theirs], **options)
    params, opt_state = tree.freeze(start), ours.init(start)
    for step in range(50):
        # The same gradients go to both, so that rounding is not fed back through them.
        grad = (target * np.cos(step) + 0.3 * rng.normal(size=40)).astype(dtype)
        updates, opt_state = ours.update(grad, opt_state, params, step)
        params = apply_updates(params, updates)
        theirs.grad = torch.tensor(grad)
        optimizer.step()
        error = np.linalg.norm(params - theirs.detach().numpy()) / np.linalg.norm(params)
        assert error < tolerance, f"step {step}: {error:.1e}"


@pytest.mark.parametrize("most", [0.1, 1e6])
def test_clipping_follows_pytorch(most):
    torch = pytest.importorskip("torch")
    grads = draw(3)
    theirs = [torch.nn.Parameter(torch.tensor(leaf)) for leaf in tree.leaves(grads)]
    for each in theirs:
        each.grad = each.detach().clone()
    norm = torch.nn.utils.clip_grad_norm_(theirs, most)
    assert global_norm(grads) == pytest.approx(float(norm), rel=1e-12)
    clipped, _ = clip_by_global_norm(most).update(grads, {}, grads, 0)
    for a, b in zip(tree.leaves(clipped), theirs, strict=True):
        # PyTorch divides by the norm + 1e-6.
        np.testing.assert_allclose(a, b.grad.numpy(), rtol=2e-6)


# --- numbers and the clock -------------------------------------------------------------------


def test_a_transform_says_which_numbers_it_uses_at_a_step():
    assert sgd(decaying).numbers(1) == {"learning_rate": 0.05}
    assert type(sgd(decaying).numbers(1)["learning_rate"]) is float
    assert momentum(0.1).numbers(0) == {"learning_rate": 0.1, "decay": 0.9}
    assert adamw().numbers(0) == {
        "learning_rate": 0.001,
        "b1": 0.9,
        "b2": 0.999,
        "weight_decay": 0.01,
    }
    assert freeze("w").numbers(0) == {}


def test_a_chain_merges_the_numbers_of_its_members():
    both = chain(clip_by_global_norm(2), add_decayed_weights(0.1), sgd(0.5), sgd(decaying))
    assert both.numbers(0) == {
        "max_norm": 2.0,
        "weight_decay": 0.1,
        "learning_rate": 0.5,
        "sgd_1/learning_rate": 0.1,
    }


def test_a_schedule_is_asked_once_per_update():
    steps = []

    def rate(step):
        steps.append(step)
        return 0.1

    run(adam(rate), draw(0), [draw(1), draw(2)])
    assert steps == [0, 1]
    assert all(type(step) is int for step in steps)


# --- chains ----------------------------------------------------------------------------------


def test_a_chain_names_its_memory_by_kind_and_count():
    both = chain(clip_by_global_norm(1.0), trace(), scale_by_adam(), trace(), sgd(0.1))
    opt_state = both.init(draw(0))
    assert list(opt_state) == ["trace_0", "scale_by_adam_0", "trace_1"]
    assert list(opt_state["scale_by_adam_0"]) == ["m", "v"]
    assert list(chain(both, sgd(0.1)).init(draw(0))) == ["chain_0"]
    assert chain(sgd(0.1)).init(draw(0)) == {}


def test_memories_are_named_by_their_role():
    params = draw(0)
    roles = {
        momentum(0.1): ["velocity"],
        rmsprop(0.1): ["square"],
        adagrad(): ["square_sum"],
        adam(): ["m", "v"],
        adamw(): ["m", "v"],
        sgd(0.1): [],
    }
    for transform, names in roles.items():
        opt_state = transform.init(params)
        assert list(opt_state) == names
        for memory in opt_state.values():
            assert same_bits(memory, tree.map(np.zeros_like, params))


def test_an_empty_chain_is_the_identity():
    grads = draw(1)
    updates, opt_state = chain().update(grads, {}, draw(0), 0)
    assert same_bits(updates, grads)
    assert opt_state == {}


def test_a_chain_of_one_is_that_one():
    params, grads = draw(0), [draw(1), draw(2)]
    assert same_bits(run(chain(adam()), params, grads)[0], run(adam(), params, grads)[0])


def test_parameters_may_be_empty():
    for transform in (adam(), chain(clip_by_global_norm(1.0), momentum(0.1))):
        assert run(transform, {}, [{}, {}])[0] == {}


# --- applying updates ------------------------------------------------------------------------


def test_updates_are_added():
    params = {"w": np.array([1.0, 2.0]), "n": {"b": np.array(3.0)}}
    moved = apply_updates(params, {"n": {"b": np.array(-1.0)}, "w": np.array([0.5, -0.5])})
    assert moved == {"w": [1.5, 1.5], "n": {"b": 2.0}}
    assert type(moved) is tree.Tree
    np.testing.assert_array_equal(apply_updates(np.ones(2), np.ones(2)), [2.0, 2.0])


def test_an_update_of_another_shape_dtype_or_structure_is_refused():
    params = {"a": {"w": np.ones((3, 1), "float32"), "b": np.ones(3, "float32")}}

    def given(**leaves):
        return {"a": {**params["a"], **leaves}}

    cases = [
        (ShapeError, given(b=np.ones(1, "float32")), "apply_updates/a/b: expected (3,), got (1,)"),
        (
            ShapeError,
            given(w=np.ones((3, 3), "float32")),
            "apply_updates/a/w: expected (3, 1), got (3, 3)",
        ),
        (ShapeError, given(b=np.float32(1)), "apply_updates/a/b: expected (3,), got ()"),
        (DTypeError, given(b=np.ones(3)), "apply_updates/a/b: expected float32, got float64"),
        (
            DTypeError,
            given(b=np.ones(3, "float16")),
            "apply_updates/a/b: expected float32, got float16",
        ),
        (TreeError, given(c=np.ones(3)), "apply_updates/a: expected ['b', 'w'], got ['b', 'c', 'w']"),
        (TreeError, {"a": np.ones(3)}, "apply_updates/a: expected ['b', 'w'], got a leaf"),
        (TreeError, {}, "apply_updates//: expected ['a'], got []"),
    ]
    for kind, updates, message in cases:
        with pytest.raises(kind, match=says(message)):
            apply_updates(params, updates)
