"""Recurrences where numbers end: what is not finite, complex, without axes, or shares memory."""

from __future__ import annotations

import numpy as np
import pytest

import fnn
from fnn import Key, tree
from fnn.kernels import recurrence
from fnn.layers import GRU, LSTM, RNN

TIME, FEATURES, WIDTH, BATCH = 5, 3, 4, 4
LENGTHS = np.array([5, 2, 1, 4])
KINDS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
every_kind = pytest.mark.parametrize("kind", KINDS)


def drawn(layer, in_shape=(TIME, FEATURES)):
    """Return params off their first values, in float64, and x."""
    rng = np.random.default_rng(0)
    params = layer.init(Key.of(0), in_shape)[1]
    params = tree.map(lambda leaf: leaf + 0.5 * rng.normal(size=leaf.shape), params)
    return params, rng.normal(size=(BATCH, TIME, FEATURES))


def states(kind):
    h, c = np.random.default_rng(2).normal(size=(2, BATCH, WIDTH))
    return (h, c) if kind == "LSTM" else h


def test_what_is_not_a_number_stays_none_in_a_relu_recurrence():
    layer = RNN(WIDTH, activation="relu")
    params, x = drawn(layer)
    x[1, 2, 0] = np.nan
    y = layer.apply(params, {}, x)[0]
    assert np.isnan(y[1, 2:]).all()
    assert not np.isnan(y[[0, 2, 3]]).any()


@every_kind
def test_states_that_are_carried_out_share_no_memory_with_y(kind):
    layer = KINDS[kind](WIDTH, carry=True)
    params, x = drawn(KINDS[kind](WIDTH))
    y, last = layer.apply(params, {}, (x, states(kind)))[0]
    for state in last if kind == "LSTM" else [last]:
        assert not np.shares_memory(y, state)


def test_the_derivative_of_one_state_alone_may_be_complex():
    layer = LSTM(WIDTH, carry=True)
    params, x = drawn(LSTM(WIDTH))
    (y, (h, c)), _, back = layer.vjp(params, {}, (x, states("LSTM")))
    dy = np.zeros_like(y)
    _, (dx, (dh, dc)) = back((dy, (0 * h, 1j * c)))
    _, (dx_real, (dh_real, dc_real)) = back((dy, (0 * h, c)))
    for a, b in zip((dx, dh, dc), (dx_real, dh_real, dc_real), strict=True):
        np.testing.assert_allclose(a, 1j * b, rtol=1e-12)


def test_gates_beyond_the_end_that_are_not_numbers_reach_no_derivative():
    rng = np.random.default_rng(0)
    valid = (np.arange(TIME)[:, None] < LENGTHS)[..., None]
    first, w, b = rng.normal(size=(BATCH, 2)), rng.normal(size=(2, 6)), rng.normal(size=6)
    z, dstates = rng.normal(size=(TIME, BATCH, 6)), rng.normal(size=(TIME, BATCH, 2))
    spoilt = np.where(valid, z, np.nan)  # As of large numbers in the padding: inf - inf.
    ends = []
    for each in (z, spoilt):
        saved = recurrence.gru(each, w, b, first, valid)
        ends.append(recurrence.gru_vjp(saved, w, dstates, first, valid))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


def test_parts_of_a_tuple_are_blamed_for_their_own_features():
    for layer, rest in (
        (LSTM(WIDTH, lengths=True), LENGTHS),
        (LSTM(WIDTH, carry=True), states("LSTM")),
    ):
        params, x = drawn(LSTM(WIDTH))
        with pytest.raises(
            fnn.ShapeError, match=r"^lstm \(.*\): part 0 of the tuple: expected axis 2 of size 3, got"
        ):
            layer.apply(params, {}, (np.concatenate([x, x], axis=2), rest))


@every_kind
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_how_many_steps_the_way_back_prepares_at_once_changes_no_bit(kind, dtype, monkeypatch):
    layer = KINDS[kind](WIDTH, lengths=True)
    params, x = drawn(KINDS[kind](WIDTH))
    params, x = tree.cast(params, dtype), x.astype(dtype)

    def gradient():
        y, _, back = layer.vjp(params, {}, (x, LENGTHS))
        dparams, (dx, _) = back(y)
        return y.tobytes(), tree.digest(dparams), dx.tobytes()

    expected = gradient()
    step = BATCH * WIDTH * 4 * np.dtype(dtype).itemsize
    for n_bytes in (1, 2 * step, 3 * step + 1):
        monkeypatch.setattr(recurrence, "_BLOCK", n_bytes)
        assert gradient() == expected


@every_kind
def test_weights_that_lie_turned_for_large_products_give_the_same_derivatives(kind, monkeypatch):
    layer = KINDS[kind](WIDTH)
    params, x = drawn(layer)

    def gradient():
        y, _, back = layer.vjp(params, {}, x)
        dparams, dx = back(y)
        return [*tree.leaves(dparams), dx]

    expected = gradient()
    monkeypatch.setattr(recurrence, "_SMALL_PRODUCT", 0)
    for got, want in zip(gradient(), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
