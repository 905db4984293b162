"""What losses refuse, and how they say it."""

import numpy as np
import pytest
from loss_cases import NAMES, OF_CLASSES, WITH_LABELS, example

from fnn.errors import DataError, DTypeError, ShapeError
from fnn.losses import LOSSES, sigmoid_cross_entropy, softmax_cross_entropy, softmax_cross_entropy_dense


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
    # Thirds are no float32 numbers: a target left in float64 would show in the value.
    target = (np.arange(12).reshape(4, 3) / 33).astype(dtype)
    of_bits = {"binary_focal", "hinge", "squared_hinge"}
    for name in sorted({*NAMES} - {*WITH_LABELS} - of_bits):
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
