"""Branches: what goes out, what comes in again, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import digest

import fnn
from fnn import DTypeError, Key, OptionError, ShapeError, Traits, TreeError
from fnn.layers import (
    GRU,
    Conv,
    Dense,
    Dropout,
    Identity,
    Relu,
    Tanh,
    branch,
    fan_in,
    fan_out,
    named,
    parallel,
    serial,
)

KEY = Key.of(0)
RNG = np.random.default_rng(0)
MERGES = ("sum", "mean", "product", "max", "concat")


def rows(*shape, dtype="float64"):
    return RNG.normal(size=shape).astype(dtype)


# --- fans -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_fan_out_and_a_sum_multiply_by_n(n):
    net = serial(fan_out(n), fan_in("sum"))
    x, dy = rows(3, 4), rows(3, 4)
    y, _, back = net.vjp({}, {}, x)
    np.testing.assert_allclose(y, n * x, rtol=1e-14)
    np.testing.assert_allclose(back(dy)[1], n * dy, rtol=1e-14)


def test_a_fan_out_and_a_mean_are_the_identity():
    net = serial(fan_out(4), fan_in("mean"))
    x, dy = rows(3, 4), rows(3, 4)
    y, _, back = net.vjp({}, {}, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(back(dy)[1], dy)


def test_a_fan_out_hands_on_integers_without_a_derivative():
    x = rows(3, 2), np.arange(3)
    y, _, back = fan_out(2).vjp({}, {}, x)
    assert y == (x, x)
    dx = back(((rows(3, 2), None), (np.ones((3, 2)), None)))[1]
    assert dx[1] is None
    assert dx[0].shape == (3, 2)


def torch_merge(torch, merge, parts):
    if merge == "concat":
        return torch.cat(parts, dim=1)
    stacked = torch.stack(parts)
    reduced = {"sum": torch.sum, "mean": torch.mean, "product": torch.prod, "max": torch.amax}
    return reduced[merge](stacked, dim=0)


@pytest.mark.parametrize("merge", MERGES)
def test_merges_agree_with_pytorch(merge):
    torch = pytest.importorskip("torch")
    parts = tuple(rows(3, 2, 4) for _ in range(3))
    twins = [torch.tensor(part, requires_grad=True) for part in parts]
    want = torch_merge(torch, merge, twins)
    dy = rows(*want.shape)
    want.backward(torch.tensor(dy))
    y, _, back = fan_in(merge).vjp({}, {}, parts)
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-14)
    for dx, twin in zip(back(dy)[1], twins, strict=True):
        np.testing.assert_allclose(dx, twin.grad.numpy(), rtol=1e-13)


def test_of_equal_numbers_the_first_has_the_whole_derivative():
    x = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 5.0, 3.0]]), np.array([[1.0, 5.0, 0.0]])
    y, _, back = fan_in("max").vjp({}, {}, x)
    np.testing.assert_array_equal(y, [[1, 5, 3]])
    first, second, third = back(np.ones((1, 3)))[1]
    np.testing.assert_array_equal(first, [[1, 0, 1]])
    np.testing.assert_array_equal(second, [[0, 1, 0]])
    np.testing.assert_array_equal(third, [[0, 0, 0]])


@pytest.mark.parametrize("at", [0, 1])
def test_nan_passes_through_the_largest_wherever_it_stands(at):
    x = [np.ones((1, 2)), np.ones((1, 2))]
    x[at][0, 0] = np.nan
    y, _ = fan_in("max").apply({}, {}, tuple(x))
    assert np.isnan(y[0, 0])
    assert y[0, 1] == 1


def test_zeros_do_not_trouble_the_derivative_of_a_product():
    x = np.array([[0.0, 2.0]]), np.array([[3.0, 0.0]]), np.array([[5.0, 0.0]])
    _, _, back = fan_in("product").vjp({}, {}, x)
    first, second, third = back(np.ones((1, 2)))[1]
    np.testing.assert_array_equal(first, [[15, 0]])
    np.testing.assert_array_equal(second, [[0, 0]])
    np.testing.assert_array_equal(third, [[0, 0]])


# --- layers side by side ----------------------------------------------------------------------


def test_parallel_maps_every_array_by_its_own_layer():
    net = parallel(Dense(2), named("second", Dense(3)), Dense(1))
    shape, params, state = net.init(KEY, ((4,), (2,), (3,)))
    assert shape == ((2,), (3,), (1,))
    assert list(params) == ["dense_0", "second", "dense_1"]
    x = rows(5, 4, dtype="float32"), rows(5, 2, dtype="float32"), rows(5, 3, dtype="float32")
    y, _, back = net.vjp(params, state, x)
    dy = tuple(map(np.ones_like, y))
    dparams, dx = back(dy)
    for name, own_x, own_y, own_dx in zip(params, x, y, dx, strict=True):
        alone, _, own_back = Dense(own_y.shape[1]).vjp(params[name], {}, own_x)
        np.testing.assert_array_equal(own_y, alone)
        own_dparams, want = own_back(np.ones_like(own_y))
        assert digest(dparams[name]) == digest(own_dparams)
        np.testing.assert_array_equal(own_dx, want)
    assert back(dy, need_dx=False)[1] is None


@pytest.mark.parametrize("merge", MERGES)
def test_a_branch_is_a_fan_out_layers_in_parallel_and_a_fan_in(merge):
    layers = Dense(3), serial(Dense(3), Tanh()), Dropout(0.5)
    whole = branch(*layers, merge=merge)
    long = serial(fan_out(3), named("ways", parallel(*layers)), fan_in(merge))
    _, params, state = whole.init(KEY, (3,))
    x = rows(4, 3, dtype="float32")
    for train in (False, True):
        y, _, back = whole.vjp(params, state, x, train=train, key=KEY.fold("ways"))
        want, _, long_back = long.vjp({"ways": params}, state, x, train=train, key=KEY)
        # Masks are drawn by name: those of `ways` from the key folded with that.
        np.testing.assert_array_equal(y, want)
        dparams, dx = back(np.ones_like(y))
        long_dparams, long_dx = long_back(np.ones_like(y))
        assert digest(dparams) == digest(long_dparams["ways"])
        np.testing.assert_array_equal(dx, long_dx)


def test_a_branch_of_two_is_a_residual_whose_shortcut_is_one_of_them():
    _, params, _ = branch(Dense(3), Dense(3)).init(KEY, (3,))
    x = rows(4, 3, dtype="float32")
    residual = fnn.residual(Dense(3), shortcut=Dense(3))
    same = {"dense_0": params["dense_0"], "shortcut": params["dense_1"]}
    want, _ = residual.apply(same, {}, x)
    np.testing.assert_array_equal(branch(Dense(3), Dense(3)).apply(params, {}, x)[0], want)


def test_a_merge_of_ones_own_is_a_layer_of_the_tuple():
    net = branch(Dense(2), Dense(3), merge=serial(parallel(Dense(1), Dense(1)), fan_in("product")))
    _, params, _ = net.init(KEY, (3,))
    assert list(params) == ["dense_0", "dense_1", "merge"]
    assert params["merge"]["parallel_0"]["dense_1"]["w"].shape == (3, 1)
    x = rows(4, 3, dtype="float32")
    a, b = (x @ params[name]["w"] + params[name]["b"] for name in ("dense_0", "dense_1"))
    inner = params["merge"]["parallel_0"]
    want = (a @ inner["dense_0"]["w"]) * (b @ inner["dense_1"]["w"])
    np.testing.assert_allclose(net.apply(params, {}, x)[0], want, rtol=1e-5)


def test_a_branch_trains_like_its_twin_in_pytorch():
    torch = pytest.importorskip("torch")
    net = serial(branch(Conv(2, 3, padding="same"), Conv(3, 1), merge="concat"), Relu())
    _, params, state = net.init(KEY, (2, 5, 5))
    params = fnn.tree.cast(params, "float64")
    x, target = rows(4, 2, 5, 5), rows(4, 5, 5, 5)
    twins = [
        torch.nn.Conv2d(2, 2, 3, padding=1, dtype=torch.float64),
        torch.nn.Conv2d(2, 3, 1, dtype=torch.float64),
    ]
    for i, twin in enumerate(twins):
        own = params["branch_0"][f"conv_{i}"]
        twin.weight.data, twin.bias.data = torch.tensor(own["w"]), torch.tensor(own["b"])
    optimizer = torch.optim.SGD([p for twin in twins for p in twin.parameters()], lr=0.05)
    for _ in range(20):
        y, _, back = net.vjp(params, state, x, train=True)
        dparams, _ = back(y - target, need_dx=False)
        params = fnn.tree.map(lambda p, d: p - 0.05 * d, params, dparams)
        optimizer.zero_grad()
        out = torch.relu(torch.cat([twin(torch.tensor(x)) for twin in twins], dim=1))
        (0.5 * (out - torch.tensor(target)) ** 2).sum().backward()
        optimizer.step()
    for i, twin in enumerate(twins):
        got = params["branch_0"][f"conv_{i}"]["w"]
        np.testing.assert_allclose(got, twin.weight.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_nothing_is_computed_back_that_nobody_needs():
    asked = []

    def watched(x):
        return x

    def watched_vjp(x, y, dy):
        asked.append(1)
        return dy

    watch = fnn.elementwise("watch", watched, watched_vjp)
    net = branch(watch, serial(watch, Dense(3)))
    _, params, _ = net.init(KEY, (3,))
    _, _, back = net.vjp(params, {}, rows(2, 3, dtype="float32"))
    back(np.ones((2, 3), "float32"), need_dx=False)
    assert asked == []
    back(np.ones((2, 3), "float32"))
    assert asked == [1, 1]


def test_traits_are_those_of_all_ways():
    assert branch(Dense(1), Relu()).traits == Traits(has_kinks=True)
    assert branch(Dense(1), Tanh(), merge="max").traits == Traits(has_kinks=True)
    both = parallel(GRU(2, lengths=True), Dropout(0.5)).traits
    assert both == Traits(stochastic=True, takes_integers=True, takes_tuples=True)
    assert branch(GRU(2, lengths=True), Identity()).traits != both


# --- what does not fit ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fan_out(0), r"^fan_out: n: expected 1 or more, got 0$"),
        (lambda: fan_in("both"), "^fan_in: merge: expected one of 'sum', 'mean', .*, got 'both'$"),
        (lambda: fan_in("sum", axis=2), "^fan_in: axis: expected none, as 'sum' has no axis, got 2$"),
        (lambda: fan_in("concat", axis=0), "^fan_in: axis: expected an axis of the examples, got 0"),
        (lambda: branch(), "^branch: expected one layer or more, got none$"),
        (lambda: parallel(), "^parallel: expected one layer or more, got none$"),
        (lambda: branch(Dense), "^branch: argument 0: expected a Layer, got Dense; call it"),
        (lambda: branch(Dense(1), merge="all"), "^branch: merge: expected one of .* or a Layer, got"),
        (lambda: branch(Dense(1), merge=fan_in("sum"), axis=2), "^branch: axis: expected none beside"),
        (lambda: branch(named("merge", Dense(1))), "^branch: two children are called 'merge'$"),
        (lambda: parallel(named("a", Relu()), named("a", Relu())), "^parallel: two children are"),
    ],
)
def test_wrong_options_are_refused_where_they_are_given(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize(
    ("net", "in_shape", "message"),
    [
        (
            branch(Dense(2), Dense(3)),
            (4,),
            r"^branch/merge .* of one shape, got .*\(2,\) and.*1, \(3,\)",
        ),
        (
            branch(Conv(2, 2), Conv(2, 3), merge="concat"),
            (1, 5, 5),
            r"^branch/merge .*shape but for axis 1, got examples of \(2, 4, 4\) and, of part 1, \(2, 3",
        ),
        (fan_in("sum"), (3,), r"^fan_in .*expected a tuple of arrays, got in_shape=\(3,\)"),
        (fan_in("sum"), ((3,), ((3,),)), "^fan_in .*expected a tuple of arrays"),
        (fan_in("concat", axis=2), ((3,), (3,)), "^fan_in .*expected an axis 2 to concatenate along"),
        (parallel(Dense(1), Dense(1)), ((3,),), r"^parallel .*expected 2 arrays, one for each layer"),
        (parallel(Dense(1)), (3,), r"^parallel .*expected 1 arrays, one for each layer"),
        (serial(*[fan_out(20)] * 4), (3,), "^serial/fan_out_2 .*expected at most 4,096 arrays"),
        (serial(*[fan_out(1)] * 17), (3,), "^serial/fan_out_16 .*nested at most 16 deep"),
    ],
    ids=str,
)
def test_shapes_that_do_not_go_together_are_refused_by_path(net, in_shape, message):
    with pytest.raises(ShapeError, match=message):
        net.init(KEY, in_shape)


def test_what_is_called_with_something_else_says_so():
    net = parallel(Dense(2), Dense(2))
    _, params, _ = net.init(KEY, ((3,), (3,)))
    x = rows(2, 3, dtype="float32")
    for call in (net.apply, net.vjp):
        with pytest.raises(ShapeError, match=r"^parallel .*2 arrays, one for each layer, got 3"):
            call(params, {}, (x, x, x))
        with pytest.raises(ShapeError, match=r"^parallel .*2 arrays, .* got one of \(2, 3\)"):
            call(params, {}, x)
        with pytest.raises(ShapeError, match=r"^parallel/dense_1 .*expected last axis 3"):
            call(params, {}, (x, x[:, :2]))
        with pytest.raises(TreeError, match=r"^parallel/dense_1 .*expected params"):
            call({"dense_0": params["dense_0"]}, {}, (x, x))
        with pytest.raises(TreeError, match=r"got \['other'\] beside them"):
            call(params | {"other": {}}, {}, (x, x))
    with pytest.raises(DTypeError, match=r"^fan_in .*expected float32 as part 0, got float64"):
        fan_in("sum").apply({}, {}, (x, x.astype("float64")))
    with pytest.raises(DTypeError, match=r"^fan_in .*takes integers"):
        fan_in("sum").apply({}, {}, (x, np.ones((2, 3), "int64")))
