"""Every combinator and what is done to networks: frozen, stacked, summed up, trained, saved."""

from __future__ import annotations

import numpy as np
import pytest
from combinator_cases import halved
from layer_cases import digest

import fnn
from fnn import Key, tree
from fnn.ensemble import Keys, member_metrics, stacked, unstack
from fnn.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Relu,
    Tanh,
    branch,
    fan_in,
    fan_out,
    frozen,
    lazy,
    named,
    parallel,
    remat,
    repeat,
    serial,
    shared,
    spectral_norm,
    vmap,
    weight_norm,
)
from fnn.testing import LawError, check_layer

KEY = Key.of(0)
RNG = np.random.default_rng(0)


def rows(*shape, dtype="float32"):
    return RNG.normal(size=shape).astype(dtype)


NETS = {
    "branch": (branch(Dense(3), serial(Dense(3), BatchNorm(), Dropout(0.2)), merge="concat"), (4,)),
    "branch, largest": (branch(Dense(2), Dense(2), merge="max"), (4,)),
    "branch, merged by a layer": (
        branch(Dense(2), Dense(3), merge=serial(parallel(Tanh(), Dense(2)), fan_in("mean"))),
        (4,),
    ),
    "parallel": (serial(fan_out(2), parallel(Dense(2), Relu()), fan_in("concat")), (4,)),
    "repeat": (repeat(serial(Dense(4), BatchNorm(), Tanh()), 2), (4,)),
    "shared": (shared(serial(Dense(4), BatchNorm(), Dropout(0.2)), 2), (4,)),
    "lazy": (serial(lazy(halved), Tanh()), (4,)),
    "remat": (remat(serial(Dense(4), BatchNorm(), Dropout(0.2), Tanh())), (4,)),
    "vmap": (vmap(serial(Dense(3), Dropout(0.2))), (2, 4)),
    "weight_norm": (weight_norm(serial(Dense(3), BatchNorm(), Dense(2))), (4,)),
    "spectral_norm": (spectral_norm(serial(Dense(3), BatchNorm(), Dense(2))), (4,)),
}
every_net = pytest.mark.parametrize(("net", "in_shape"), NETS.values(), ids=NETS)


def data_for(net, in_shape, n=12):
    out_shape, *_ = net.init(KEY, in_shape)
    return rows(n, *in_shape), rows(n, *out_shape)


@every_net
def test_frozen_it_stands_still_in_evaluation_mode(net, in_shape):
    held = frozen(net)
    _, params, state = net.init(KEY, in_shape)
    assert digest(params, state) == digest(*held.init(KEY, in_shape)[1:])
    x = rows(5, *in_shape)
    y, still, back = held.vjp(params, state, x, train=True)
    assert still is state
    assert digest(y) == digest(net.apply(params, state, x)[0])
    dparams, dx = back(y)
    assert not any(leaf.any() for leaf in tree.leaves(dparams))
    np.testing.assert_array_equal(dx, net.vjp(params, state, x)[2](y)[1])
    whole = serial(held, named("head", fnn.Identity()))
    optimizer = fnn.adamw(0.1, weight_decay=0.1)
    now = fnn.init_train_state(whole, optimizer, in_shape, KEY)
    after, _ = fnn.train_step(whole, fnn.squared_error, optimizer)(now, (x, np.zeros_like(y)))
    assert digest(after.params, after.state) == digest(now.params, now.state)


@pytest.mark.parametrize(
    ("net", "in_shape"), [case for case in NETS.values() if case[0].recipe.call is not serial], ids=repr
)
def test_a_part_that_is_frozen_stands_still_inside(net, in_shape):
    part = named("part", frozen(Dense(in_shape[-1])))
    whole = {
        branch: lambda: branch(part, Dense(2), merge="concat"),
        repeat: lambda: repeat(serial(part, Dense(4)), 2),
        shared: lambda: shared(serial(part, Dense(4)), 2),
    }.get(net.recipe.call, lambda: net.recipe.call(serial(part, Dense(2))))()
    optimizer = fnn.adamw(0.1, weight_decay=0.1)
    now = fnn.init_train_state(whole, optimizer, in_shape, KEY)
    x, target = data_for(whole, in_shape)
    after, _ = fnn.train_step(whole, fnn.squared_error, optimizer)(now, (x, target))
    pairs = zip(tree.items(now.params), tree.items(after.params), strict=True)
    still = {path for (path, old), (_, new) in pairs if old.tobytes() == new.tobytes()}
    assert still
    assert still == {path for path, _ in tree.items(now.params) if "part/" in path}


@every_net
def test_named_it_has_its_entries_there(net, in_shape):
    _, params, state = serial(named("mine", net)).init(KEY, in_shape)
    assert set(params) == {"mine"}
    assert digest(params["mine"]) == digest(net.init(KEY.fold("mine"), in_shape)[1])
    assert set(state) <= {"mine"}


@every_net
def test_stacked_every_member_computes_what_it_would_alone(net, in_shape):
    many = stacked(net, 3)
    keys = Keys.of([1, 2, 3])
    _, params, state = many.init(keys, in_shape)
    x = rows(5, *in_shape)
    y, moved, back = many.vjp(params, state, x, train=True, key=keys)
    dparams, dx = back(y)
    total = np.zeros_like(dx)
    for i, key in enumerate(keys.members):
        own_params, own_state = unstack(params, i), unstack(state, i)
        assert digest(own_params, own_state) == digest(*net.init(key, in_shape)[1:])
        own_y, own_moved, own_back = net.vjp(own_params, own_state, x, train=True, key=key)
        np.testing.assert_allclose(y[:, i], own_y, rtol=1e-5, atol=1e-6)
        own_dparams, own_dx = own_back(np.ascontiguousarray(y[:, i]))
        total += own_dx
        for got, want in ((unstack(dparams, i), own_dparams), (unstack(moved, i), own_moved)):
            for (path, a), (_, b) in zip(tree.items(got), tree.items(want), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=path)
    np.testing.assert_allclose(dx, total, rtol=1e-4, atol=1e-5)
    assert len(member_metrics(fnn.squared_error, 3)) == 3


@every_net
def test_a_summary_counts_all_numbers_and_knows_every_cost(net, in_shape):
    _, params, state = net.init(KEY, in_shape)
    for whole, at in ((net, ""), (serial(named("mine", net)), "mine")):
        found = fnn.summary(whole, in_shape)
        assert (found.parameters, found.state) == (tree.size(params), tree.size(state))
        assert found.is_complete
        assert found.rows[0].path.startswith(at)


def kinds(net, in_shape):
    return [(row.path, row.kind, row.flops) for row in fnn.summary(net, in_shape).rows]


def test_a_summary_shows_what_is_repeated_shared_made_late_and_wrapped():
    assert kinds(serial(repeat(Dense(4), 2), shared(serial(Dense(4), Tanh()), 3)), (4,)) == [
        ("repeat_0", "repeat(2)", 0),
        ("repeat_0/dense_0", "Dense(4)", 32),
        ("repeat_0/dense_1", "Dense(4)", 32),
        ("shared_0", "shared(3)", 2 * (32 + 4)),
        ("shared_0/serial_0", "serial", 0),
        ("shared_0/serial_0/dense_0", "Dense(4)", 32),
        ("shared_0/serial_0/tanh_0", "Tanh()", 4),
    ]
    assert kinds(serial(lazy(halved), vmap(Dense(3))), (2, 4)) == [
        ("lazy_0", "lazy(halved)", 0),
        ("lazy_0/dense_0", "Dense(2)", 2 * 2 * 4 * 2),
        ("dense_0", "vmap(Dense(3))", 2 * 2 * 2 * 3),
    ]
    assert kinds(vmap(serial(Dense(3))), (5, 4)) == [
        ("serial", "vmap(serial)", 4 * 24),
        ("dense_0", "Dense(3)", 24),
    ]
    net = branch(Dense(2), remat(weight_norm(Dense(2), axis=0)), merge="mean")
    assert kinds(net, (4,)) == [
        ("branch", "branch(merge='mean')", 4),
        ("dense_0", "Dense(2)", 16),
        ("dense_1", "remat(weight_norm(Dense(2), axis=0))", 16),
    ]


@every_net
def test_it_trains_in_fit_in_scan_and_jitted_to_the_same_bits(net, in_shape):
    x, target = data_for(net, in_shape)
    optimizer = fnn.adam(0.01)
    now = fnn.init_train_state(net, optimizer, in_shape, KEY)
    step = fnn.train_step(net, fnn.squared_error, optimizer)
    batches = [(x[i : i + 4], target[i : i + 4]) for i in (0, 4, 8)] * 3
    one, losses = now, []
    for batch in batches:
        one, logs = step(one, batch)
        losses.append(logs["loss"])
    two, jitted = now, fnn.jit(step)
    for batch in batches:
        two, _ = jitted(two, batch)
    three, logs = fnn.scan(step, now, batches)
    assert one == two == three
    np.testing.assert_array_equal(logs["loss"], losses)
    done = fnn.fit(
        net, fnn.squared_error, optimizer, fnn.Dataset(x, target), epochs=20, batch_size=4, key=KEY,
        progress=False,
    )  # fmt: skip
    first = fnn.predict(net, (now.params, now.state), x)
    last = fnn.predict(net, (done.last.params, done.last.state), x)
    assert ((last - target) ** 2).mean() < ((first - target) ** 2).mean()


@every_net
def test_a_saved_model_comes_back(net, in_shape, tmp_path):
    _, params, state = net.init(KEY, in_shape)
    fnn.save_model(tmp_path / "m.npz", net, params, state, in_shape)
    again, *trees, shape = fnn.load_model(tmp_path / "m.npz", {"halved": halved})
    assert (again, *trees, shape) == (net, params, state, in_shape)
    assert repr(again) == repr(net)


# --- who is to blame --------------------------------------------------------------------------


def bend_vjp(x, y, dy):
    return 1.001 * dy / (2 * y)


WRONG = fnn.elementwise("wrong", lambda x: np.sqrt(1 + x), bend_vjp)
SMALL = fnn.elementwise(
    "small", lambda x: x * x / (1 + x * x), lambda x, y, dy: 2 * x / (1 + x * x) ** 2 * dy
)
BAD = serial(SMALL, WRONG)


@pytest.mark.parametrize(
    ("net", "in_shape", "path"),
    [
        (branch(Dense(3), BAD), (3,), "branch/serial_0/wrong_0"),
        (branch(Tanh(), merge=serial(fan_in("sum"), BAD)), (3,), "branch/merge/serial_0/wrong_0"),
        (serial(fan_out(2), parallel(Tanh(), BAD)), (3,), "serial/parallel_0/serial_0/wrong_0"),
        (repeat(BAD, 2), (3,), "repeat/serial_0/wrong_0"),
        (shared(BAD, 2), (3,), "shared/serial_0/wrong_0"),
        (remat(BAD), (3,), "serial/wrong_0"),
        (vmap(BAD), (2, 3), "serial/wrong_0"),
        (weight_norm(serial(Dense(2), BAD)), (3,), "serial/serial_0/wrong_0"),
        (lazy(lambda in_shape: BAD), (3,), "lazy"),
    ],
    ids=repr,
)
def test_the_laws_name_the_wrong_layer_inside(net, in_shape, path):
    with pytest.raises(LawError) as caught:
        check_layer(net, in_shape, laws=["adjoint"], train=False)
    assert path in {each.path for each in caught.value.report.violations}
    assert all("wrong" in each.path for each in caught.value.report.violations) or path == "lazy"
