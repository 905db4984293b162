"""Layers that break the contract itself: the report says how, and nothing escapes from the kit."""

from __future__ import annotations

import warnings

import attrs
import numpy as np
import pytest

import fnn
from fnn import Layer
from fnn.layers import BatchNorm, Dense, Tanh
from fnn.testing import LawError, check_layer
from fnn.tree import EMPTY


def report_of(layer, in_shape=(3,), **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LawError) as caught:
            check_layer(layer, in_shape, **options)
    return caught.value.report


def keep(key, in_shape):
    return in_shape, {}, {}


def bad(*, init=keep, result=None, vjp_result=None, back=None):
    """Return a layer y = 2x, parts of which are replaced by functions of what they should return."""

    def pullback_of(dy, need_dx=True):
        return EMPTY, 2 * dy if need_dx else None

    def apply(params, state, x, *, train=False, key=None):
        return (2 * x, state) if result is None else result(params, state, x)

    def vjp(params, state, x, *, train=False, key=None):
        if vjp_result is not None:
            return vjp_result(params, state, x)

        def pullback(dy, *, need_dx=True):
            return pullback_of(dy, need_dx) if back is None else back(dy, need_dx)

        return 2 * x, state, pullback

    return Layer("bad", init, apply, vjp)


def fail(*_):
    raise RuntimeError("out of cheese\nand of the rest")


BAD = {
    "init raises": (bad(init=fail), "init raised RuntimeError: out of cheese"),
    "init returns two things": (bad(init=lambda k, s: (s, {})), "init raised ValueError: not enough"),
    "apply raises": (bad(result=fail), "apply raised RuntimeError: out of cheese"),
    "apply returns three things": (
        bad(result=lambda p, s, x: (2 * x, s, s)), r"apply: expected \(y, state\), got tuple of 3",
    ),
    "apply returns y alone": (bad(result=lambda p, s, x: 2 * x), r"expected \(y, state\), got float64"),
    "apply returns None": (bad(result=lambda p, s, x: None), r"expected \(y, state\), got None"),
    "y is None": (
        bad(result=lambda p, s, x: (None, s)),
        "expected an array of numbers, got None; at y",
    ),
    "y is a list of lists": (
        bad(result=lambda p, s, x: (x.tolist(), s)), "expected an array of numbers, got float; at y/0",
    ),
    "y is text": (bad(result=lambda p, s, x: ("y", s)), "expected an array of numbers, got str"),
    "the state is None": (bad(result=lambda p, s, x: (2 * x, None)), "got None; at state"),
    "the state is a list": (bad(result=lambda p, s, x: (2 * x, [])), "expected the state as a dict"),
    "vjp raises": (bad(vjp_result=fail), "vjp raised RuntimeError: out of cheese"),
    "vjp returns no pullback": (bad(vjp_result=lambda p, s, x: (2 * x, s)), "vjp raised ValueError"),
    "the pullback is an array": (
        bad(vjp_result=lambda p, s, x: (2 * x, s, x)), "pullback raised TypeError: 'numpy.ndarray'",
    ),
    "the pullback raises": (bad(back=fail), "pullback raised RuntimeError: out of cheese"),
    "the pullback returns one thing": (
        bad(back=lambda dy, need: 2 * dy),
        "contract: bad .eval.: pullback raised ValueError: not enough values",
    ),
    "the pullback returns None": (
        bad(back=lambda dy, need: None),
        "contract: bad .eval.: pullback raised TypeError",
    ),
    "dparams is a list": (
        bad(back=lambda dy, need: ([], 2 * dy if need else None)),
        "shapes: bad .eval.: expected dict of .*, got float64",
    ),
    "dx is None": (
        bad(back=lambda dy, need: (EMPTY, None)),
        "expected an array of numbers, got None; at dx",
    ),
    "dx of another shape": (
        bad(back=lambda dy, need: (EMPTY, dy[:, :1])),
        r"shapes: .*expected shape \(1, 2\), got \(1, 1\)",
    ),
    "need_dx is not taken": (
        bad(vjp_result=lambda p, s, x: (2 * x, s, lambda dy: (EMPTY, 2 * dy))),
        "pullback raised TypeError: .*unexpected keyword argument 'need_dx'",
    ),
    "integers are taken": (bad(), "dtype: .*integers are not refused"),
    "out_shape is another": (
        bad(init=lambda k, s: ((7,), {}, {})), r"y has not the shape .*got \(1, 1\), want \(1, 7\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_breaks_the_contract_is_said_in_words(kind):
    layer, message = BAD[kind]
    report = report_of(layer)
    with pytest.raises(AssertionError, match=message):
        raise LawError(report)
    assert "Traceback" not in str(report)
    assert "\nand of the rest" not in str(report)
    assert {each.path for each in report.violations} == {"bad"}


def test_a_call_that_fails_is_told_once_a_mode():
    report = report_of(bad(result=fail))
    assert [(each.law, each.mode) for each in report.violations] == [
        ("contract", "eval"), ("contract", "train"),
    ]  # fmt: skip


@pytest.mark.parametrize("part", ["apply", "vjp", "back", "init"])
def test_an_interrupt_goes_through(part):
    def interrupt(*_):
        raise KeyboardInterrupt

    named = {"apply": "result", "vjp": "vjp_result"}.get(part, part)
    with pytest.raises(KeyboardInterrupt):
        check_layer(bad(**{named: interrupt}), (3,))


def test_no_warning_of_a_layer_leaks_and_the_settings_stay():
    def noisy(x):
        warnings.warn("careless", stacklevel=1)
        return x / np.zeros_like(x) + np.log(-np.abs(x))

    before = np.geterr()
    report = report_of(fnn.elementwise("noisy", noisy, lambda x, y, dy: dy))
    assert "finite" in report.broken
    assert np.geterr() == before


def test_a_layer_that_is_wrong_inside_a_network_is_reported_by_its_path():
    net = fnn.serial(Dense(3), fnn.residual(Tanh(), bad(back=fail)))
    report = report_of(net)
    assert {each.path for each in report.violations if each.law == "contract"} == {
        "serial/residual_0/bad_0"
    }


# --- impure layers --------------------------------------------------------------------------


def around(layer, **parts):
    return attrs.evolve(layer, **{name: part(getattr(layer, name)) for name, part in parts.items()})


def in_place_residual():
    """y = x + 2x, with the sum written into x."""

    def apply(params, state, x, *, train=False, key=None):
        x += 2 * x
        return x, state

    def vjp(params, state, x, *, train=False, key=None):
        return *apply(params, state, x), lambda dy, *, need_dx=True: (
            EMPTY,
            3 * dy if need_dx else None,
        )

    return Layer("in_place", keep, apply, vjp)


def kept_buffer(of):
    """Return Dense whose y, or dx, is one array that every call writes to."""
    kept = {}

    def held(value):
        at = kept.setdefault((value.shape, value.dtype), np.empty_like(value))
        at[...] = value
        return at

    def vjp(inner):
        def call(params, state, x, *, train=False, key=None):
            y, new, back = inner(params, state, x, train=train, key=key)

            def pullback(dy, *, need_dx=True):
                dparams, dx = back(dy, need_dx=need_dx)
                return dparams, held(dx) if need_dx and of == "dx" else dx

            return held(y) if of == "y" else y, new, pullback

        return call

    return around(Dense(2), vjp=vjp)


def writing_pullback(to):
    def vjp(inner):
        def call(params, state, x, *, train=False, key=None):
            y, new, back = inner(params, state, x, train=train, key=key)

            def pullback(dy, *, need_dx=True):
                result = back(dy, need_dx=need_dx)
                target = {"dy": dy, "x": x, "y": y}[to]
                if target.flags.writeable:
                    target *= 2
                return result

            return y, new, pullback

        return call

    return around(Tanh(), vjp=vjp)


def remembering():
    """A layer whose y depends on how often it was called."""
    calls = []

    def apply(inner):
        def call(params, state, x, *, train=False, key=None):
            calls.append(1)
            y, new = inner(params, state, x, train=train, key=key)
            return y * (1 + 1e-9 * len(calls)), new

        return call

    return around(Dense(2), apply=apply, vjp=lambda inner: _counted(inner, calls))


def _counted(inner, calls):
    def call(params, state, x, *, train=False, key=None):
        calls.append(1)
        y, new, back = inner(params, state, x, train=train, key=key)
        return y * (1 + 1e-9 * len(calls)), new, back

    return call


def once():
    """A layer whose pullback eats what it needs."""

    def vjp(inner):
        def call(params, state, x, *, train=False, key=None):
            y, new, back = inner(params, state, x, train=train, key=key)
            tape = [back]

            def pullback(dy, *, need_dx=True):
                return tape.pop()(dy, need_dx=need_dx)

            return y, new, pullback

        return call

    return around(Tanh(), vjp=vjp)


def accumulating():
    """A layer whose pullback adds to what it returned before."""

    def vjp(inner):
        def call(params, state, x, *, train=False, key=None):
            y, new, back = inner(params, state, x, train=train, key=key)
            total = [0.0]

            def pullback(dy, *, need_dx=True):
                dparams, dx = back(dy, need_dx=need_dx)
                if need_dx:
                    total[0] = total[0] + dx
                return dparams, total[0] if need_dx else None

            return y, new, pullback

        return call

    return around(Tanh(), vjp=vjp)


def plain_dicts():
    """A layer whose state can be written to by whoever gets it."""

    def part(inner):
        def call(params, state, x, *, train=False, key=None):
            y, new, *back = inner(params, state, x, train=train, key=key)
            return y, {name: leaf.copy() for name, leaf in new.items()}, *back

        return call

    return around(BatchNorm(), apply=part, vjp=part)


def popping():
    """A layer that takes an entry out of the params it is given, if they can be changed."""

    def apply(inner):
        def call(params, state, x, *, train=False, key=None):
            result = inner(params, state, x, train=train, key=key)
            if type(params) is dict:
                params.pop("b")
            return result

        return call

    return around(Dense(2), apply=apply)


IMPURE = {
    "in-place residual": (in_place_residual, "apply writes to its arguments", "x"),
    "one buffer for y": (lambda: kept_buffer("y"), "changes at a later call", "y"),
    "one buffer for dx": (lambda: kept_buffer("dx"), "shared buffer", "dx"),
    "the pullback writes to dy": (lambda: writing_pullback("dy"), "the pullback writes to dy", "dy"),
    "the pullback writes to x": (
        lambda: writing_pullback("x"),
        "the pullback writes to its arguments",
        "x",
    ),
    "the pullback writes to y": (lambda: writing_pullback("y"), "the pullback writes to y", "y"),
    "calls are counted": (remembering, "equal arguments give other bits", "y"),
    "the state in a plain dict": (plain_dicts, "state can be written to", "state"),
    "an entry is popped": (popping, "apply writes to its arguments: the leaves are", ""),
}


@pytest.mark.parametrize("kind", IMPURE)
def test_impure_layers_are_caught(kind):
    make, message, leaf = IMPURE[kind]
    report = report_of(make(), laws="pure", shrink=False)
    assert any(message in each.message and each.leaf == leaf for each in report.violations), str(report)
    assert "pure" in report_of(make()).broken


def test_a_pullback_that_serves_once_is_caught():
    assert "pullback raised IndexError: pop from empty list" in str(report_of(once()))
    report = report_of(accumulating())
    assert {"pullback_linear", "adjoint"} & set(report.broken)
    assert "pullback_linear" in report.broken
