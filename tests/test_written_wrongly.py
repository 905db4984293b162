"""What users write themselves and get wrong: each is refused by a typed error that says what came."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fnn
from fnn import DTypeError, Key, Leaf, OptionError, ShapeError, TreeError
from fnn.optimizers.leafwise import make_leafwise

X = np.random.default_rng(0).normal(size=(5, 4, 2)).astype("float32")


def says(message):
    return pytest.raises((DTypeError, OptionError, ShapeError, TreeError), match=re.escape(message))


# --- layers


def run(layer, x=X):
    """Draw a layer and call it forward and back."""
    _, params, state = layer.init(Key.of(0), x.shape[1:])
    y, _, pullback = layer.vjp(params, state, x)
    return pullback(np.ones_like(y))


def own(shapes=lambda in_shape: (in_shape, {}, {}), fwd=None, **more):
    def identity(params, state, x, train, key):
        return x, state, lambda dy: ({}, dy)

    return fnn.make_layer("own", shapes, fwd or identity, **more)


def with_state(moved):
    def shapes(in_shape):
        return in_shape, {}, {"n": Leaf((2,))}

    return own(shapes, lambda params, state, x, train, key: (x, moved, lambda dy: ({}, dy)))


def leaves(in_shape):
    return in_shape, {"w": Leaf((2,))}, {}


@pytest.mark.parametrize(
    ("fwd", "message"),
    [
        (lambda p, s, x, t, k: (x, s), "expected fwd to return (y, state, pullback), got 2 values"),
        (lambda p, s, x, t, k: None, "expected fwd to return (y, state, pullback), got NoneType"),
        (lambda p, s, x, t, k: (x, s, None), "expected the pullback to be a function, got NoneType"),
        (
            lambda p, s, x, t, k: (x, s, np.negative),
            "expected the pullback to return (dparams, dx), got ndarray",
        ),
        (lambda p, s, x, t, k: (x, s, lambda dy: None), "(dparams, dx), got NoneType"),
        (lambda p, s, x, t, k: (x, None, print), "expected fwd to return the state [], got NoneType"),
    ],
)
def test_what_fwd_returns_is_said_where_it_is_not_what_it_should_be(fwd, message):
    with says(message) as caught:
        run(own(fwd=fwd))
    assert str(caught.value).startswith("own (test_written_wrongly.py:")


def test_an_entry_that_the_shapes_do_not_have_is_no_fault_of_the_params():
    layer = own(leaves, lambda p, s, x, t, k: (x * p["g"], s, print))
    for call in (layer.apply, layer.vjp):
        _, params, state = layer.init(Key.of(0), (4, 2))
        with says("fwd looks for 'g', expected an entry of params ['w'] or state []"):
            call(params, state, X)


@pytest.mark.parametrize(
    ("moved", "message"),
    [
        ({}, "expected fwd to return the state ['n'], got []"),
        ({"n": np.ones(2, "f4"), "m": np.ones(2, "f4")}, "the state ['n'], got ['m', 'n']"),
        ({"n": np.ones(3, "f4")}, "expected the new state in n of shape (2,), got (3,)"),
        ({"n": np.ones(2)}, "expected the new state in n in float32, got float64"),
        ({"n": 1.0}, "expected the new state in n of shape (2,), got ()"),
    ],
)
def test_a_state_that_the_next_call_would_not_take_is_refused_at_once(moved, message):
    layer = with_state(moved)
    _, params, state = layer.init(Key.of(0), (4, 2))
    with says(message):
        layer.apply(params, state, X)
    with says(message):
        layer.vjp(params, state, X, train=True)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (lambda i: (i, {}), "expected shapes to return (out_shape, leaves of params, leaves of state)"),
        (lambda i: None, "leaves of state), got NoneType"),
        (lambda i: (5, {}, {}), "expected shapes to return out_shape as integers such as (3,), got 5"),
        (lambda i: ((4.0, 2), {}, {}), "out_shape as integers such as (3,), got (4.0, 2)"),
        (lambda i: (i, None, {}), "expected shapes to return the leaves of params as a dict of Leaf"),
        (lambda i: (i, {}, {"n": (2,)}), "the leaves of state as a dict of Leaf, got {'n': (2,)}"),
        (lambda i: (i, {"w": Leaf(3)}, {}), "Leaf: expected a shape of integers of 0 or more"),
        (lambda i: (i, {"w": Leaf((-1,))}, {}), "such as (3,), got (-1,)"),
    ],
)
def test_what_shapes_returns_is_said_where_it_is_not_what_it_should_be(shapes, message):
    with says(message):
        own(shapes).init(Key.of(0), (4, 2))


@pytest.mark.parametrize("flops", ["1", 1.5, -1])
def test_a_cost_that_is_none_is_refused_when_the_layer_is_made(flops):
    with says("make_layer: flops: expected"):
        own(flops=flops)


# --- cells


def cell(step=None, back=None, **more):
    def shapes(in_shape):
        return in_shape, in_shape, {"decay": Leaf(in_shape)}

    def right(params, carry, x):
        def pullback(dcarry, dy):
            return {"decay": (carry * (dcarry + dy)).sum(axis=0)}, dcarry * params["decay"], dy

        h = params["decay"] * carry + x
        return h, h, back or pullback

    return fnn.make_cell("leaky", more.pop("shapes", shapes), step or right, **more)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda p, c, x: (c, x), "expected step to return (carry, y, pullback), got 2 values"),
        (lambda p, c, x: (c[:, :1], x, None), "expected what is carried of shape (5, 2), got (5, 1)"),
        (lambda p, c, x: (c + np.ones(2), x, None), "what is carried in float32, got float64"),
        (lambda p, c, x: ((c, c), x, None), "expected what is carried to be an array, got tuple"),
        (lambda p, c, x: (c, (x, x), None), "expected an array, got tuple"),
        (lambda p, c, x: (c, x[:, :1], None), "expected y of shape (5, 4, 2), got (5, 4, 1)"),
    ],
)
def test_what_a_step_returns_is_said_where_it_is_not_what_it_should_be(step, message):
    with says(message):
        run(fnn.rnn(cell(step)))


@pytest.mark.parametrize(
    ("back", "message"),
    [
        (lambda dc, dy: (dc, dy), "expected the step's pullback to return (dparams, dcarry, dx)"),
        (lambda dc, dy: ({}, dc, dy), "expected dparams ['decay'], got []"),
        (lambda dc, dy: ({"decay": dy[0], "a": dy}, dc, dy), "['decay'], got ['a', 'decay']"),
        (lambda dc, dy: ({"decay": dy[0]}, None, dy), "expected dcarry to be an array, got NoneType"),
        (lambda dc, dy: ({"decay": dy[0]}, dc, dy[:1]), "expected dx of shape (5, 2), got (1, 2)"),
    ],
)
def test_what_a_steps_pullback_returns_is_said_where_it_is_not_what_it_should_be(back, message):
    with says(message):
        run(fnn.rnn(cell(back=back)))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"traits": "kinks"}, "make_cell: traits: expected Traits, got 'kinks'"),
        ({"flops": 3}, "make_cell: flops: expected a function, got 3"),
    ],
)
def test_what_else_a_cell_is_made_of_is_checked_when_it_is_made(more, message):
    with says(message):
        cell(**more)


def test_a_cell_whose_shapes_are_none_says_so():
    with says("expected the cell's shapes to return (out_shape, carry_shape, leaves), got 2 values"):
        run(fnn.rnn(cell(shapes=lambda in_shape: (in_shape, {}))))


# --- transforms

DATA = fnn.Dataset(np.ones((6, 3), "f4"), np.zeros((6, 2), "f4"))


def trained(optimizer, loss=fnn.squared_error):
    """Return the last loss of a short training; every loop runs the formula in its own way."""
    given = {"epochs": 2, "batch_size": 3, "key": Key.of(0)}
    return fnn.fit(fnn.serial(fnn.Dense(2)), loss, optimizer, DATA, **given)


def writes(now, g, p, old, new, u):
    np.multiply(g, -0.1, out=u)


@pytest.mark.parametrize(
    ("formula", "memory", "message"),
    [
        (lambda now, g, p, old, new, u: None, (), "expected it to write to u, got nothing there"),
        (lambda now, g, p, old, new, u: -0.1 * g, (), "expected it to write to u, got nothing there"),
        (lambda now, g, p, old, new, u: np.add(u, g, out=u), (), "to write to u, got nothing there"),
        (writes, ("v",), "formula: expected it to write to new[0] (v), got nothing there"),
        (
            lambda now, g, p, old, new, u: np.copyto(u, np.negative(g, out=g)),
            (),
            "formula: expected u and new alone to be written to, got a new g",
        ),
        (
            lambda now, g, p, old, new, u: np.multiply(g, now["rate"], out=u),
            (),
            "formula: expected to look for one of ['step'] in now, got 'rate'",
        ),
    ],
)
def test_a_formula_that_would_train_on_whatever_the_memory_held_is_refused(formula, memory, message):
    transform = fnn.make_transform("own", formula, memory=memory)
    params = {"w": np.ones(3, "f4")}
    with says(message):
        transform.update(params, transform.init(params), params, 0)
    with says(message):
        trained(transform)
    with says(message):
        trained(fnn.chain(fnn.clip_by_global_norm(1.0), transform))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.make_transform(3, writes), "make_transform: name: expected a string"),
        (lambda: fnn.make_transform("a", None), "make_transform: formula: expected a function"),
        (lambda: fnn.make_transform("a", writes, memory="velocity"), "such as ('velocity',), got"),
        (lambda: fnn.make_transform("a", writes, memory=("v", "v")), "got ('v', 'v')"),
        (lambda: fnn.make_transform("a", writes, reads_params=1), "expected True or False, got 1"),
        (lambda: fnn.make_transform("a", writes, numbers=[0.1]), "a: numbers: expected a dict"),
        (
            lambda: fnn.make_transform("a", writes, numbers={"b": (0.1, 1, 2)}),
            "a: b: expected a number or (number, bound), got (0.1, 1, 2)",
        ),
        (lambda: make_leafwise("a", None), "make_leafwise: formula: expected a function, got None"),
    ],
)
def test_options_of_transforms_that_are_none_are_refused(make, message):
    with says(message):
        make()


@pytest.mark.parametrize(
    ("formula", "memory", "message"),
    [
        (lambda now, g, p, old: -g, dict, "own: expected formula to return (u, new), got ndarray"),
        (lambda now, g, p, old: (-g, None), dict, "own: formula: expected new as a dict by role"),
        (
            lambda now, g, p, old: (-g, old),
            lambda: {"n": 0.0},
            "own: memory: expected a dict of arrays by role, got {'n': 0.0}",
        ),
    ],
)
def test_a_formula_for_leaves_says_what_it_should_return(formula, memory, message):
    with says(message):
        trained(make_leafwise("own", formula, memory=lambda p: memory()))


# --- losses


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda pred, target: pred - target, "own: expected f to return (l, dl), got ndarray"),
        (lambda pred, target: (pred, pred, pred), "own: expected f to return (l, dl), got 3 values"),
        (lambda pred, target: None, "own: expected f to return (l, dl), got NoneType"),
    ],
)
def test_a_function_that_is_no_loss_says_so_when_it_is_called(f, message):
    loss = fnn.make_loss("own", f)
    with says(message):
        loss(X, X)
    with says(message):
        trained(fnn.sgd(0.1), loss)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda p, t: ((p - t) ** 2).mean(), "expected the loss to return (value, dpred), got float32"),
        (lambda p, t: (0.1, p - t, {}), "expected the loss to return (value, dpred), got 3 values"),
        (lambda p, t: (None, p - t), "loss: expected a real number, got NoneType"),
        (lambda p, t: (1j, p - t), "loss: expected a real number, got complex"),
    ],
)
def test_a_step_says_what_a_loss_should_have_returned(loss, message):
    with says(message):
        trained(fnn.sgd(0.1), loss)


@pytest.mark.parametrize("option", ["per_example", "complex_safe"])
def test_options_of_a_loss_are_true_or_false(option):
    with says(f"make_loss: {option}: expected True or False, got 'yes'"):
        fnn.make_loss("own", np.hypot, **{option: "yes"})


# --- augmentations


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda draws, x: None, "own: x: expected an array to come back, got NoneType"),
        (lambda draws, x: x.tolist(), "own: x: expected an array to come back, got list"),
        (lambda draws, x: x[1:], "own: x: expected 5 examples to come back, got 4"),
        (lambda draws, x: x * np.float64(2), "own: x: expected float32 to come back, got float64"),
    ],
)
def test_what_comes_back_of_an_augmentation_is_as_many_examples_of_the_same_dtype(change, message):
    augment = fnn.make_augmentation("own", change)
    for call in (lambda: augment(Key.of(0), X), lambda: augment(Key.of(0), X, np.arange(5))):
        with pytest.raises((fnn.DataError, DTypeError), match=re.escape(message)):
            call()
    with pytest.raises((fnn.DataError, DTypeError), match="own: x: expected"):
        list(fnn.batches(fnn.Dataset(X, X), 5, key=Key.of(0), transform=augment))


def test_targets_are_as_many_as_they_were():
    losing = fnn.make_augmentation("own", lambda draws, x, y: (x, (y[0], y[1][1:])), targets=True)
    with pytest.raises(fnn.DataError, match=re.escape("y[1]: expected 5 examples to come back, got 4")):
        losing(Key.of(0), X, (X, X))
    with says("own: expected change to return (x, y), got ndarray"):
        fnn.make_augmentation("own", lambda draws, x, y: x, targets=True)(Key.of(0), X, X)
