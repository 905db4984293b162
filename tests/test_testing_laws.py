"""The laws pass what is right, say what they looked at, and refuse what they cannot answer."""

from __future__ import annotations

import inspect
import pickle
import time

import attrs
import numpy as np
import pytest
from layer_cases import ALL_CASES, ALL_IDS

import fnn
from fnn import Key, OptionError, ShapeError, Traits, tree
from fnn.layers import BatchNorm, Dense, Dropout, Relu, Sigmoid, Tanh
from fnn.testing import ALL, LawError, check_layer, check_vjp
from fnn.testing.laws import of_layers as layer_laws
from fnn.testing.oracles import complex_step, difference, taylor_order

SINGLE = [getattr(layer_laws, f"check_{law}") for law in ALL if law != "contract"]


@pytest.mark.parametrize("case", ALL_CASES, ids=ALL_IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_public_layer_and_combinator_obeys_all_laws_in_both_modes(case, dtype):
    layer, in_shape = case
    report = check_layer(layer, in_shape, dtype=dtype)
    assert report.laws == ALL
    assert report.violations == ()
    assert not [note for note in report.notes if "rate of 0" not in note]


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("batch", [2, 5])
def test_what_is_right_passes_at_other_keys_and_batches(seed, batch):
    net = fnn.serial(Dense(4), BatchNorm(), Relu(), Dropout(0.3), fnn.residual(Dense(4), Tanh()))
    check_layer(net, (3,), key=Key.of(seed), batch=batch)


@pytest.mark.parametrize("check", SINGLE, ids=lambda check: check.__name__)
def test_every_law_can_be_asked_alone(check):
    report = check(fnn.serial(Dense(2), Dropout(0.5)), (3,), train=True, dtype="float32")
    assert report.laws == (check.__name__.removeprefix("check_"),)
    assert inspect.signature(check).parameters.keys() == inspect.signature(
        check_layer
    ).parameters.keys() - {"laws"}


def test_reports_print_and_pickle():
    report = check_layer(Dense(2), (3,))
    assert str(report).startswith("Dense(2): 15 laws hold (contract, shapes,")
    assert pickle.loads(pickle.dumps(report)) == report


def shortest(call):
    times = []
    for _ in range(9):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.alone
def test_checking_a_small_layer_is_fast_enough_for_hundreds_of_examples():
    layer, x = Dense(4), np.ones((3, 3), "float32")
    _, params, state = layer.init(Key.of(0), (3,))
    check_layer(layer, (3,))
    # About 2,300 calls' worth here: no law may come to need many times that.
    once = shortest(lambda: layer.vjp(params, state, x)[2](np.ones((3, 4), "float32")))
    assert shortest(lambda: check_layer(layer, (3,))) < 20_000 * once


def test_checks_are_deterministic_and_leave_numpy_alone():
    settings, drawn = np.geterr(), np.random.get_state()[1].copy()  # noqa: NPY002
    reports = []
    for _ in range(2):
        with pytest.raises(LawError) as caught:
            check_layer(fnn.elementwise("wrong", np.tanh, lambda x, y, dy: dy * y), (3,), shrink=False)
        reports.append(str(caught.value))
    assert reports[0] == reports[1]
    assert np.geterr() == settings
    assert np.array_equal(np.random.get_state()[1], drawn)  # noqa: NPY002


# --- what is not complex-safe ---------------------------------------------------------------


def absolute(**options):
    return fnn.elementwise("absolute", np.abs, lambda x, y, dy: dy * np.sign(x.real), **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_that_are_not_complex_safe_are_proved_by_differences(dtype):
    smooth = fnn.elementwise(
        "softplus",
        lambda x: np.logaddexp(x, 0),
        lambda x, y, dy: dy / (1 + np.exp(-x)),
        complex_safe=False,
    )
    report = check_layer(fnn.serial(Dense(3), smooth), (4,), dtype=dtype)
    assert "complex_safe: not declared, derivatives by differences" in report.notes
    check_layer(absolute(has_kinks=True, complex_safe=False), (4,), dtype=dtype)


def test_a_kink_at_the_point_is_stepped_around_and_reported():
    def init(key, in_shape):
        return in_shape, {}, {}

    def fwd(params, state, x, train, key):
        # A kink exactly at the first draw of x, and nowhere near the next ones.
        return np.abs(x - KINK), state, lambda dy: ({}, dy * np.sign(x - KINK))

    layer = fnn.make_layer("bent", init, fwd, traits=Traits(has_kinks=True, complex_safe=False))
    from fnn.testing.probe import Probe, Setting

    KINK = np.zeros(1)
    KINK = Probe(layer, (2,), Setting(Key.of(0), "float64", 3, 1e-12, 3), False).x[:1, :1].copy()
    report = check_layer(layer, (2,), laws=("adjoint",), train=False)
    assert any("a kink at a random point" in note for note in report.notes)


# --- options --------------------------------------------------------------------------------


def test_a_tolerance_that_float32_cannot_keep_is_refused_with_the_reason():
    with pytest.raises(
        OptionError, match=r"rtol: expected 2e-06 or more in float32, whose rounding alone"
    ):
        check_layer(Dense(2), (3,), dtype="float32", rtol=1e-12)
    check_layer(Dense(2), (3,), dtype="float32", rtol=1e-4)
    check_layer(Dense(2), (3,), rtol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"laws": ("adjoin",)}, r"laws: expected some of .*, got \['adjoin'\]"),
        ({"dtype": "float16"}, "dtype: expected float32 or float64, got float16"),
        ({"dtype": "spam"}, "dtype: expected float32 or float64, got 'spam'"),
        ({"key": 3}, "key: expected a Key, got 3"),
        ({"train": "yes"}, "train: expected some of"),
        ({"batch": 0}, "batch: expected 1 or more"),
        ({"directions": 1.5}, "directions: expected an integer"),
        ({"rtol": 2.0}, "rtol: expected"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        check_layer(Dense(2), (3,), **options)


def test_what_is_no_layer_or_no_shape_is_refused():
    with pytest.raises(OptionError, match="expected a Layer, got <function Dense"):
        check_layer(Dense, (3,))
    with pytest.raises(ShapeError, match="expected a tuple such as"):
        check_layer(Dense(2), 3)


# --- oracles and functions ------------------------------------------------------------------


def logistic(w, x):
    y = 1 / (1 + np.exp(-x @ w["w"]))

    def pullback(dy):
        dz = dy * y * (1 - y)
        return {"w": x.T @ dz}, dz @ w["w"].T

    return y, pullback


ARGS = ({"w": np.linspace(-1, 1, 6).reshape(3, 2)}, np.linspace(-1, 2, 12).reshape(4, 3))


@pytest.mark.parametrize("method", ["complex", "difference", "taylor"])
def test_any_function_can_be_proved(method):
    assert check_vjp(logistic, ARGS, method=method).laws == ("adjoint",)


@pytest.mark.parametrize("method", ["complex", "difference", "taylor"])
@pytest.mark.parametrize("leaf", [0, 1])
def test_a_millionth_too_much_in_one_argument_is_seen_by_every_oracle(method, leaf):
    def wrong(w, x):
        y, pullback = logistic(w, x)

        def scaled(dy):
            back = list(pullback(dy))
            back[leaf] = tree.map(lambda a: a * (1 + 1e-6), back[leaf])
            return tuple(back)

        return y, scaled

    with pytest.raises(LawError) as caught:
        check_vjp(wrong, ARGS, method=method)
    assert ("args/0/w", "args/1")[leaf] in {each.leaf for each in caught.value.report.violations}


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda x: x, r"expected \(y, pullback\), got float64\[3\]"),
        (lambda x: (x, lambda dy: None), "expected an array of numbers, got None"),
        (lambda x: (x, lambda dy: (dy[:2],)), "expected shape"),
        (lambda x: 1 / 0, "the function raised ZeroDivisionError"),
        (lambda x: (x, lambda dy: 1 / 0), "pullback raised ZeroDivisionError"),
    ],
)
def test_functions_that_do_not_keep_to_the_form_are_named_so(fn, message):
    with pytest.raises(LawError, match=message):
        check_vjp(fn, (np.ones(3),))


def test_integers_among_the_arguments_have_no_derivative():
    def take(table, rows):
        def pullback(dy):
            dtable = np.zeros(table.shape, dy.dtype)
            np.add.at(dtable, rows, dy)
            return dtable, None

        return table[rows], pullback

    rows = np.array([0, 2, 2])
    check_vjp(take, (np.ones((3, 2)), rows))
    assert rows.flags.writeable


def test_the_method_must_be_one_of_three():
    with pytest.raises(OptionError, match="method: expected one of"):
        check_vjp(logistic, ARGS, method="magic")


def test_the_oracles_agree_with_closed_forms():
    x, v = np.linspace(0.3, 2, 7), np.linspace(-1, 1, 7)
    want = v * (np.cos(x) * np.exp(x) + np.sin(x) * np.exp(x))

    def f(arrays):
        return [np.sin(arrays[0]) * np.exp(arrays[0])]

    np.testing.assert_allclose(complex_step(f, [x], [v])[0], want, rtol=1e-14, atol=1e-15)
    estimate = difference(f, [x], [v])
    np.testing.assert_allclose(estimate.jv[0], want, rtol=0, atol=1e-10)
    assert estimate.is_sharp
    assert difference(lambda a: [np.abs(a[0] - 0.3)], [x], [v]).kink
    right, wrong = (taylor_order(np.expm1, slope, 1.0).slope for slope in (1.0, 1 + 1e-6))
    assert right > 1.9
    assert wrong < 1.8


# --- how far errors are seen ----------------------------------------------------------------


def leaning(layer, leaf, factor=1 + 1e-6):
    """Return the layer with one leaf of its gradient ("dx" or a path in dparams) off by a factor."""

    def vjp(params, state, x, *, train=False, key=None):
        y, new, back = layer.vjp(params, state, x, train=train, key=key)

        def pullback(dy, *, need_dx=True):
            dparams, dx = back(dy, need_dx=need_dx)
            if leaf == "dx":
                return dparams, None if dx is None else dx * factor
            return tree.update(dparams, {leaf: tree.get(dparams, leaf) * factor}), dx

        return y, new, pullback

    return attrs.evolve(layer, vjp=vjp)


@pytest.mark.parametrize("size", [1, 10, 1000, 10**6])
def test_a_factor_of_one_and_a_millionth_is_seen_in_elementwise_layers_of_any_size(size):
    for right in [Sigmoid()] if size > 1000 else [Sigmoid(), Tanh()]:
        options = {"laws": ("adjoint",), "train": False, "batch": 1, "shrink": False}
        check_layer(right, (size,), **options)
        with pytest.raises(LawError, match="adjoint"):
            check_layer(leaning(right, "dx"), (size,), **options)


@pytest.mark.parametrize("size", [1, 30, 1000])
@pytest.mark.parametrize("leaf", ["dx", "w", "b"])
def test_a_factor_of_one_and_a_millionth_is_seen_in_any_leaf_of_dense_layers_of_any_size(size, leaf):
    options = {"laws": ("adjoint",), "train": False, "shrink": False}
    with pytest.raises(LawError) as caught:
        check_layer(leaning(Dense(size), leaf), (size,), **options)
    (only,) = caught.value.report.violations
    assert only.leaf == ("dx" if leaf == "dx" else f"dparams/{leaf}")
    assert only.got / only.want == pytest.approx(1 + 1e-6, rel=1e-9)


def test_a_millionth_is_seen_in_every_leaf_of_a_network():
    net = fnn.serial(Dense(5), BatchNorm(), Tanh(), fnn.residual(Dense(5), Sigmoid()), Dense(2))
    _, params, _ = net.init(Key.of(0), (4,))
    for path, _ in tree.items(params):
        if path == "dense_0/b":
            continue  # BatchNorm takes it out again: nothing is left of it but rounding.
        for train in (False, True):
            with pytest.raises(LawError) as caught:
                check_layer(leaning(net, path), (4,), laws="adjoint", train=train, shrink=False)
            assert {each.leaf for each in caught.value.report.violations} == {f"dparams/{path}"}


@pytest.mark.parametrize("seed", range(5))
def test_a_single_wrong_entry_is_found_and_named(seed):
    at = np.unravel_index(seed * 5 % 12, (4, 3))

    def vjp(params, state, x, *, train=False, key=None):
        y, new, back = right.vjp(params, state, x, train=train, key=key)

        def pullback(dy, *, need_dx=True):
            dparams, dx = back(dy, need_dx=need_dx)
            w = dparams["w"].copy()
            w[at] *= 1 + 1e-6
            return dparams | {"w": w}, dx

        return y, new, pullback

    right = Dense(3)
    for law in ("adjoint", "entries"):
        with pytest.raises(LawError) as caught:
            check_layer(attrs.evolve(right, vjp=vjp), (4,), laws=law, train=False, shrink=False)
        (only,) = caught.value.report.violations
        assert (only.law, only.leaf, only.index) == (law, "dparams/w", tuple(map(int, at)))


@fnn.constructor
def Gain(off=1.0):
    """Multiply by one parameter without axes; its derivative is `off` times what it should be."""

    def shapes(in_shape):
        return in_shape, {"g": fnn.Leaf((), fnn.ones)}, {}

    def fwd(params, state, x, train, key):
        g = params["g"]
        return g * x, state, lambda dy: ({"g": np.asarray(off * (dy * x).sum())}, g * dy)

    return fnn.make_layer("gain", shapes, fwd)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_may_have_no_axes(dtype):
    assert check_layer(Gain(), (3,), dtype=dtype).laws == ALL
    for wrong in (Gain(0.9), fnn.serial(Dense(2), Gain(0.0))):
        with pytest.raises(LawError, match=r"dparams/(gain_0/)?g"):
            check_layer(wrong, (3,), dtype=dtype)
