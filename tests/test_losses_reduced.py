"""Reductions of losses, losses of classes along other axes, and losses of whole examples."""

import functools
import pickle

import numpy as np
import pytest
from loss_cases import CASES, NAMES, OF_CLASSES, WITH_LABELS, along, example

import fnn
from fnn.losses import LOSSES, make_loss, summed

ONE_PER_CLASS = sorted({*OF_CLASSES} - {*WITH_LABELS})


def alone(loss, pred, target, i, **options):
    return loss(pred[i : i + 1], target[i : i + 1], **options)


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_unreduced_values_and_gradients_are_those_of_every_example_alone(name, shape, weighted):
    pred, target, weight = example(name, shape)
    loss, given = LOSSES[name], weight if weighted else None
    values, dpred = loss(pred, target, weight=given, reduction="none")
    assert (values.shape, dpred.shape) == (shape[:1], shape)
    assert (values.dtype, dpred.dtype) == (pred.dtype, pred.dtype)
    for i in range(len(pred)):
        value, own = alone(loss, pred, target, i)
        times = weight[i] if weighted else 1
        assert values[i] == pytest.approx(times * value, rel=1e-14)
        np.testing.assert_allclose(dpred[i], times * own[0], rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_sum_and_the_mean_are_those_of_the_unreduced_values(name, shape, weighted):
    pred, target, weight = example(name, shape)
    given, total = (weight, weight.sum()) if weighted else (None, len(pred))
    values, slopes = LOSSES[name](pred, target, weight=given, reduction="none")
    for reduction, by in (("sum", 1), ("mean", total)):
        value, dpred = LOSSES[name](pred, target, weight=given, reduction=reduction)
        assert value == pytest.approx(values.sum() / by, rel=1e-13)
        np.testing.assert_allclose(dpred, slopes / by, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", NAMES)
def test_the_reduction_by_default_is_the_one_it_is_named_for(name):
    pred, target, _ = example(name, (5, 3))
    reduction = "sum" if name == "half_squared_error" else "mean"
    value, dpred = LOSSES[name](pred, target)
    same, dsame = LOSSES[name](pred, target, reduction=reduction)
    assert value == same
    assert np.array_equal(dpred, dsame)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reduction", ["avg", None, 1, ["mean"]])
def test_other_reductions_are_refused(name, reduction):
    pred, target, _ = example(name, (5, 3))
    with pytest.raises(
        fnn.OptionError, match=rf"^{name}: reduction: expected one of \('mean', 'sum', "
    ):
        LOSSES[name](pred, target, reduction=reduction)


@pytest.mark.parametrize("name", NAMES)
def test_an_unreduced_example_of_weight_zero_is_zero_even_if_it_is_nan(name):
    pred, target, _ = example(name, (4, 3))
    pred[2] = np.nan
    for reduction in ("none", "sum"):
        value, dpred = LOSSES[name](pred, target, weight=np.array([1.0, 2, 0, 1]), reduction=reduction)
        assert np.isfinite(value).all()
        assert not dpred[2].any()


def test_a_summed_loss_passes_other_reductions_on():
    pred, target, weight = example("softmax_cross_entropy", (6, 3))
    loss = summed(fnn.softmax_cross_entropy)
    for reduction in ("mean", "none"):
        got = loss(pred, target, weight=weight, reduction=reduction)
        want = fnn.softmax_cross_entropy(pred, target, weight=weight, reduction=reduction)
        assert np.array_equal(got[0], want[0])
        assert np.array_equal(got[1], want[1])


def test_a_step_that_gets_one_loss_per_example_is_told():
    net = fnn.serial(fnn.Dense(3))
    loss = functools.partial(fnn.softmax_cross_entropy, reduction="none")
    step = fnn.train_step(net, loss, fnn.sgd(0.1))
    now = fnn.init_train_state(net, fnn.sgd(0.1), (2,), fnn.Key.of(0))
    for n in (1, 4):
        batch = np.zeros((n, 2), np.float32), np.zeros(n, int)
        for each in (step, fnn.jit(step)):
            with pytest.raises(fnn.ShapeError, match=rf"loss: expected one value, got shape \({n},\)"):
                each(now, batch)


# --- axes of classes


@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize("axis", [1, 2, -2, -3, 3, -1, np.int64(1)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_classes_may_lie_along_any_axis_but_the_batch(name, axis, reduction):
    pred, target, weight = example(name, (4, 2, 3, 5))
    value, dpred = LOSSES[name](pred, target, weight=weight, reduction=reduction)
    moved = np.ascontiguousarray(np.moveaxis(pred, -1, axis))
    moved_target = np.moveaxis(target, -1, axis) if name in ONE_PER_CLASS else target
    got, dgot = LOSSES[name](moved, moved_target, weight=weight, axis=axis, reduction=reduction)
    np.testing.assert_array_equal(got, value)
    np.testing.assert_array_equal(np.moveaxis(dgot, axis, -1), dpred)
    assert dgot.flags.c_contiguous


@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize("axis", [0, 3, -3, -4])
def test_an_axis_that_is_not_there_or_the_batchs_is_refused(name, axis):
    pred, target, _ = example(name, (4, 2, 3))
    expected = rf"^{name}: axis: expected an axis of classes in \[1, 2\] or \[-2, -1\]|-3 or more"
    with pytest.raises(fnn.OptionError, match=expected):
        LOSSES[name](pred, target, axis=axis)
    with pytest.raises(fnn.OptionError, match=r"axis: expected an integer, got 1\.5"):
        LOSSES[name](pred, target, axis=1.5)


def test_labels_are_checked_against_the_axis_of_classes():
    pred, labels = np.zeros((4, 3, 5)), np.zeros((4, 5), int)
    fnn.softmax_cross_entropy(pred, labels, axis=1)
    with pytest.raises(fnn.ShapeError, match=r"labels of shape \(4, 5\), got \(4, 3\)"):
        fnn.softmax_cross_entropy(pred, np.zeros((4, 3), int), axis=1)
    labels[1, 2] = 4
    with pytest.raises(fnn.DataError, match=r"labels\[1, 2\] = 4 is not in \[0, 3\)"):
        fnn.softmax_cross_entropy(pred, labels, axis=1)


def test_images_train_by_a_loss_along_their_channels():
    net = fnn.serial(fnn.Conv(3, 1))
    loss = functools.partial(fnn.softmax_cross_entropy, axis=1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2, 4, 4)).astype(np.float32)
    labels = (x[:, 0] > 0) * 1 + (x[:, 1] > 0)
    done = fnn.fit(
        net, loss, fnn.adam(0.1), fnn.Dataset(x, labels), epochs=30, batch_size=10, key=fnn.Key.of(0)
    )
    assert done.history[-1]["loss"] < 0.4 * done.history[0]["loss"]


# --- losses of one's own


def _angle(pred, target):
    """One minus the cosine of the angle between pred and target, per example."""
    p, t = pred.reshape(len(pred), -1), target.reshape(len(pred), -1)
    pp, tt, pt = (np.sum(a * b, axis=1) for a, b in ((p, p), (t, t), (p, t)))
    size = np.sqrt(pp * tt)
    dpred = (pt / (pp * size))[:, None] * p - t / size[:, None]
    return 1 - pt / size, dpred.reshape(pred.shape)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_loss_of_ones_own_may_be_of_whole_examples(reduction, weighted):
    loss = make_loss("angle", _angle, per_example=True)
    rng = np.random.default_rng(0)
    pred, target, weight = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 2, 3)), rng.random(5)
    weight = weight if weighted else None
    call = functools.partial(loss, reduction=reduction)
    value, dpred = call(pred, target, weight=weight)
    share = np.ones(5) if weight is None else weight
    want = (share * _angle(pred, target)[0]).sum() / (share.sum() if reduction == "mean" else 1)
    assert value == pytest.approx(want, rel=1e-14)
    direction = rng.normal(size=pred.shape)
    assert along(call, pred, target, weight, direction) == pytest.approx(
        np.sum(dpred * direction), rel=1e-12
    )
    assert loss(pred, target, reduction="none")[0].shape == (5,)
    assert pickle.loads(pickle.dumps(loss)) == loss != make_loss("angle", _angle)


def test_the_target_of_a_loss_of_whole_examples_is_its_own():
    seen = []

    def margin(pred, target):
        seen.append(target)
        rows = np.arange(len(pred))
        dpred = np.zeros_like(pred)
        dpred[rows, target[:, 0]] = -1
        return -pred[rows, target[:, 0]], dpred

    loss = make_loss("margin", margin, per_example=True)
    pred, target = np.ones((3, 4), np.float32), np.array([[1, 7], [0, 7], [3, 7]])
    value, dpred = loss(pred, target)
    assert (value, dpred.dtype, seen[0].dtype) == (-1, np.float32, np.int64)
    with pytest.raises(
        fnn.ShapeError, match=r"margin: expected one target per example of pred \(3, 4\)"
    ):
        loss(pred, target[:2])
    wrong = make_loss("wrong", lambda p, t: (p, p), per_example=True)
    with pytest.raises(
        fnn.ShapeError, match=r"wrong: expected l of one per example, shape \(3,\), got"
    ):
        wrong(pred, target)


def test_a_loss_says_whether_complex_numbers_pass_through_it():
    plain = make_loss("l1", lambda p, t: (np.abs(p - t), np.sign(p - t)), complex_safe=False)
    assert plain.complex_safe is False
    assert summed(plain).complex_safe is False
    assert make_loss("l2", lambda p, t: ((p - t) ** 2, 2 * (p - t))).complex_safe is True
    assert pickle.loads(pickle.dumps(plain.complex_safe)) is False


@pytest.mark.parametrize(("name", "f"), [("", _angle), (None, _angle), ("angle", None)])
def test_a_loss_without_a_name_or_a_function_is_refused(name, f):
    with pytest.raises(fnn.OptionError, match="make_loss: "):
        make_loss(name, f)
