"""Recurrent layers: laws of their own, closed forms, PyTorch's values, and what they refuse."""

from __future__ import annotations

import re

import attrs
import numpy as np
import pytest
from recurrent_cases import LeakyCell

import fnn
from fnn import DataError, DTypeError, Key, OptionError, ShapeError, tree
from fnn.layers import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell, rnn
from fnn.layers.recurrent.cells import over_time_of

KINDS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
TIME, FEATURES, WIDTH, BATCH = 5, 3, 4, 4
LENGTHS = np.array([5, 2, 1, 4])
every_kind = pytest.mark.parametrize("kind", KINDS)


def drawn(layer, in_shape, seed=0):
    """Return params off their first values, in float64."""
    rng = np.random.default_rng(seed)
    params = layer.init(Key.of(seed), in_shape)[1]
    return tree.map(lambda leaf: leaf + 0.5 * rng.normal(size=leaf.shape), params)


def images(seed=1, time=TIME, batch=BATCH):
    return np.random.default_rng(seed).normal(size=(batch, time, FEATURES))


def carried(kind, seed=2):
    h, c = np.random.default_rng(seed).normal(size=(2, BATCH, WIDTH))
    return (h, c) if kind == "LSTM" else h


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


# --- laws ---------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_full_lengths_change_nothing_and_padding_never_counts(kind, reverse, last):
    options = {"reverse": reverse, "last": last}
    plain, masked = KINDS[kind](WIDTH, **options), KINDS[kind](WIDTH, lengths=True, **options)
    params, x = drawn(plain, (TIME, FEATURES)), images()
    y, _, back = plain.vjp(params, {}, x)
    full, _, back_full = masked.vjp(params, {}, (x, np.full(BATCH, TIME)))
    np.testing.assert_array_equal(y, full)
    dy = np.random.default_rng(3).normal(size=y.shape)
    for a, b in zip(tree.leaves(back(dy)[0]), tree.leaves(back_full(dy)[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    # Other numbers beyond the lengths, and more of them.
    y, _, back = masked.vjp(params, {}, (x, LENGTHS))
    longer = np.concatenate([x, np.zeros((BATCH, 2, FEATURES))], axis=1)
    for i, n in enumerate(LENGTHS):
        longer[i, n:] = 1e3
    z, _, back_longer = masked.vjp(params, {}, (longer, LENGTHS))
    kept = z if last else z[:, :TIME]
    np.testing.assert_array_equal(y, kept)
    dy = np.random.default_rng(3).normal(size=y.shape)
    more = dy if last else np.concatenate([dy, np.ones((BATCH, 2, WIDTH))], axis=1)
    (dparams, (dx, none)), (dparams_longer, (dx_longer, _)) = back(dy), back_longer(more)
    assert none is None
    for a, b in zip(tree.leaves(dparams), tree.leaves(dparams_longer), strict=True):
        close(a, b)
    np.testing.assert_array_equal(dx, dx_longer[:, :TIME])
    for i, n in enumerate(LENGTHS):
        assert not dx_longer[i, n:].any()
        assert last or not y[i, n:].any()


@every_kind
def test_in_reverse_it_is_the_layer_over_flipped_time(kind):
    forward, backward = KINDS[kind](WIDTH), KINDS[kind](WIDTH, reverse=True)
    params, x = drawn(forward, (TIME, FEATURES)), images()
    want = forward.apply(params, {}, x[:, ::-1])[0][:, ::-1]
    np.testing.assert_array_equal(backward.apply(params, {}, x)[0], want)
    last = KINDS[kind](WIDTH, reverse=True, last=True).apply(params, {}, x)[0]
    np.testing.assert_array_equal(last, want[:, 0])


@every_kind
def test_each_example_is_as_if_cut_to_its_length(kind):
    for options in ({}, {"reverse": True}):
        plain = KINDS[kind](WIDTH, **options)
        masked = KINDS[kind](WIDTH, lengths=True, **options)
        last = KINDS[kind](WIDTH, lengths=True, last=True, **options)
        params, x = drawn(plain, (TIME, FEATURES)), images()
        y, y_last = (each.apply(params, {}, (x, LENGTHS))[0] for each in (masked, last))
        for i, n in enumerate(LENGTHS):
            alone = plain.apply(params, {}, x[i : i + 1, :n])[0][0]
            close(y[i, :n], alone)
            close(y_last[i], alone[0 if options else n - 1])


@every_kind
def test_a_sequence_goes_on_in_the_next_call(kind):
    whole, part = KINDS[kind](WIDTH), KINDS[kind](WIDTH, carry=True)
    params, x = drawn(whole, (TIME, FEATURES)), images()
    zeros = tree.map(np.zeros_like, {"c": np.zeros((BATCH, WIDTH))})["c"]
    start = (zeros, zeros) if kind == "LSTM" else zeros
    first, middle = part.apply(params, {}, (x[:, :2], start))[0]
    second, _ = part.apply(params, {}, (x[:, 2:], middle))[0]
    want = whole.apply(params, {}, x)[0]
    close(np.concatenate([first, second], axis=1), want)


@pytest.mark.parametrize("cell", [RNNCell(WIDTH), LSTMCell(WIDTH), GRUCell(WIDTH)], ids=repr)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_all_steps_at_once_are_one_step_after_the_other(cell, lengths):
    slow = attrs.evolve(cell, over_time=over_time_of(cell.step))
    given = {"lengths": lengths is not None, "carry": True}
    layers = [rnn(each, **given) for each in (cell, slow)]
    start = carried("LSTM" if cell.name == "lstm" else "")
    shape = (WIDTH,), (WIDTH,)
    of_carry = shape if cell.name == "lstm" else shape[0]
    in_shape = ((TIME, FEATURES), *(((),) if lengths is not None else ()), of_carry)
    params, x = drawn(layers[0], in_shape), images()
    value = (x, *((lengths,) if lengths is not None else ()), start)
    ends = []
    for layer in layers:
        y, _, back = layer.vjp(params, {}, value)
        rng = np.random.default_rng(5)
        dy = (rng.normal(size=y[0].shape), carried("LSTM" if cell.name == "lstm" else "", 9))
        dparams, dx = back(dy)
        last = y[1] if isinstance(y[1], tuple) else (y[1],)
        dlast = dx[-1] if isinstance(dx[-1], tuple) else (dx[-1],)
        ends.append([y[0], *last, *tree.leaves(dparams), dx[0], *dlast])
    for a, b in zip(*ends, strict=True):
        close(a, b)


def test_a_cell_of_ones_own_is_the_sum_that_it_says():
    layer = rnn(LeakyCell())
    params, x = {"decay": np.array([0.5, 0.25, 0.0])}, images()
    want = np.zeros(x.shape)
    for t in range(TIME):
        for s in range(t + 1):
            want[:, t] += params["decay"] ** (t - s) * x[:, s]
    close(layer.apply(params, {}, x)[0], want)
    assert repr(layer) == "rnn(LeakyCell())"


def test_much_is_remembered_at_first():
    params = LSTM(3).init(Key.of(0), (2, 2))[1]
    np.testing.assert_array_equal(params["b"], np.float32([0] * 3 + [1] * 3 + [0] * 6))
    params = LSTM(3, forget_bias=0).init(Key.of(0), (2, 2))[1]
    assert not params["b"].any()


@every_kind
def test_saturated_gates_give_finite_values_without_a_warning(kind):
    layer = KINDS[kind](WIDTH)
    params = layer.init(Key.of(0), (TIME, FEATURES))[1]
    x = np.float32(1e4) * images().astype("float32")
    y, _, back = layer.vjp(params, {}, x)
    assert y.dtype == np.float32
    assert np.isfinite(y).all()
    dparams, dx = back(np.ones_like(y))
    assert all(np.isfinite(leaf).all() for leaf in (*tree.leaves(dparams), dx))


# --- PyTorch ------------------------------------------------------------------------------------


def torch_twin(kind, params, reverse=False):
    torch = pytest.importorskip("torch")
    twin = getattr(torch.nn, kind)(FEATURES, WIDTH, batch_first=True, dtype=torch.float64)
    bias = params.get("b_state", np.zeros_like(params["b"]))
    given = {"weight_ih_l0": params["w_in"].T, "weight_hh_l0": params["w_state"].T,
             "bias_ih_l0": params["b"], "bias_hh_l0": bias}  # fmt: skip
    with torch.no_grad():
        for name, value in given.items():
            getattr(twin, name).copy_(torch.tensor(value))
    return torch, twin


def torch_grads(twin, kind):
    grads = {"w_in": twin.weight_ih_l0.grad.T, "w_state": twin.weight_hh_l0.grad.T}
    grads |= {"b": twin.bias_ih_l0.grad}
    return grads | ({"b_state": twin.bias_hh_l0.grad} if kind == "GRU" else {})


@every_kind
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_values_and_all_gradients_are_those_of_torch(kind, lengths):
    given = {"lengths": lengths is not None, "carry": True}
    layer = KINDS[kind](WIDTH, **given)
    of_carry = ((WIDTH,), (WIDTH,)) if kind == "LSTM" else (WIDTH,)
    ends = ((),) if lengths is not None else ()
    params = drawn(layer, ((TIME, FEATURES), *ends, of_carry))
    x, start = images(), carried(kind)
    value = (x, *((lengths,) if lengths is not None else ()), start)
    (y, last), _, back = layer.vjp(params, {}, value)
    torch, twin = torch_twin(kind, params)
    tx = torch.tensor(x, requires_grad=True)
    states = [torch.tensor(each, requires_grad=True) for each in (start if kind == "LSTM" else [start])]
    first = tuple(each[None] for each in states) if kind == "LSTM" else states[0][None]
    packing = torch.nn.utils.rnn
    fed = tx
    if lengths is not None:
        fed = packing.pack_padded_sequence(tx, torch.tensor(lengths), True, enforce_sorted=False)
    ty, tlast = twin(fed, first)
    if lengths is not None:
        ty = packing.pad_packed_sequence(ty, batch_first=True)[0]
    close(y, ty.detach().numpy())
    lasts = last if kind == "LSTM" else (last,)
    tlasts = tlast if kind == "LSTM" else (tlast,)
    for a, b in zip(lasts, tlasts, strict=True):
        close(a, b[0].detach().numpy())
    rng = np.random.default_rng(7)
    dy, dlast = rng.normal(size=y.shape), carried(kind, 8)
    dlasts = dlast if kind == "LSTM" else (dlast,)
    total = (ty * torch.tensor(dy)).sum()
    total = total + sum((b[0] * torch.tensor(d)).sum() for b, d in zip(tlasts, dlasts, strict=True))
    total.backward()
    dparams, dx = back((dy, dlast))
    for name, want in torch_grads(twin, kind).items():
        close(dparams[name], want.numpy())
    close(dx[0], tx.grad.numpy())
    dfirst = dx[-1] if kind == "LSTM" else (dx[-1],)
    for a, b in zip(dfirst, states, strict=True):
        close(a, b.grad.numpy())


@every_kind
def test_twenty_steps_of_descent_go_where_torch_goes(kind):
    net = fnn.serial(KINDS[kind](WIDTH, last=True), fnn.Dense(2))
    params = drawn(net, (TIME, FEATURES))
    x, target = images(), np.random.default_rng(4).normal(size=(BATCH, 2))
    own = params[f"{kind.lower()}_0"]
    torch, twin = torch_twin(kind, own)
    if kind != "GRU":  # PyTorch has two biases that are added; one of them stands still.
        twin.bias_hh_l0.requires_grad_(False)
    head = torch.nn.Linear(WIDTH, 2, dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(params["dense_0"]["w"].T))
        head.bias.copy_(torch.tensor(params["dense_0"]["b"]))
    leaves = [p for p in (*twin.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(leaves, lr=0.1)
    step = fnn.train_step(net, fnn.squared_error, fnn.sgd(0.1))
    now = fnn.init_train_state(net, fnn.sgd(0.1), (TIME, FEATURES), Key.of(0))
    now = attrs.evolve(now, params=tree.Tree(params))
    for _ in range(20):
        now, _ = step(now, (x, target))
        optimizer.zero_grad()
        out = head(twin(torch.tensor(x))[0][:, -1])
        torch.nn.functional.mse_loss(out, torch.tensor(target)).backward()
        optimizer.step()
    close(now.params[f"{kind.lower()}_0"]["w_in"], twin.weight_ih_l0.detach().numpy().T)
    close(now.params[f"{kind.lower()}_0"]["w_state"], twin.weight_hh_l0.detach().numpy().T)
    close(now.params["dense_0"]["w"], head.weight.detach().numpy().T)


@every_kind
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_both_directions_are_those_of_torch(kind, lengths):
    layer = fnn.bidirectional(KINDS[kind](WIDTH, lengths=lengths is not None))
    in_shape = (TIME, FEATURES) if lengths is None else ((TIME, FEATURES), ())
    params, x = drawn(layer, in_shape), images()
    value = x if lengths is None else (x, lengths)
    y, _, back = layer.vjp(params, {}, value)
    torch = pytest.importorskip("torch")
    given = {"batch_first": True, "bidirectional": True, "dtype": torch.float64}
    twin = getattr(torch.nn, kind)(FEATURES, WIDTH, **given)
    with torch.no_grad():
        for way, end in (("forward", ""), ("backward", "_reverse")):
            own = params[way]
            b_state = own.get("b_state", np.zeros_like(own["b"]))
            parts = {"weight_ih_l0": own["w_in"].T, "weight_hh_l0": own["w_state"].T,
                     "bias_ih_l0": own["b"], "bias_hh_l0": b_state}  # fmt: skip
            for name, leaf in parts.items():
                getattr(twin, name + end).copy_(torch.tensor(leaf))
    tx = torch.tensor(x, requires_grad=True)
    fed, packing = tx, torch.nn.utils.rnn
    if lengths is not None:
        fed = packing.pack_padded_sequence(tx, torch.tensor(lengths), True, enforce_sorted=False)
    ty = twin(fed)[0]
    if lengths is not None:
        ty = packing.pad_packed_sequence(ty, batch_first=True)[0]
    close(y, ty.detach().numpy())
    dy = np.random.default_rng(5).normal(size=y.shape)
    (ty * torch.tensor(dy)).sum().backward()
    dparams, dx = back(dy)
    close(dx if lengths is None else dx[0], tx.grad.numpy())
    close(dparams["backward"]["w_state"], twin.weight_hh_l0_reverse.grad.numpy().T)
    close(dparams["forward"]["w_in"], twin.weight_ih_l0.grad.numpy().T)


@every_kind
@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_numbers_in_the_padding_that_are_not_finite_reach_no_derivative(kind, junk):
    layer = KINDS[kind](WIDTH, lengths=True)
    params, x = drawn(layer, ((TIME, FEATURES), ())), images()
    spoilt = x.copy()
    for i, n in enumerate(LENGTHS):
        spoilt[i, n:] = junk
    dy = np.random.default_rng(3).normal(size=(BATCH, TIME, WIDTH))
    ends = []
    for each in (x, spoilt):
        y, _, back = layer.vjp(params, {}, (each, LENGTHS))
        dparams, (dx, _) = back(dy)
        ends.append([y, dx, *tree.leaves(dparams)])
    for a, b in zip(*ends, strict=True):
        close(a, b)


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([5, 6, 1, 1], DataError, r"^lstm \(.*\): expected lengths of 1 to 5, got 6 for example 1"),
        ([5, 5, 0, 1], DataError, "expected lengths of 1 to 5, got 0 for example 2"),
        ([5, 5, 1, -1], DataError, "expected lengths of 1 to 5, got -1 for example 3"),
        ([5.0, 1.0, 1.0, 1.0], DTypeError, "expected lengths as integers, got float64"),
        ([[5], [1], [1], [1]], ShapeError, "expected one length for each example"),
        ([True, True, True, True], DTypeError, "expected lengths as integers, got bool"),
    ],
)
def test_lengths_that_are_none_are_refused(lengths, error, message):
    layer = LSTM(WIDTH, lengths=True)
    params = drawn(layer, ((TIME, FEATURES), ()))
    with pytest.raises(error, match=message):
        layer.apply(params, {}, (images(), np.array(lengths)))


@pytest.mark.parametrize("dtype", [int, bool])
def test_integers_stand_for_lengths_alone(dtype):
    layer = GRU(WIDTH, lengths=True, carry=True)
    params = drawn(layer, ((TIME, FEATURES), (), (WIDTH,)))
    h = np.zeros((BATCH, WIDTH))
    with pytest.raises(DTypeError, match="expected x as floating numbers, got"):
        layer.apply(params, {}, (images().astype(dtype), LENGTHS, h))
    with pytest.raises(DTypeError, match="expected what is carried as floating numbers, got"):
        layer.apply(params, {}, (images(), LENGTHS, h.astype(dtype)))


@pytest.mark.parametrize(
    ("layer", "in_shape", "message"),
    [
        (LSTM(2), (3,), "expected (time, features) with 1 or more steps, got in_shape=(3,)"),
        (LSTM(2), (0, 3), "expected (time, features) with 1 or more steps, got in_shape=(0, 3)"),
        (GRU(2), (3, 0), "expected steps of 1 or more features, got steps of shape (0,)"),
        (RNN(2, lengths=True), (3, 2), "expected (x, lengths), got in_shape=(3, 2)"),
        (RNN(2, carry=True), ((3, 2), (3,)), "expected what is carried of shape (2,), got (3,)"),
        (
            LSTM(2, carry=True),
            ((3, 2), (2,)),
            "expected what is carried of shape ((2,), (2,)), got (2,)",
        ),
    ],
)
def test_shapes_that_are_none_are_refused(layer, in_shape, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        layer.init(Key.of(0), in_shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rnn(LSTMCell), r"^rnn: cell: expected a Cell, got LSTMCell; call it: LSTMCell\(...\)"),
        (lambda: rnn(3), "cell: expected a Cell, got 3"),
        (lambda: LSTM(0), "^LSTM: width: expected 1 or more, got 0"),
        (lambda: RNN(2, activation="gelu"), "activation: expected 'tanh' or 'relu', got 'gelu'"),
        (lambda: GRU(2, last=1), "^GRU: last: expected True or False, got 1"),
        (lambda: fnn.make_cell("a/b", len, len), "name: expected a string without '/'"),
        (lambda: fnn.make_cell("a", 3, len), "shapes: expected a function, got 3"),
        (lambda: fnn.bidirectional(fnn.Dense(2)), "layer: expected one with an option reverse"),
        (lambda: fnn.bidirectional(LSTM(2, reverse=True)), "expected one without reverse=True"),
        (lambda: fnn.bidirectional(LSTM(2, carry=True)), "expected one without carry=True"),
        (
            lambda: fnn.bidirectional(LSTM(2), "add"),
            "^bidirectional: merge: expected one of .* or a Layer, got 'add'",
        ),
    ],
)
def test_options_that_are_none_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()
