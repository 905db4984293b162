"""Penalties on parameters: what they add to the loss and to its gradient."""

from __future__ import annotations

import pickle

import attrs
import numpy as np
import pytest

import fnn
from fnn import Key, OptionError, TreeError, tree
from fnn.training.step import train_step

NET = fnn.serial(fnn.Dense(3), fnn.Tanh(), fnn.Dense(2))
RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(8, 4)).astype("f4"), RNG.normal(size=(8, 2)).astype("f4")


def begun(net=NET, optimizer=None):
    return fnn.init_train_state(net, optimizer or fnn.sgd(0.1), (4,), Key.of(0))


@pytest.mark.parametrize(("make", "f", "df"), [(fnn.l2_penalty, np.square, lambda w: 2 * w),
                                              (fnn.l1_penalty, np.abs, np.sign)])  # fmt: skip
@pytest.mark.parametrize(
    "where", [None, "dense_0", ["dense_0/w", "dense_1/b"], lambda p, w: w.ndim > 1]
)
def test_a_step_descends_the_loss_and_the_penalty(make, f, df, where):
    now, rate = begun(), 0.3
    plain, logs = train_step(NET, fnn.squared_error, fnn.sgd(0.1))(now, (X, T))
    next_, more = train_step(NET, fnn.squared_error, fnn.sgd(0.1), penalty=make(rate, where))(
        now, (X, T)
    )
    total = 0.0
    for path, w in tree.items(now.params):
        picked = (
            where is None
            or (callable(where) and where(path, w))
            or (not callable(where) and any(path.startswith(each) for each in np.atleast_1d(where)))
        )
        step = 0.1 * rate * df(w) if picked else 0 * w
        total += rate * float(f(w).sum()) if picked else 0.0
        np.testing.assert_allclose(
            tree.get(next_.params, path), tree.get(plain.params, path) - step, rtol=1e-5, atol=1e-7
        )
    np.testing.assert_allclose(more["loss"], logs["loss"] + total, rtol=1e-6)
    assert type(more["loss"]) is np.float32


def test_torch_weight_decay_is_half_of_the_square():
    torch = pytest.importorskip("torch")
    x, t = X.astype("f8"), T.astype("f8")
    net = fnn.Dense(2)
    now = fnn.init_train_state(net, fnn.sgd(0.1), (4,), Key.of(0))
    now = fnn.tree.cast(now.params, "float64"), now
    state = attrs.evolve(now[1], params=now[0])
    step = train_step(net, fnn.squared_error, fnn.sgd(0.1), penalty=fnn.l2_penalty(0.05))
    twin = torch.nn.Linear(4, 2).double()
    with torch.no_grad():
        twin.weight.copy_(torch.tensor(now[0]["w"].T))
        twin.bias.copy_(torch.tensor(now[0]["b"]))
    sgd = torch.optim.SGD(twin.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(20):
        state, _ = step(state, (x, t))
        sgd.zero_grad()
        torch.nn.functional.mse_loss(twin(torch.tensor(x)), torch.tensor(t)).backward()
        sgd.step()
    np.testing.assert_allclose(state.params["w"], twin.weight.detach().numpy().T, rtol=1e-12)


def test_fit_scan_and_single_steps_have_equal_bits_with_a_penalty():
    penalty = [fnn.l2_penalty(0.01, "dense_0"), fnn.l1_penalty(0.001)]
    step = train_step(NET, fnn.squared_error, fnn.adam(), penalty=penalty)
    now, jitted = begun(optimizer=fnn.adam()), fnn.jit(step)
    other = now
    scanned, _ = fnn.scan(step, now, [(X, T)] * 5)
    for _ in range(5):
        now, other = step(now, (X, T))[0], jitted(other, (X, T))[0]
    assert tree.digest(now.params) == tree.digest(other.params) == tree.digest(scanned.params)
    given = {"epochs": 5, "batch_size": 8, "key": Key.of(1)}
    data = fnn.Dataset(X, T)
    plain = fnn.fit(NET, fnn.squared_error, fnn.adam(), data, **given)
    fit = fnn.fit(NET, fnn.squared_error, fnn.adam(), data, penalty=penalty, **given)
    assert fit.history["loss"][0] > plain.history["loss"][0]


def test_what_is_frozen_is_not_penalised():
    net = fnn.serial(fnn.frozen(fnn.Dense(3)), fnn.Dense(2))
    now = begun(net)
    step = train_step(net, fnn.squared_error, fnn.sgd(0.1), penalty=fnn.l2_penalty(1.0))
    moved, logs = step(now, (X, T))
    plain = train_step(net, fnn.squared_error, fnn.sgd(0.1))(now, (X, T))[1]["loss"]
    own = sum(float((leaf**2).sum()) for leaf in tree.leaves(now.params["dense_1"]))
    np.testing.assert_allclose(logs["loss"], plain + own, rtol=1e-5)
    assert tree.digest(moved.params["dense_0"]) == tree.digest(now.params["dense_0"])


def test_penalties_are_values_and_what_is_none_is_refused():
    assert repr(fnn.l2_penalty(0.1, "a")) == "l2_penalty(0.1, where='a')"
    assert pickle.loads(pickle.dumps(fnn.l1_penalty(0.1))) == fnn.l1_penalty(0.1)
    with pytest.raises(OptionError, match=r"^l2_penalty: rate: expected a number"):
        fnn.l2_penalty(-1)
    with pytest.raises(OptionError, match=r"^train_step: penalty: expected a function from params"):
        train_step(NET, fnn.squared_error, fnn.sgd(0.1), penalty=0.1)
    step = train_step(NET, fnn.squared_error, fnn.sgd(0.1), penalty=fnn.l2_penalty(0.1, "dense_7"))
    with pytest.raises(TreeError, match="dense_7"):
        step(begun(), (X, T))
