"""Losses: closed forms by loops, PyTorch, gradients by complex step and differences, and messages."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.losses import (
    LOSSES,
    Loss,
    absolute_error,
    cross_entropy,
    half_squared_error,
    make_loss,
    nll,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_dense,
    squared_error,
    summed,
)
from fnn.registry import Registry

NAMES = tuple(LOSSES)
OF_CLASSES = ("cross_entropy", "nll", "softmax_cross_entropy", "softmax_cross_entropy_dense")
WITH_LABELS = ("cross_entropy", "nll", "softmax_cross_entropy")
SHAPES = ((5,), (5, 3), (1, 4), (4, 2, 3), (3, 2, 1, 4))
CASES = [
    (name, shape)
    for name, shape in itertools.product(NAMES, SHAPES)
    if name not in OF_CLASSES or len(shape) > 1
]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def example(name, shape, dtype="float64", seed=0):
    """Return predictions, targets and weights that suit the loss."""
    rng = np.random.default_rng([seed, len(shape)])
    x = rng.normal(size=shape) * 2
    pred = {"cross_entropy": softmax(x), "nll": np.log(softmax(x))}.get(name, x).astype(dtype)
    if name in WITH_LABELS:
        target = rng.integers(0, shape[-1], shape[:-1])
    elif name in ("softmax_cross_entropy_dense", "sigmoid_cross_entropy"):
        target = rng.random(shape)
    else:
        target = rng.normal(size=shape)
    return pred, target, rng.random(shape[0]) + 0.1


def by_loops(name, pred, target, weight):
    """Compute the value entry by entry from its definition."""
    n = len(pred)
    weight = np.ones(n) if weight is None else weight
    total = 0.0
    for i in range(n):
        rows = pred[i].reshape(-1, pred.shape[-1]) if pred.ndim > 1 else pred[i : i + 1, None]
        wanted = target[i].reshape(-1) if name in WITH_LABELS else target[i].reshape(rows.shape)
        values = []
        for x, t in zip(rows, wanted, strict=True):
            if name == "cross_entropy":
                values.append(-np.log(x[t]))
            elif name == "nll":
                values.append(-x[t])
            elif name == "softmax_cross_entropy":
                values.append(np.log(np.sum(np.exp(x))) - x[t])
            elif name == "softmax_cross_entropy_dense":
                values.append(
                    sum(r * (np.log(np.sum(np.exp(x))) - a) for r, a in zip(t, x, strict=True))
                )
            else:
                for a, b in zip(x, t, strict=True):
                    one = {
                        "sigmoid_cross_entropy": -b * np.log(1 / (1 + np.exp(-a)))
                        - (1 - b) * np.log(1 / (1 + np.exp(a))),
                        "squared_error": (a - b) ** 2,
                        "absolute_error": abs(a - b),
                        "half_squared_error": (a - b) ** 2 / 2,
                    }[name]
                    values.append(one)
        total += weight[i] * (np.sum(values) if name == "half_squared_error" else np.mean(values))
    return total if name == "half_squared_error" else total / weight.sum()


# --- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_value_is_its_definition_computed_by_loops(name, shape, weighted):
    pred, target, weight = example(name, shape)
    weight = weight if weighted else None
    value, dpred = LOSSES[name](pred, target, weight=weight)
    assert value == pytest.approx(by_loops(name, pred, target, weight), rel=1e-13)
    assert dpred.shape == pred.shape


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_float32_stays_float32_and_agrees_with_float64(name, shape):
    pred, target, weight = example(name, shape, "float32")
    for given_weight in (None, weight):
        value, dpred = LOSSES[name](pred, target, weight=given_weight)
        exact, dexact = LOSSES[name](pred.astype("float64"), target, weight=given_weight)
        assert type(value) is np.float32
        assert dpred.dtype == np.float32
        assert type(exact) is np.float64
        assert dexact.dtype == np.float64
        assert value == pytest.approx(exact, rel=2e-6, abs=1e-6)
        np.testing.assert_allclose(dpred, dexact, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_of_two_counts_an_example_twice(name):
    pred, target, _ = example(name, (4, 3))
    twice = np.array([0, 1, 2, 3, 3])
    value, dpred = LOSSES[name](pred, target, weight=np.array([1, 1, 1, 2]))
    expected, dexpected = LOSSES[name](pred[twice], target[twice])
    assert value == pytest.approx(expected, rel=1e-14)
    dexpected[3] += dexpected[4]
    np.testing.assert_allclose(dpred, dexpected[:4], rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("name", NAMES)
def test_equal_weights_are_no_weights(name):
    pred, target, _ = example(name, (4, 3))
    value, dpred = LOSSES[name](pred, target)
    same, dsame = LOSSES[name](pred, target, weight=np.ones(4, bool))
    assert same == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(dsame, dpred, rtol=1e-14)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"half_squared_error"}))
@pytest.mark.parametrize("scale", [1e-320, 1e-60, 1e60, 1e300])
def test_the_scale_of_weights_cancels_even_beyond_the_range_of_float32(name, scale):
    pred, target, _ = example(name, (4, 3), "float32")
    value, dpred = LOSSES[name](pred, target, weight=np.full(4, scale))
    expected, dexpected = LOSSES[name](pred, target)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(dpred, dexpected, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_of_weight_zero_counts_for_nothing_even_if_it_is_nan(name):
    pred, target, _ = example(name, (4, 3))
    bad = pred.copy()
    bad[2] = np.nan
    value, dpred = LOSSES[name](bad, target, weight=np.array([1.0, 2, 0, 1]))
    expected, dexpected = LOSSES[name](pred, target, weight=np.array([1.0, 2, 0, 1]))
    assert value == expected
    np.testing.assert_array_equal(dpred, dexpected)
    assert not dpred[2].any()


@given(st.data())
def test_the_mean_over_batches_weighed_by_their_sizes_is_the_mean_of_the_whole(data):
    name = data.draw(st.sampled_from([name for name in NAMES if name != "half_squared_error"]))
    inner = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    n, cut = data.draw(st.integers(2, 6)), data.draw(st.integers(1, 5))
    cut = min(cut, n - 1)
    pred, target, weight = example(name, (n, *inner), seed=data.draw(st.integers(0, 99)))
    value, dpred = LOSSES[name](pred, target, weight=weight)
    parts = [slice(0, cut), slice(cut, n)]
    shares = [weight[part].sum() / weight.sum() for part in parts]
    results = [LOSSES[name](pred[part], target[part], weight=weight[part]) for part in parts]
    mean = sum(share * result[0] for share, result in zip(shares, results, strict=True))
    assert value == pytest.approx(mean, rel=1e-12)
    joined = np.concatenate([share * result[1] for share, result in zip(shares, results, strict=True)])
    np.testing.assert_allclose(dpred, joined, rtol=1e-12, atol=1e-15)


# --- gradients ------------------------------------------------------------------------------


def along(loss, pred, target, weight, direction, h=1e-30):
    """Return the derivative of the value along `direction`, by a complex step."""
    return loss(pred + 1j * h * direction, target, weight=weight)[0].imag / h


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("is_summed", [False, True])
def test_every_gradient_entry_is_the_complex_step_derivative(name, shape, weighted, is_summed):
    pred, target, weight = example(name, shape)
    weight = weight if weighted else None
    loss = LOSSES[name]
    if is_summed and loss is not half_squared_error:
        loss = summed(loss)
    _, dpred = loss(pred, target, weight=weight)
    steps = np.eye(pred.size).reshape(-1, *shape)
    numeric = np.array([along(loss, pred, target, weight, step) for step in steps]).reshape(shape)
    np.testing.assert_allclose(dpred, numeric, rtol=1e-12, atol=1e-13 * np.abs(dpred).max())
    direction = np.random.default_rng(3).normal(size=shape)
    exact = np.sum(dpred * direction)
    size = np.linalg.norm(dpred) * np.linalg.norm(direction)
    assert abs(along(loss, pred, target, weight, direction) - exact) <= 1e-13 * size


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_every_gradient_entry_is_the_central_difference(name, shape):
    pred, target, weight = example(name, shape)
    _, dpred = LOSSES[name](pred, target, weight=weight)
    # The edges of the probabilities' range are checked, so steps stay inside it.
    h = 1e-6 if name != "cross_entropy" else 1e-6 * float(pred.min())
    for i in np.ndindex(shape):
        step = np.zeros(shape)
        step[i] = h
        up, down = (LOSSES[name](p, target, weight=weight)[0] for p in (pred + step, pred - step))
        assert (up - down) / (2 * h) == pytest.approx(dpred[i], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_itself_continues_analytically(name):
    pred, target, weight = example(name, (3, 4))
    direction, h = np.random.default_rng(1).normal(size=(3, 4)), 1e-6
    h *= float(pred.min()) if name == "cross_entropy" else 1
    grad = lambda p: LOSSES[name](p, target, weight=weight)[1]  # noqa: E731
    by_step = grad(pred + 1e-30j * direction).imag / 1e-30
    by_difference = (grad(pred + h * direction) - grad(pred - h * direction)) / (2 * h)
    np.testing.assert_allclose(by_step, by_difference, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_complex64_predictions_give_complex64(name):
    pred, target, weight = example(name, (3, 4), "complex64")
    value, dpred = LOSSES[name](pred, target, weight=weight)
    assert type(value) is np.complex64
    assert dpred.dtype == np.complex64


@pytest.mark.parametrize("x", [-800.0, -1.0, 0.0, 1.0, 800.0])
def test_the_sigmoid_loss_is_analytic_at_and_far_from_zero(x):
    pred, target = np.array([x]), np.array([0.3])
    value, dpred = sigmoid_cross_entropy(pred, target)
    sigmoid = 0.5 * (1 + np.tanh(x / 2))
    assert dpred[0] == pytest.approx(sigmoid - 0.3, abs=1e-15)
    assert value == pytest.approx(np.logaddexp(0, x) - 0.3 * x, rel=1e-15)
    assert along(sigmoid_cross_entropy, pred, target, None, np.ones(1)) == pytest.approx(dpred[0])


def test_the_absolute_error_has_no_slope_where_it_is_zero():
    value, dpred = absolute_error(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 1.0]))
    assert value == 1
    np.testing.assert_allclose(dpred, [0, -1 / 3, 1 / 3])


# --- purity and layouts -----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
def test_arguments_stay_untouched_and_the_gradient_is_fresh(name, weighted):
    arrays = example(name, (4, 2, 3))
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    _, dpred = LOSSES[name](*arrays[:2], weight=arrays[2] if weighted else None)
    assert dpred.flags.writeable
    assert not any(np.shares_memory(dpred, array) for array in arrays)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 3)])
def test_every_memory_layout_gives_the_same_loss(name, shape):
    pred, target, weight = example(name, shape)
    value, dpred = LOSSES[name](pred, target, weight=weight)
    strided = np.repeat(pred, 2, axis=0)[::2]
    for layout in (np.asfortranarray(pred), strided, pred[::-1].copy()[::-1]):
        other, dother = LOSSES[name](layout, np.asfortranarray(target), weight=weight)
        assert other == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(dother, dpred, rtol=1e-13, atol=1e-17)


# --- extreme inputs ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e2, 1e10, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_up_to_1e30_give_finite_losses_and_gradients(size, dtype):
    logits = np.array([[1, -1, 0], [-1, 1, 1], [0, 0, 0], [-1, -1, -1]], dtype) * dtype_of(dtype)(size)
    with np.errstate(all="raise"):  # The losses must not depend on what the caller has set.
        for loss, target in (
            (softmax_cross_entropy, np.array([1, 0, 2, 0])),
            (softmax_cross_entropy_dense, np.eye(3)[[1, 0, 2, 0]]),
            (sigmoid_cross_entropy, np.eye(3)[[1, 0, 2, 0]]),
            (squared_error if size < 1e19 or dtype == "float64" else absolute_error, np.zeros((4, 3))),
        ):
            for weight in (None, np.arange(4)):
                value, dpred = loss(logits, target, weight=weight)
                assert np.isfinite(value)
                assert np.isfinite(dpred).all()
    value, dpred = softmax_cross_entropy(logits, np.array([1, 0, 2, 0]))
    exact = (2 * size + 2 * size + np.log(2) + 2 * np.log(3)) / 4
    assert value == pytest.approx(exact, rel=1e-6)
    np.testing.assert_allclose(dpred[0], [0.25, -0.25, 0], atol=1e-7)


def dtype_of(name):
    return np.dtype(name).type


REFUSED = {("cross_entropy", np.inf), ("cross_entropy", -np.inf), ("nll", np.inf)}


@pytest.mark.parametrize(
    ("name", "bad"), sorted({*itertools.product(NAMES, [np.nan, np.inf, -np.inf])} - REFUSED)
)
def test_predictions_that_are_not_finite_never_warn(name, bad):
    pred, target, weight = example(name, (3, 4), "float32")
    pred[1] = bad
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        value, dpred = LOSSES[name](pred, target, weight=weight)
        value, dpred = LOSSES[name](pred, target)
    assert not np.isfinite(value)
    assert np.isnan(value) or not np.isnan(bad)
    assert dpred.shape == pred.shape


def test_a_class_masked_with_minus_infinity_costs_nothing():
    logits = np.array([[0.5, -np.inf, 1.0]])
    expected, dexpected = softmax_cross_entropy(logits[:, [0, 2]], np.array([1]))
    for loss, target in (
        (softmax_cross_entropy, np.array([2])),
        (softmax_cross_entropy_dense, np.array([[0, 0, 1]])),
    ):
        value, dpred = loss(logits, target)
        assert value == pytest.approx(expected)
        np.testing.assert_allclose(dpred[:, [0, 2]], dexpected)
        assert dpred[0, 1] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_probability_of_zero_has_a_finite_loss_with_its_own_gradient(dtype):
    tiny = float(np.finfo(dtype).tiny)
    label = np.array([0])
    for p in (0.0, tiny / 4, tiny / 2):
        value, dpred = cross_entropy(np.array([[p, 1 - p]], dtype), label)
        assert value == pytest.approx(-np.log(tiny) + (tiny - p) / tiny, rel=1e-6)
        np.testing.assert_allclose(dpred, [[-1 / tiny, 0]], rtol=1e-6)
    inside = np.array([[tiny / 2, 1.0]])
    if dtype == "float64":
        pred = inside + 1j * np.array([[tiny * 2.0**-20, 0]])
        slope = cross_entropy(pred, label)[0].imag / (tiny * 2.0**-20)
        assert slope == pytest.approx(-1 / tiny)


def test_rounding_above_one_or_zero_is_forgiven_but_logits_are_told():
    label = np.array([0])
    assert cross_entropy(np.array([[1.0005, 0.0]]), label)[0] < 0
    assert nll(np.array([[1e-4, -9.0]]), label)[0] < 0
    logits = np.array([[0.2, 0.3], [3.0, -2.0]])
    with pytest.raises(DataError) as error:
        cross_entropy(logits, np.array([0, 0]))
    assert str(error.value) == (
        "cross_entropy: probabilities[1, 0] = 3.0 is not in [0, 1]; logits go to softmax_cross_entropy"
    )
    with pytest.raises(DataError, match=r"probabilities\[0, 1\] = -0.5 is not in"):
        cross_entropy(np.array([[0.2, -0.5]]), label)
    with pytest.raises(DataError) as error:
        nll(-logits, np.array([0, 0]))
    assert str(error.value) == (
        "nll: log_probabilities[1, 1] = 2.0 is above 0; logits go to softmax_cross_entropy"
    )


def test_softmax_then_cross_entropy_is_softmax_cross_entropy():
    logits, labels, weight = example("softmax_cross_entropy", (5, 2, 3))
    value, _ = softmax_cross_entropy(logits, labels, weight=weight)
    p = softmax(logits)
    assert cross_entropy(p, labels, weight=weight)[0] == pytest.approx(value, rel=1e-14)
    assert nll(np.log(p), labels, weight=weight)[0] == pytest.approx(value, rel=1e-14)
    dense, _ = softmax_cross_entropy_dense(logits, np.eye(3)[labels], weight=weight)
    assert dense == pytest.approx(value, rel=1e-14)


@given(st.integers(0, 99), st.floats(-1e3, 1e3))
def test_adding_a_constant_to_all_logits_changes_nothing(seed, shift):
    logits, labels, _ = example("softmax_cross_entropy", (3, 4), seed=seed)
    value, dlogits = softmax_cross_entropy(logits, labels)
    moved, dmoved = softmax_cross_entropy(logits + shift, labels)
    assert moved == pytest.approx(value, abs=1e-11)
    np.testing.assert_allclose(dmoved, dlogits, atol=1e-12)
    np.testing.assert_allclose(dlogits.sum(-1), 0, atol=1e-15)


# --- sums and losses of one's own ----------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_summed_multiplies_by_the_weights_sum(weighted):
    pred, target, weight = example("softmax_cross_entropy", (6, 3), "float32")
    weight = weight if weighted else None
    total = 6 if weight is None else weight.sum()
    value, dpred = softmax_cross_entropy(pred, target, weight=weight)
    big, dbig = summed(softmax_cross_entropy)(pred, target, weight=weight)
    assert type(big) is np.float32
    assert dbig.dtype == np.float32
    assert big == pytest.approx(value * total, rel=1e-6)
    np.testing.assert_allclose(dbig, dpred * total, rtol=1e-6)


def test_summed_knows_its_name_pickles_and_refuses_sums():
    loss = summed(squared_error)
    assert loss.__name__ == "summed(squared_error)"
    assert pickle.loads(pickle.dumps(loss)) == loss
    with pytest.raises(OptionError, match="half_squared_error is a sum already"):
        summed(half_squared_error)
    with pytest.raises(OptionError, match="a sum already"):
        summed(loss)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_carries_its_name_and_pickles(name):
    assert LOSSES[name].__name__ == name
    assert pickle.loads(pickle.dumps(LOSSES[name])) is LOSSES[name]


def _log_cosh(pred, target):
    d = pred - target
    return np.log(np.cosh(d)), np.tanh(d)


def test_a_loss_of_ones_own_takes_three_lines_and_is_as_safe_as_the_others():
    loss = make_loss("log_cosh", _log_cosh)
    pred, target, weight = example("squared_error", (4, 2, 3))
    value, dpred = loss(pred, target, weight=weight)
    expected = np.average(np.log(np.cosh(pred - target)).mean((1, 2)), weights=weight)
    assert value == pytest.approx(expected, rel=1e-14)
    direction = np.random.default_rng(2).normal(size=pred.shape)
    slope = along(loss, pred, target, weight, direction)
    assert slope == pytest.approx(np.sum(dpred * direction), rel=1e-12)
    assert loss.__name__ == "log_cosh"
    assert pickle.loads(pickle.dumps(loss)) == loss
    with pytest.raises(
        ShapeError, match=r"log_cosh: expected target of shape \(4, 2, 3\), got \(4, 6\)"
    ):
        loss(pred, target.reshape(4, 6))


def test_a_loss_of_ones_own_may_return_its_arguments_or_wider_numbers():
    pred = np.ones((3, 2), "float32")
    loss = make_loss("odd", lambda p, t: (p, np.ones((3, 2))))
    value, dpred = loss(pred, pred, weight=np.array([1, 0, 2]))
    assert type(value) is np.float32
    assert dpred.dtype == np.float32
    np.testing.assert_array_equal(pred, 1)
    value, dpred = make_loss("odd", lambda p, t: (p, p))(pred, pred)
    assert not np.shares_memory(dpred, pred)


def test_a_loss_of_ones_own_that_returns_nonsense_is_told():
    pred = np.ones((3, 2))
    with pytest.raises(ShapeError, match=r"odd: expected l of pred's shape \(3, 2\), got \(\)"):
        make_loss("odd", lambda p, t: (p.sum(), p))(pred, pred)
    with pytest.raises(ShapeError, match=r"odd: expected dl of pred's shape \(3, 2\), got \(2,\)"):
        make_loss("odd", lambda p, t: (p, p[0]))(pred, pred)
    with pytest.raises(DTypeError, match="odd: expected dl in float64, got complex128"):
        make_loss("odd", lambda p, t: (p, 1j * p))(pred, pred)


# --- messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_another_shape_are_refused(name):
    pred, target, _ = example(name, (4, 3))
    for wrong in (target[..., None], target[:-1], target[None], target.T):
        if wrong.shape == target.shape:
            continue
        with pytest.raises(ShapeError, match=rf"^{name}: expected \w+ of shape .*, got "):
            LOSSES[name](pred, wrong)


@pytest.mark.parametrize(
    "name", ["squared_error", "absolute_error", "half_squared_error", "sigmoid_cross_entropy"]
)
@pytest.mark.parametrize(("shape", "other"), [((4,), (4, 1)), ((4, 1), (4,))])
def test_a_column_and_a_vector_do_not_broadcast(name, shape, other):
    with pytest.raises(ShapeError) as error:
        LOSSES[name](np.zeros(shape), np.zeros(other))
    assert str(error.value).endswith(f"of shape {shape}, got {other}")


@pytest.mark.parametrize("name", NAMES)
def test_empty_batches_are_refused(name):
    pred, target, _ = example(name, (4, 3))
    with pytest.raises(DataError, match=rf"^{name}: expected one example or more, got .* \(0, 3\)"):
        LOSSES[name](pred[:0], target[:0])
    if name in OF_CLASSES:
        with pytest.raises(DataError, match=r"\(4, 0\)"):
            LOSSES[name](pred[:, :0], target)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_of_wrong_kinds_are_refused(name):
    pred, target, _ = example(name, (4, 3))
    for wrong, got in ((pred.astype("int64"), "int64"), (pred.astype("float16"), "float16")):
        with pytest.raises(
            DTypeError, match=rf"^{name}: expected \w+ in float32, float64 .*, got {got}"
        ):
            LOSSES[name](wrong, target)
    with pytest.raises(DTypeError, match=rf"^{name}: expected \w+ as an array, got list"):
        LOSSES[name](pred.tolist(), target)
    with pytest.raises(ShapeError, match=rf"^{name}: expected \w+ of shape \(batch, .*, got \(\)"):
        LOSSES[name](np.array(1.0), target)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_class_losses_need_an_axis_of_classes(name):
    with pytest.raises(ShapeError, match=r"of shape \(batch, ..., n_classes\), got \(4,\)"):
        LOSSES[name](np.zeros(4), np.zeros(4, int))


@pytest.mark.parametrize("name", WITH_LABELS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_labels_out_of_range_are_named(name, dtype):
    pred, _, _ = example(name, (5, 10))
    labels = np.array([0, 9, 3, 12, 1], dtype)
    with pytest.raises(DataError) as error:
        LOSSES[name](pred, labels)
    assert str(error.value) == f"{name}: labels[3] = 12 is not in [0, 10)"
    labels[3] = 9
    LOSSES[name](pred, labels)
    labels[3] = 10
    with pytest.raises(DataError, match=r"labels\[3\] = 10 is not"):
        LOSSES[name](pred, labels)


def test_labels_below_zero_are_named_with_all_their_indices():
    labels = np.zeros((4, 2), int)
    labels[1, 1] = -1
    with pytest.raises(DataError) as error:
        softmax_cross_entropy(np.zeros((4, 2, 3)), labels)
    assert str(error.value) == "softmax_cross_entropy: labels[1, 1] = -1 is not in [0, 3)"
    huge = np.array([2**64 - 1], "uint64")
    with pytest.raises(DataError, match=r"labels\[0\] = 18446744073709551615 is not"):
        softmax_cross_entropy(np.zeros((1, 3)), huge)


@pytest.mark.parametrize("name", WITH_LABELS)
@pytest.mark.parametrize("dtype", ["float32", "bool", "complex64", object])
def test_labels_that_are_no_integers_are_refused(name, dtype):
    pred, target, _ = example(name, (4, 3))
    with pytest.raises(DTypeError, match=rf"^{name}: expected labels of an integer dtype, got"):
        LOSSES[name](pred, target.astype(dtype))


@pytest.mark.parametrize("name", sorted({*NAMES} - {*WITH_LABELS}))
@pytest.mark.parametrize("dtype", ["complex128", object, "datetime64[s]"])
def test_targets_that_are_not_real_are_refused(name, dtype):
    with pytest.raises(DTypeError, match=rf"^{name}: expected real \w+, got"):
        LOSSES[name](np.zeros((4, 3)), np.zeros((4, 3), "int64").astype(dtype))


@pytest.mark.parametrize("dtype", ["int32", "bool", "float16", "float64"])
def test_real_targets_of_any_dtype_are_cast(dtype):
    pred = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    target = np.eye(4, 3).astype(dtype)
    for name in sorted({*NAMES} - {*WITH_LABELS}):
        value, dpred = LOSSES[name](pred, target)
        expected, dexpected = LOSSES[name](pred, target.astype("float32"))
        assert value == expected
        assert dpred.dtype == np.float32
        np.testing.assert_array_equal(dpred, dexpected)


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan, np.inf])
def test_probabilities_asked_for_are_checked(bad):
    target = np.full((2, 3), 0.5)
    target[1, 2] = bad
    with pytest.raises(DataError) as error:
        sigmoid_cross_entropy(np.zeros((2, 3)), target)
    assert str(error.value) == f"sigmoid_cross_entropy: targets[1, 2] = {bad} is not in [0, 1]"
    if bad != 1.1:
        with pytest.raises(DataError) as error:
            softmax_cross_entropy_dense(np.zeros((2, 3)), target)
        expected = f"rows[1, 2] = {bad} is not finite and 0 or more"
        assert str(error.value) == f"softmax_cross_entropy_dense: {expected}"


@pytest.mark.parametrize("name", NAMES)
def test_bad_weights_are_refused(name):
    pred, target, _ = example(name, (3, 4))
    for weight, kind, message in (
        (np.array([1, -1, 1.0]), DataError, r"weight\[1\] = -1.0 is not a finite number of 0 or more"),
        (np.array([1, 1, np.nan]), DataError, r"weight\[2\] = nan is not"),
        (np.array([np.inf, 1, 1]), DataError, r"weight\[0\] = inf is not"),
        (np.zeros(3), DataError, "expected weights with a finite sum above 0, got 0.0"),
        (np.full(3, 1.5e308), DataError, "expected weights with a finite sum above 0, got inf"),
        (np.ones((3, 1)), ShapeError, r"expected weight of shape \(3,\), got \(3, 1\)"),
        (np.ones(4), ShapeError, r"expected weight of shape \(3,\), got \(4,\)"),
        (np.ones(3, complex), DTypeError, "expected real weight, got complex128"),
        ([1, 1, 1], DTypeError, "expected weight as an array, got list"),
    ):
        with pytest.raises(kind, match=rf"^{name}: {message}"):
            LOSSES[name](pred, target, weight=weight)


def test_misspelt_options_are_refused():
    for name in NAMES:
        pred, target, weight = example(name, (3, 4))
        with pytest.raises(TypeError):
            LOSSES[name](pred, target, weights=weight)
        with pytest.raises(TypeError):
            LOSSES[name](pred, target, weight)


# --- the registry ------------------------------------------------------------------------------


def test_a_registry_finds_lists_and_suggests():
    assert LOSSES["squared_error"] is squared_error
    assert list(LOSSES) == sorted(LOSSES)
    assert len(LOSSES) == 8
    assert "nll" in LOSSES
    assert "mse" not in LOSSES
    assert [] not in LOSSES
    with pytest.raises(OptionError) as error:
        LOSSES["squared_eror"]
    message = str(error.value)
    assert message.startswith("loss: expected one of absolute_error, cross_entropy, half_squared_error")
    assert "got 'squared_eror'; did you mean 'squared_error'" in message
    with pytest.raises(OptionError, match=r"expected one of nothing yet, got 3$"):
        Registry("thing", {})[3]


def test_users_register_their_own_and_nobody_overwrites():
    source = {"b": 2}
    registry = Registry("number", source)
    assert registry.register("a", 1) == 1
    assert source == {"b": 2}
    assert repr(registry) == "Registry(number: a, b)"
    with pytest.raises(OptionError, match="number: expected a new name, 'a' is taken"):
        registry.register("a", 3)
    assert registry["a"] == 1
    for name in ("", 3, None):
        with pytest.raises(OptionError, match="number: expected a name, got"):
            registry.register(name, 3)


def test_losses_fit_the_protocol():
    losses: list[Loss] = [LOSSES[name] for name in LOSSES]
    assert all(callable(loss) for loss in losses)


# --- PyTorch ------------------------------------------------------------------------------------


def torch_mean(torch, name, x, target, weight):
    """Return PyTorch's loss per example, averaged as ours are."""
    f = torch.nn.functional
    last_to_1 = (0, x.ndim - 1, *range(1, x.ndim - 1))
    options = {"reduction": "none"}
    t = torch.tensor(target)
    if name in ("softmax_cross_entropy", "softmax_cross_entropy_dense"):
        t = t if name == "softmax_cross_entropy" else t.to(x.dtype).permute(last_to_1).contiguous()
        values = f.cross_entropy(x.permute(last_to_1).contiguous(), t, **options)
    elif name in ("nll", "cross_entropy"):
        log_p = x.log() if name == "cross_entropy" else x
        values = f.nll_loss(log_p.permute(last_to_1).contiguous(), t, **options)
    else:
        function = {
            "sigmoid_cross_entropy": f.binary_cross_entropy_with_logits,
            "squared_error": f.mse_loss,
            "absolute_error": f.l1_loss,
            "half_squared_error": f.mse_loss,
        }[name]
        values = function(x, t.to(x.dtype), **options)
    by_example = values.reshape(len(x), -1)
    w = torch.ones(len(x), dtype=x.dtype) if weight is None else torch.tensor(weight).to(x.dtype)
    if name == "half_squared_error":
        return 0.5 * (w * by_example.sum(1)).sum()
    return (w * by_example.mean(1)).sum() / w.sum()


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
def test_values_and_gradients_agree_with_pytorch(name, shape, weighted, dtype, tolerance):
    torch = pytest.importorskip("torch")
    pred, target, weight = example(name, shape, dtype)
    weight = weight if weighted else None
    x = torch.tensor(pred, requires_grad=True)
    expected = torch_mean(torch, name, x, target, weight)
    expected.backward()
    value, dpred = LOSSES[name](pred, target, weight=weight)
    assert value == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    np.testing.assert_allclose(dpred, x.grad.numpy(), rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(7, 5), (4, 3, 5)])
def test_plain_means_are_those_of_pytorchs_reductions(shape):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    logits, labels, _ = example("softmax_cross_entropy", shape)
    t, order = torch.tensor(logits), (0, len(shape) - 1, *range(1, len(shape) - 1))
    value, _ = softmax_cross_entropy(logits, labels)
    assert value == pytest.approx(f.cross_entropy(t.permute(order), torch.tensor(labels)).item())
    for ours, theirs in ((squared_error, f.mse_loss), (absolute_error, f.l1_loss)):
        assert ours(logits, logits**2)[0] == pytest.approx(theirs(t, t**2).item(), rel=1e-13)
