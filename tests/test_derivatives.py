"""Derivatives of networks: symmetry, agreement with each other, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from layer_cases import CASES, IDS, inner, like, make, norm

import fnn
from fnn import Key, tree
from fnn.errors import DTypeError, OptionError, ShapeError, TreeError
from fnn.training.derivatives import hvp, jacobian, jvp, per_example_grads
from fnn.training.step import value_and_grad

every_case = pytest.mark.parametrize("case", CASES, ids=IDS)


def at(case, train=False, **options):
    """Return a drawn case and the arguments that every function here takes first."""
    drawn = make(case, **options)
    return drawn, (drawn.layer, drawn.params, drawn.state), {"train": train, "key": drawn.key}


def data(drawn, n=3, dtype="float64", seed=5):
    rng = np.random.default_rng(seed)
    return drawn.x, rng.normal(size=(len(drawn.x), *drawn.out_shape)).astype(dtype)


# --- jvp ------------------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("train", [False, True])
def test_the_jvp_is_the_adjoint_of_the_pullback(case, train):
    drawn, place, mode = at(case, train)
    rng = np.random.default_rng(1)
    dparams, dx = like(drawn.params, rng), rng.normal(size=drawn.x.shape)
    y, dy = jvp(*place, drawn.x, dparams, dx, **mode)
    again, _, pullback = drawn.vjp(train=train)
    np.testing.assert_array_equal(y, again)
    back = rng.normal(size=y.shape)
    gparams, gx = pullback(back)
    backward = inner(gparams, dparams) + np.sum(gx * dx)
    assert dy.dtype == y.dtype
    assert abs(np.sum(back * dy) - backward) <= 1e-12 * max(norm(back) * norm(dy), 1e-300)


@every_case
def test_the_jvp_is_linear_and_none_stands_for_zero(case):
    drawn, place, _ = at(case)
    rng = np.random.default_rng(2)
    dparams, dx = like(drawn.params, rng), rng.normal(size=drawn.x.shape)
    _, both = jvp(*place, drawn.x, dparams, dx)
    _, along_params = jvp(*place, drawn.x, dparams, None)
    _, along_x = jvp(*place, drawn.x, None, dx)
    _, none = jvp(*place, drawn.x, None, None)
    np.testing.assert_allclose(along_params + along_x, both, rtol=1e-12, atol=1e-13 * norm(both))
    np.testing.assert_array_equal(none, np.zeros_like(both))


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1.0, 1e200])
def test_the_jvp_does_not_mind_how_long_the_direction_is(size):
    drawn, place, _ = at((fnn.serial(fnn.Dense(3), fnn.Tanh(), fnn.Dense(2)), (3,)))
    dx = np.random.default_rng(0).normal(size=drawn.x.shape)
    _, unit = jvp(*place, drawn.x, None, dx)
    _, long = jvp(*place, drawn.x, None, size * dx)
    np.testing.assert_allclose(long / size, unit, rtol=1e-9)


def test_float32_keeps_small_slopes():
    net = fnn.serial(fnn.Dense(2), fnn.Tanh())
    _, params, state = net.init(Key.of(0), (2,))
    x, dx = np.ones((1, 2), "float32"), np.full((1, 2), 1e-12, "float32")
    _, dy = jvp(net, params, state, x, None, dx)
    wide = tree.cast(params, "float64")
    _, exact = jvp(net, wide, state, x.astype("float64"), None, dx.astype("float64"))
    assert dy.dtype == np.float32
    np.testing.assert_allclose(dy, exact, rtol=1e-5)


def test_directions_need_not_have_the_order_of_the_points_keys():
    drawn, place, _ = at((fnn.Dense(2), (3,)))
    turned = dict(reversed(like(drawn.params, np.random.default_rng(0)).items()))
    _, a = jvp(*place, drawn.x, turned, None)
    _, b = jvp(*place, drawn.x, dict(sorted(turned.items())), None)
    np.testing.assert_array_equal(a, b)


# --- jacobian -------------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("train", [False, True])
def test_the_jacobian_times_a_direction_is_the_jvp(case, train):
    drawn, place, mode = at(case, train, batch=2)
    dx = np.random.default_rng(3).normal(size=drawn.x.shape)
    matrix = jacobian(*place, drawn.x, **mode)
    _, dy = jvp(*place, drawn.x, None, dx, **mode)
    assert matrix.shape == (*dy.shape, *drawn.x.shape)
    product = matrix.reshape(dy.size, -1) @ dx.ravel()
    np.testing.assert_allclose(product.reshape(dy.shape), dy, rtol=1e-11, atol=1e-12 * norm(dy))


def test_the_jacobian_of_a_dense_layer_is_its_weights_in_blocks_of_examples():
    drawn, place, _ = at((fnn.Dense(4), (3,)))
    matrix = jacobian(*place, drawn.x)
    for i in range(3):
        for j in range(3):
            expected = drawn.params["w"].T if i == j else np.zeros((4, 3))
            np.testing.assert_array_equal(matrix[i, :, j], expected)


# --- hvp ------------------------------------------------------------------------------------------

SMOOTH = [
    (fnn.serial(fnn.Dense(4), fnn.Tanh(), fnn.Dense(2)), (3,)),
    (fnn.serial(fnn.Dense(4), fnn.BatchNorm(), fnn.Sigmoid(), fnn.Dropout(0.3), fnn.Dense(2)), (3,)),
    (fnn.residual(fnn.Dense(3), fnn.Softmax()), (3,)),
    (fnn.serial(fnn.Conv(2, 3), fnn.Tanh(), fnn.AvgPool(2), fnn.Flatten(), fnn.Dense(2)), (1, 6, 6)),
    (fnn.serial(fnn.Dense(3), fnn.LeakyRelu(), fnn.LogSoftmax()), (3,)),
]
LOSSES = [fnn.squared_error, fnn.half_squared_error, fnn.sigmoid_cross_entropy]


def batch_for(drawn, loss, weighted=True):
    rng = np.random.default_rng(8)
    target = rng.random((len(drawn.x), *drawn.out_shape))
    return (drawn.x, target, rng.random(len(drawn.x)) + 0.5)[: 2 + weighted]


@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: repr(case[0]))
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("train", [False, True])
def test_the_hessian_is_symmetric_and_the_difference_of_gradients(case, loss, train):
    drawn, place, mode = at(case, train)
    batch, rng = batch_for(drawn, loss), np.random.default_rng(4)
    u, v = like(drawn.params, rng), like(drawn.params, rng)
    grads, hv = hvp(place[0], loss, *place[1:], batch, v, **mode)
    _, hu = hvp(place[0], loss, *place[1:], batch, u, **mode)
    assert abs(inner(u, hv) - inner(v, hu)) <= 1e-12 * norm(u) * norm(hv)
    gradient = value_and_grad(place[0], loss)
    _, exact = gradient(drawn.params, drawn.state, batch, **mode)
    assert tree.digest(grads) == tree.digest(exact)
    h = 1e-5
    ends = [
        gradient(
            tree.map(lambda p, d, s=s: p + s * h * d, drawn.params, v), drawn.state, batch, **mode
        )[1]
        for s in (1, -1)
    ]
    difference = tree.map(lambda a, b: (a - b) / (2 * h), *ends)
    assert norm(tree.map(np.subtract, difference, hv)) <= 1e-7 * norm(hv)


def test_the_hessian_of_least_squares_is_its_normal_matrix():
    drawn, place, _ = at((fnn.Dense(1, bias=False), (3,)))
    v = like(drawn.params, np.random.default_rng(0))
    _, hv = hvp(place[0], fnn.squared_error, *place[1:], (drawn.x, np.ones((3, 1))), v)
    np.testing.assert_allclose(hv["w"], 2 / 3 * drawn.x.T @ drawn.x @ v["w"], rtol=1e-12)


def test_a_float32_network_gives_a_float32_hessian():
    drawn, place, _ = at(SMOOTH[0], dtype="float32")
    v = like(drawn.params, np.random.default_rng(0), "float32")
    batch = data(drawn, dtype="float32")
    grads, hv = hvp(place[0], fnn.squared_error, *place[1:], batch, v)
    assert {leaf.dtype for leaf in tree.leaves(grads) + tree.leaves(hv)} == {np.dtype("float32")}
    wide = [tree.cast(node, "float64") for node in (*place[1:], v)]
    wide_batch = tuple(part.astype("float64") for part in batch)
    _, exact = hvp(place[0], fnn.squared_error, *wide[:2], wide_batch, wide[2])
    assert norm(tree.map(np.subtract, hv, exact)) <= 1e-5 * norm(exact)


# --- per_example_grads ------------------------------------------------------------------------------

APART = [case for case in CASES if not case[0].traits.mixes_batch]


@pytest.mark.parametrize("case", APART, ids=[repr(layer) for layer, _ in APART])
@pytest.mark.parametrize("train", [False, True])
def test_the_mean_over_examples_is_the_batchs_gradient(case, train):
    drawn, place, mode = at(case, train)
    batch = data(drawn)
    grads = per_example_grads(place[0], fnn.squared_error, *place[1:], batch, **mode)
    _, whole = value_and_grad(*place[:1], fnn.squared_error)(*place[1:], batch, **mode)
    assert all(len(leaf) == len(drawn.x) for leaf in tree.leaves(grads))
    mean = tree.map(lambda leaf: leaf.mean(axis=0), grads)
    assert norm(tree.map(np.subtract, mean, whole)) <= 1e-12 * norm(whole)


def test_the_sum_over_examples_is_the_gradient_of_a_sum():
    drawn, place, _ = at(SMOOTH[0])
    batch = data(drawn)
    grads = per_example_grads(place[0], fnn.half_squared_error, *place[1:], batch)
    _, whole = value_and_grad(place[0], fnn.half_squared_error)(*place[1:], batch)
    total = tree.map(lambda leaf: leaf.sum(axis=0), grads)
    assert norm(tree.map(np.subtract, total, whole)) <= 1e-12 * norm(whole)


def test_every_examples_gradient_is_the_one_it_has_alone():
    drawn, place, _ = at(SMOOTH[3])
    x, target = data(drawn)
    grads = per_example_grads(place[0], fnn.squared_error, *place[1:], (x, target))
    gradient = value_and_grad(place[0], fnn.squared_error)
    for i in range(len(x)):
        _, alone = gradient(*place[1:], (x[i : i + 1], target[i : i + 1]))
        own = tree.map(lambda leaf, i=i: leaf[i], grads)
        assert norm(tree.map(np.subtract, own, alone)) <= 1e-12 * norm(alone)


def test_batch_normalisation_is_refused_in_training_with_the_reason_and_taken_in_evaluation():
    drawn, place, mode = at(SMOOTH[1], train=True)
    with pytest.raises(OptionError, match=r"per_example_grads: .*batch normalisation.*train=False"):
        per_example_grads(place[0], fnn.squared_error, *place[1:], data(drawn), **mode)
    grads = per_example_grads(place[0], fnn.squared_error, *place[1:], data(drawn))
    assert len(tree.leaves(grads)[0]) == 3


# --- what all of them do ------------------------------------------------------------------------------


def test_arguments_stay_as_they_are_and_results_repeat():
    drawn, place, mode = at(SMOOTH[1], train=True)
    v, batch = like(drawn.params, np.random.default_rng(0)), data(drawn)
    given = (*place[1:], v, *batch)
    before = [tree.digest(each) for each in given]

    def run():
        made = [
            *jvp(*place, drawn.x, v, drawn.x, **mode),
            jacobian(*place, drawn.x, **mode),
            *hvp(place[0], fnn.squared_error, *place[1:], batch, v, **mode),
            per_example_grads(place[0], fnn.squared_error, *place[1:], batch),
        ]
        return [tree.digest(each) for each in made]

    assert run() == run()
    assert [tree.digest(each) for each in given] == before


def test_nothing_warns_where_numbers_overflow():
    net, x = fnn.Dense(1), np.full((1, 1), 1e308)
    params = {"w": np.full((1, 1), 1e10), "b": np.zeros(1)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jvp(net, params, {}, x, None, x)
        hvp(net, fnn.squared_error, params, {}, (x, x), params)


ABS = fnn.elementwise("abs", np.abs, lambda x, y, dy: np.sign(x) * dy, complex_safe=False)


def test_a_network_that_is_not_complex_safe_is_refused():
    net = fnn.serial(fnn.Dense(2), ABS)
    _, params, state = net.init(Key.of(0), (2,))
    x = np.ones((1, 2), "float32")
    with pytest.raises(OptionError, match=r"jvp: expected a complex-safe network, got serial"):
        jvp(net, params, state, x, params, x)
    with pytest.raises(OptionError, match=r"hvp: expected a complex-safe network"):
        hvp(net, fnn.squared_error, params, state, (x, x), params)
    assert jacobian(net, params, state, x).shape == (1, 2, 1, 2)


def test_a_loss_that_drops_imaginary_parts_is_refused_by_name():
    def real_loss(pred, target):
        return fnn.squared_error(pred.real.copy(), target)

    drawn, place, _ = at(SMOOTH[0])
    with pytest.raises(OptionError, match=r"hvp: expected a complex-safe loss, real_loss drops"):
        hvp(place[0], real_loss, *place[1:], data(drawn), drawn.params)


def test_directions_that_do_not_fit_are_refused_with_their_place():
    drawn, (net, params, state), _ = at((fnn.Dense(2), (3,)))
    x = drawn.x
    with pytest.raises(TreeError, match=r"jvp/dparams"):
        jvp(net, params, state, x, {"w": params["w"]}, x)
    with pytest.raises(ShapeError, match=r"jvp/dparams/b: expected \(2,\), got \(1,\)"):
        jvp(net, params, state, x, {"w": params["w"], "b": np.ones(1)}, x)
    with pytest.raises(ShapeError, match=r"jvp/dx"):
        jvp(net, params, state, x, params, x[0])
    with pytest.raises(DTypeError, match=r"jvp: expected float32 or float64 as dx, got complex128"):
        jvp(net, params, state, x, params, x.astype(complex))
    ints = {"w": params["w"], "b": np.ones(2, int)}
    with pytest.raises(DTypeError, match=r"hvp: expected float32 or float64 as params/b, got int64"):
        hvp(net, fnn.squared_error, ints, state, (x, np.ones((3, 2))), params)


def test_batches_that_do_not_fit_are_refused():
    drawn, (net, params, state), _ = at((fnn.Dense(2), (3,)))
    empty = np.ones((0, 3)), np.ones((0, 2))
    with pytest.raises(ShapeError, match=r"per_example_grads: expected one example or more"):
        per_example_grads(net, fnn.squared_error, params, state, empty)
    with pytest.raises(ShapeError, match=r"per_example_grads: expected 3 targets, got shape \(2, 2\)"):
        per_example_grads(net, fnn.squared_error, params, state, (drawn.x, np.ones((2, 2))))
    with pytest.raises(ShapeError):
        per_example_grads(net, fnn.squared_error, params, state, (drawn.x, np.ones((3, 1))))


def test_an_input_that_is_no_float_array_has_no_jacobian():
    drawn, (net, params, state), _ = at((fnn.Dense(2), (3,)))
    with pytest.raises((OptionError, DTypeError)):
        jacobian(net, params, state, drawn.x.astype(int))
    with pytest.raises(OptionError, match=r"jacobian: expected x as one float array"):
        jacobian(net, tree.cast(params, "complex128"), state, drawn.x.astype(complex))


def test_a_network_of_several_arrays_is_differentiated_in_all_of_them():
    def init(key, in_shape):
        return in_shape, {}, {}

    def apply(params, state, x, *, train=False, key=None):
        a, b = x
        return (a * b, a + b), state

    pair = fnn.Layer("pair", init, apply, apply)
    a, b = np.ones((2, 3)), np.full((2, 3), 2.0)
    da, db = np.full((2, 3), 0.5), np.full((2, 3), 0.25)
    y, dy = jvp(pair, {}, {}, (a, b), None, (da, db))
    np.testing.assert_array_equal(y[0], a * b)
    np.testing.assert_allclose(dy[0], a * db + b * da, rtol=1e-15)
    np.testing.assert_allclose(dy[1], da + db, rtol=1e-15)
    with pytest.raises(ShapeError, match=r"jvp/dx: expected a tuple of 2 arrays"):
        jvp(pair, {}, {}, (a, b), None, (da,))
    pair_vjp = fnn.Layer("pair", init, apply, lambda *a, **k: (*apply(*a, **k), None))
    with pytest.raises(OptionError, match=r"per_example_grads: .* one array, got tuple"):
        per_example_grads(pair_vjp, fnn.squared_error, {}, {}, ((a, b), a))
