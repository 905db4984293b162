"""The layers that networks from ONNX are made of beside the library's own: they obey all laws."""

from __future__ import annotations

import numpy as np
import pytest

import fnn
from fnn import Key
from fnn.testing import check_layer

pytest.importorskip("onnx")
arithmetic = pytest.importorskip("fnn.interop.onnx.arithmetic")
arrangement = pytest.importorskip("fnn.interop.onnx.arrangement")
wiring = pytest.importorskip("fnn.interop.onnx.wiring")
Between, WithNumber, WithArray = arithmetic.Between, arithmetic.WithNumber, arithmetic.WithArray
wired = wiring.wired

PAIR = ((2, 3), (2, 3))
CASES = [
    *((arithmetic.Each(kind), (4,)) for kind in ("neg", "sin", "cos", "erf")),
    (arithmetic.Clip(-0.5, 0.7), (4,)),
    (arithmetic.Clip(high=0.3), (4,)),
    *((Between(kind), PAIR) for kind in ("add", "sub", "mul", "max", "min")),
    (Between("mul"), ((2, 3), (1, 3))),
    (Between("sub"), ((1, 3), (2, 1))),
    *((WithNumber(kind, 1.5), (3,)) for kind in ("add", "sub", "mul", "div", "max", "min")),
    (WithNumber("sub", 1.5, first=True), (3,)),
    (WithNumber("pow", 2.0), (3,)),
    *((WithArray(kind, (3,)), (2, 3)) for kind in ("add", "sub", "mul", "max")),
    (WithArray("mul", (2, 1)), (2, 3)),
    (WithArray("add", (2, 3)), (1, 3)),
    (WithArray("sub", (3,), first=True), (2, 3)),
    (arithmetic.Held((2, 2)), (3,)),
    (fnn.frozen(arithmetic.Held((2,))), (3,)),
    (arrangement.Transpose((0, 2, 1)), (2, 3)),
    (arrangement.Arrange((3, 2)), (2, 3)),
    (arrangement.Take((1, 0, 1)), (3,)),
    (arrangement.Take(1, axis=1), (3, 2)),
    (arrangement.Cut(1, 3), (4,)),
    (arrangement.Cut(3, -1, step=-2, axis=1), (4, 2)),
    (arrangement.Pads(((1, 0), (0, 2)), value=0.5), (2, 2)),
    *((arrangement.Reduce(kind, (-1,)), (2, 3)) for kind in ("sum", "mean", "max", "min")),
    (arrangement.Reduce("max", (1, 3), keep=True), (2, 3, 2)),
    (arrangement.Product(), ((2, 3), (3, 2))),
    (arrangement.Product(), ((1, 2, 3), (2, 3, 2))),
    (arrangement.Sorted(), (4,)),
    (arrangement.Sorted(axis=1, largest=False), (3, 2)),
    (arrangement.RunningSum(axis=1), (3, 2)),
    (wired(fnn.Dense(3), fnn.fan_in("sum"), wires=(0, (1, 0)), outputs=2), (3,)),
    (wired(fnn.Dense(2), fnn.Tanh(), fnn.Dense(2), wires=(0, 1, 2), outputs=(3, 1)), (3,)),
    (wired(fnn.Dense(2), fnn.Dropout(0.4), wires=(1, 0), outputs=(2, 3), inputs=2), ((3,), (4,))),
    (wired(fnn.BatchNorm(), fnn.Tanh(), wires=(0, 0), outputs=1), (3,)),
    (wired(wires=(), outputs=(0, 0)), (3,)),
    (wired(fnn.RNN(2, carry=True), wires=((0, 1),), outputs=3, inputs=2), ((3, 2), (2,))),
    (wired(fnn.RNN(2, lengths=True), fnn.Tanh(), wires=((0, 1), 2), outputs=3, inputs=2), ((3, 2), ())),
    (
        fnn.serial(fnn.fan_out(2), fnn.parallel(WithNumber("less", 0.0), fnn.Identity()),
                   wired(fnn.Tanh(), arithmetic.Chosen(), wires=(1, (0, 2, 1)), outputs=3, inputs=2)),
        (4,),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "in_shape"), CASES, ids=lambda value: f"{value!r:.70}")
def test_a_layer_obeys_all_laws(layer, in_shape):
    check_layer(layer, in_shape, key=Key.of(1))


@pytest.mark.parametrize("kind", ["div", "pow"])
def test_a_quotient_and_a_power_have_the_derivatives_of_differences(kind):
    rng = np.random.default_rng(0)
    x = tuple(rng.uniform(0.5, 2, (3, 2)) for _ in range(2))
    y, _, back = Between(kind).vjp({}, {}, x)
    dy = rng.normal(size=y.shape)
    _, dx = back(dy)
    for i in range(2):
        step = [np.zeros((3, 2)) for _ in range(2)]
        step[i] = rng.normal(size=(3, 2))
        up, down = (
            Between(kind).apply(
                {}, {}, tuple(a + sign * 1e-6 * d for a, d in zip(x, step, strict=True))
            )[0]
            for sign in (1, -1)
        )
        np.testing.assert_allclose(((up - down) / 2e-6 * dy).sum(), (dx[i] * step[i]).sum(), rtol=1e-6)


def test_roots_reciprocals_and_logarithms_have_the_derivatives_of_differences():
    x = np.array([[0.5, 1.0, 2.0]])
    for kind, slope in (("sqrt", 0.5 / np.sqrt(x)), ("reciprocal", -1 / x**2), ("log", 1 / x)):
        _, _, back = arithmetic.Each(kind).vjp({}, {}, x)
        np.testing.assert_allclose(back(np.ones_like(x))[1], slope, rtol=1e-12)


def test_what_is_said_of_integers_and_truth_values_is_right():
    tokens = np.array([[0, 2], [3, 1]])
    assert (WithNumber("less", 2).apply({}, {}, tokens)[0] == (tokens < 2)).all()
    assert (WithNumber("sub", 1).apply({}, {}, tokens)[0] == tokens - 1).all()
    told = arithmetic.Told(((True, False),))
    assert (told.apply({}, {}, tokens)[0] == [[[True, False]]] * 2).all()
    assert arithmetic.AsNumbers("float32").apply({}, {}, tokens)[0].dtype == np.float32
    assert (arithmetic.Negated().apply({}, {}, tokens > 1)[0] == (tokens <= 1)).all()
    assert (Between("and").apply({}, {}, (tokens > 0, tokens > 1))[0] == (tokens > 1)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: arithmetic.Each("tan"), "Each: kind: expected one of"),
        (lambda: Between("xnor"), "Between: kind: expected one of"),
        (lambda: WithNumber("add", "one"), "WithNumber: number: expected a number"),
        (lambda: WithArray("less", (2,)), "WithArray: kind: expected one of"),
        (lambda: arithmetic.Told(((0.5,),)), "Told: values: expected truth values or integers"),
        (lambda: arrangement.Transpose((1, 0)), "Transpose: axes: expected 0 and the others"),
        (lambda: arrangement.Take((0.5,)), "Take: indices: expected places"),
        (lambda: arrangement.Take((0,), axis=0), "Take: axis: expected an axis of the examples"),
        (lambda: arrangement.Cut(0, 2, step=0), "Cut: step: expected an integer other than 0"),
        (lambda: arrangement.Reduce("prod", (1,)), "Reduce: kind: expected 'sum'"),
        (lambda: wired(fnn.Relu(), wires=(), outputs=0), "wired: wires: expected 1, got 0"),
        (lambda: wired(fnn.Relu(), wires=("x",), outputs=0), "wired: wires: expected numbers"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(fnn.OptionError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "in_shape", "message"),
    [
        (Between("add"), ((2,), (3,)), "add: expected shapes that broadcast"),
        (Between("add"), ((2,), (1, 2)), "add: expected arrays of one number of axes"),
        (Between("add"), (2,), "add: expected 2 arrays"),
        (arrangement.Transpose((0, 2, 1)), (2,), "transpose.*: expected 2 axes per example"),
        (arrangement.Arrange((3,)), (2,), "arrange.*: expected examples that fill"),
        (arrangement.Take((5,)), (2,), "take.*: expected places within 2"),
        (arrangement.Cut(3, 5), (2,), "cut.*: expected a place or more of 2"),
        (arrangement.Reduce("sum", (2,)), (2,), "reduce_sum.*: expected an axis 2"),
        (arrangement.Product(), ((2, 3), (2, 3)), "product.*: expected matrices that multiply"),
        (wired(fnn.Relu(), wires=(3,), outputs=0), (2,), "wired.*: expected an array 3, got 1 so far"),
        (wired(fnn.Relu(), wires=(0,), outputs=1, inputs=2), (2,), "wired.*: expected 2 arrays"),
        (wired(fnn.Dense(2), wires=(0,), outputs=1), (), "wired/dense_0.*: expected a feature axis"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(layer, in_shape, message):
    with pytest.raises(fnn.ShapeError, match=message):
        layer.init(Key.of(0), in_shape)


def test_a_network_of_them_is_saved_and_loaded_by_their_names(tmp_path):
    net = wired(WithNumber("mul", 0.5), fnn.Dense(2), wires=(0, 1), outputs=2)
    _, params, state = net.init(Key.of(0), (3,))
    fnn.save_model(tmp_path / "model.npz", net, params, state, (3,))
    names = {"wired": wired, "WithNumber": WithNumber}
    loaded, *_ = fnn.load_model(tmp_path / "model.npz", names)
    assert loaded == net
