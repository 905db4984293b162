"""Weights from elsewhere: a fit begins from them, and they predict without a state of training."""

import numpy as np
import pytest

import fnn
from fnn import tree
from fnn.errors import DataError, OptionError

KEY = fnn.Key.of(0)
NET = fnn.serial(fnn.Dense(6), fnn.BatchNorm(), fnn.Relu(), fnn.Dense(3))


def data(n=40):
    rng = np.random.default_rng(0)
    return fnn.Dataset(rng.normal(size=(n, 4)).astype("float32"), rng.integers(0, 3, n))


def fit(**options):
    options = {"epochs": 2, "batch_size": 10, "key": KEY, "progress": False} | options
    return fnn.fit(
        NET, fnn.softmax_cross_entropy, options.pop("optimizer", fnn.adam(0.01)), data(), **options
    )


def test_a_fit_from_the_weights_that_it_would_draw_is_the_fit_itself():
    _, params, state = NET.init(KEY.fold("init"), (4,))
    assert fit(params=params, state=state) == fit()


def test_a_fit_from_weights_is_the_fold_of_the_step_from_them():
    _, params, state = NET.init(fnn.Key.of(9), (4,))
    state = tree.map(lambda leaf: leaf + 1, state)
    optimizer = fnn.adam(0.01)
    now = fnn.TrainState(0, KEY, params, state, optimizer.init(params))
    step = fnn.train_step(NET, fnn.softmax_cross_entropy, optimizer)
    for epoch in range(2):
        now, _ = fnn.scan(step, now, fnn.batches(data(), 10, key=KEY.fold("epoch", epoch)))
    assert fit(params=params, state=state).last == now
    assert fit(params=params).last != now


def test_the_optimizer_s_memory_begins_anew_from_the_weights_given():
    # A transform whose memory holds the parameters that it began with.
    anchor = fnn.Transform(
        "anchor", lambda params: {"at": params}, lambda u, memory, params, step: (u, memory)
    )
    _, params, _ = NET.init(fnn.Key.of(9), (4,))
    last = fit(params=params, optimizer=fnn.chain(anchor, fnn.sgd(0.1)), epochs=1).last
    assert any(leaf == params for leaf in _subtrees(last.opt_state))


def _subtrees(node):
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _subtrees(value)


@pytest.mark.parametrize("kept", [2, 5])
def test_a_run_from_weights_that_was_stopped_goes_on_with_the_same_bits(kept):
    _, params, state = NET.init(fnn.Key.of(9), (4,))
    saved = []
    whole = fit(params=params, state=state, epochs=3, save=saved.append, save_every=1)
    assert fit(params=params, state=state, epochs=3, start=saved[kept]).last == whole.last


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {**p, "more": {"w": np.ones(1, "float32")}}, "params/more/w: expected no such path"),
        (lambda p: {**p, "dense_1": {"w": p["dense_1"]["w"]}}, "params/dense_1/b: expected float32"),
        (lambda p: tree.cast(p, "float64"), r"params/dense_0/w: expected float32\[4, 6\], got float64"),
        (lambda p: tree.map(lambda leaf: leaf[:1].copy(), p), "params/dense_0/b: expected float32"),
    ],
)
def test_weights_of_another_network_are_refused_by_path(change, message):
    _, params, _ = NET.init(KEY, (4,))
    with pytest.raises(DataError, match=message):
        fit(params=change(params))


def test_predict_and_evaluate_take_a_pair_of_params_and_state():
    now = fit().last
    pair = now.params, now.state
    assert fnn.predict(NET, pair, data().x).tobytes() == fnn.predict(NET, now, data().x).tobytes()
    metrics = (fnn.accuracy, fnn.softmax_cross_entropy)
    assert fnn.evaluate(NET, pair, data(), metrics) == fnn.evaluate(NET, now, data(), metrics)
    # Plain dicts of arrays are trees too.
    plain = {name: dict(each) for name, each in now.params.items()}
    assert fnn.predict(NET, (plain, dict(now.state)), data().x).tobytes() == (
        fnn.predict(NET, now, data().x).tobytes()
    )


@pytest.mark.parametrize("weights", [None, (), ({},), ({}, {}, {}), ({}, 3), [{}, {}], "ab"])
def test_what_is_no_pair_of_weights_is_refused(weights):
    with pytest.raises(OptionError, match=r"a TrainState of it or its \(params, state\)"):
        fnn.predict(NET, weights, data().x)
