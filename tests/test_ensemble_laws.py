"""An ensemble is a layer: it obeys the laws, and says what it cannot take."""

import attrs
import numpy as np
import pytest

import fnn
from fnn import Key, tree
from fnn.ensemble import (
    Keys,
    diverging,
    member_metrics,
    over_members,
    per_member,
    stack,
    stacked,
    unstack,
)
from fnn.errors import DTypeError, FnnError, OptionError, ShapeError, TreeError
from fnn.testing import check_layer, check_loss, check_train_step, check_vjp

MIXED = fnn.serial(
    fnn.Dense(4),
    fnn.Sigmoid(),
    fnn.residual(fnn.Dense(3, bias=False), fnn.Tanh(), shortcut=fnn.Dense(3)),
    fnn.Softmax(),
)


def with_split_keys(many, n):
    """Return the ensemble as a layer of single keys, which the laws hand it."""

    def keys(key):
        return key and Keys(key.split(n))

    def apply(params, state, x, *, train=False, key=None):
        return many.apply(params, state, x, train=train, key=keys(key))

    def vjp(params, state, x, *, train=False, key=None):
        return many.vjp(params, state, x, train=train, key=keys(key))

    return attrs.evolve(many, apply=apply, vjp=vjp)


@pytest.mark.parametrize(
    ("net", "in_shape"),
    [
        (fnn.Dense(3), (2,)),
        (fnn.serial(fnn.Dense(2, bias=False), fnn.Relu()), (2, 3)),
        (MIXED, (3,)),
        (fnn.residual(fnn.Tanh()), (3,)),
        (fnn.serial(fnn.MaxPool(2), fnn.Flatten(), fnn.Dense(2)), (1, 4, 4)),
        (fnn.serial(fnn.Dropout(0.4), fnn.Dense(3), fnn.Dropout(0.3)), (4,)),
    ],
    ids=str,
)
@pytest.mark.parametrize("shared", [True, False])
def test_an_ensemble_obeys_the_laws_of_layers(net, in_shape, shared):
    many = with_split_keys(stacked(net, 3, shared=shared), 3)
    assert check_layer(many, in_shape if shared else (3, *in_shape)) is not None


@pytest.mark.parametrize("loss", [fnn.half_squared_error, fnn.squared_error], ids=lambda f: f.__name__)
def test_the_gradient_of_a_loss_over_members_is_its_own(loss):
    rng = np.random.default_rng(0)
    pred, target = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 2))
    over = over_members(loss)
    value, dpred = over(pred, target)
    for at in np.ndindex(pred.shape):
        bent = pred.astype(complex)
        bent[at] += 1e-30j
        assert over(bent, target)[0].imag / 1e-30 == pytest.approx(dpred[at], rel=1e-12)
    assert over(pred, target)[0] == value


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("loss", ["half_squared_error", "squared_error", "softmax_cross_entropy"])
def test_a_loss_over_members_obeys_the_laws_of_losses(loss, shared):
    def draw(rng, dtype):
        pred = rng.normal(size=(5, 3, 2)).astype(dtype)
        if loss == "softmax_cross_entropy":
            return pred, rng.integers(0, 2, (5,) if shared else (5, 3))
        return pred, rng.normal(size=(5, 2) if shared else (5, 3, 2))

    over = over_members(getattr(fnn, loss), shared=shared)
    # What members weigh apart is no weight per example, which is what the other laws are about.
    whole = over if shared else lambda pred, target: over(pred, target)
    assert check_loss(whole, draw) is not None


def test_the_gradient_of_a_whole_ensemble_is_right_in_its_parameters():
    many, over = stacked(MIXED, 3), over_members(fnn.squared_error)
    _, params, _ = many.init(Keys.of(range(3)), (2,))
    params = tree.cast(params, "float64")
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(4, 2)), rng.random((4, 3))

    def fn(params, x):
        y, _, pullback = many.vjp(params, {}, x)
        value, dy = over(y, target)
        return np.array(value), lambda scale: pullback(dy * scale)

    assert check_vjp(fn, (params, x)) is not None


@pytest.mark.parametrize("optimizer", [fnn.adam(0.01), per_member(fnn.momentum(0.1), 3)], ids=str)
def test_the_step_of_an_ensemble_obeys_the_laws_of_steps(optimizer):
    many = stacked(fnn.serial(fnn.Dense(4), fnn.Tanh(), fnn.Dense(1)), 3)
    step = fnn.train_step(many, over_members(fnn.squared_error), optimizer)
    rng = np.random.default_rng(0)
    data = [(rng.normal(size=(6, 2)).astype("float32"), rng.random((6, 1))) for _ in range(3)]
    for key in (Key.of(0), Keys.of((0, 1, 2))):
        now = fnn.init_train_state(many, optimizer, (2,), key)
        assert check_train_step(step, now, data) is not None


# --- messages

DENSE = fnn.serial(fnn.Dense(2))


def refusal(kind, call):
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, FnnError)
    return str(caught.value)


# Layers that know of no members run for one after the other.
SCALED = fnn.make_layer(
    "scaled",
    lambda key, shape: (shape, {"w": key.generator().normal(size=shape).astype("float32")}, {}),
    lambda params, state, x, train, key: (
        x * params["w"], state, lambda dy: ({"w": (dy * x).sum(axis=0)}, dy * params["w"])
    ),
)  # fmt: skip
ALONE = [
    (fnn.serial(fnn.Conv(2, 2), fnn.BatchNorm(), fnn.Relu(), fnn.Flatten(), fnn.Dense(2)), (1, 4, 4)),
    (fnn.serial(fnn.Dense(3), SCALED, fnn.Tanh(), fnn.residual(SCALED, fnn.Dense(3))), (2,)),
    (fnn.serial(fnn.Dense(2), stacked(fnn.Dense(2), 2)), (3,)),
    (fnn.frozen(fnn.serial(SCALED, fnn.Dense(2))), (3,)),
]


@pytest.mark.parametrize(("net", "in_shape"), ALONE, ids=str)
@pytest.mark.parametrize("shared", [True, False])
def test_members_of_layers_that_know_of_none_obey_the_laws(net, in_shape, shared):
    many = with_split_keys(stacked(net, 3, shared=shared), 3)
    assert check_layer(many, in_shape if shared else (3, *in_shape)) is not None


@pytest.mark.parametrize(("net", "in_shape"), ALONE, ids=str)
def test_each_member_of_layers_that_know_of_none_has_the_bits_of_its_own_run(net, in_shape):
    keys = Keys.of(range(3))
    data = fnn.Dataset(
        np.random.default_rng(0).normal(size=(8, *in_shape)).astype("float32"), np.arange(8) % 2
    )
    loss, optimizer = fnn.softmax_cross_entropy, fnn.adam(0.01)
    if net.apply(*net.init(Key.of(0), in_shape)[1:], data.x)[0].ndim > 2:
        data, loss = fnn.Dataset(data.x, np.zeros((8, 2, 2), "float32")), fnn.squared_error
    many = stacked(net, 3)
    step = fnn.train_step(many, over_members(loss), optimizer)
    alone = fnn.train_step(net, loss, optimizer)
    now = fnn.init_train_state(many, optimizer, in_shape, keys)
    batches = [(data.x[i : i + 4], data.y[i : i + 4]) for i in (0, 4)]
    last, _ = fnn.scan(step, now, batches)
    for i, key in enumerate(keys.members):
        own, _ = fnn.scan(alone, fnn.init_train_state(net, optimizer, in_shape, key), batches)
        assert tree.digest(unstack(last.params, i)) == tree.digest(own.params)
        assert tree.digest(unstack(last.state, i)) == tree.digest(own.state)


@pytest.mark.parametrize(
    ("kind", "call", "says"),
    [
        (OptionError, lambda: stacked(fnn.Relu, 3), "stacked: net: expected a Layer, got <function"),
        (OptionError, lambda: stacked(DENSE, 0), "stacked: n: expected 1 or more, got 0"),
        (OptionError, lambda: Keys([]), "Keys: expected one Key per member, got ()"),
        (OptionError, lambda: Keys([1]), "Keys: expected one Key per member, got (1,)"),
        (OptionError, lambda: stack([]), "stack: expected one member or more, got none"),
        (
            TreeError,
            lambda: stack([{"a": np.ones(2)}, {"b": np.ones(2)}]),
            "expected ['a'], got ['b']",
        ),
        (
            ShapeError,
            lambda: stack([{"a": np.ones(2)}, {"a": np.ones(3)}]),
            "a: expected (2,), got (3,)",
        ),
        (
            OptionError,
            lambda: unstack({"a": np.ones((2, 3))}, 2),
            "unstack: expected a member in [0, 2), got 2",
        ),
        (OptionError, lambda: unstack({}, -1), "unstack: i: expected 0 or more, got -1"),
        (OptionError, lambda: over_members("mse"), "over_members: loss: expected a function"),
        (OptionError, lambda: member_metrics("acc", 2), "member_metrics: metric: expected a function"),
        (OptionError, lambda: per_member(fnn.sgd, 2), "per_member: optimizer: expected a Transform"),
        (
            ShapeError,
            lambda: over_members(fnn.squared_error)(np.ones(3), np.ones(3)),
            "over_members(squared_error): expected pred of shape (batch, members, ...), got (3,)",
        ),
        (
            ShapeError,
            lambda: over_members(fnn.half_squared_error)(np.ones((3, 2, 1)), np.ones(3)),
            "half_squared_error: expected target of shape (3, 1), got (3,)",
        ),
        (
            OptionError,
            lambda: diverging(fnn.train_step(DENSE, fnn.squared_error, fnn.sgd(1)), None, ()),
            "diverging: step: expected the train_step of a stacked network and an over_members loss",
        ),
    ],
)
def test_wrong_arguments_are_named(kind, call, says):
    assert says in refusal(kind, call)


def test_arrays_that_do_not_fit_the_members_are_named():
    many, own = stacked(DENSE, 3), stacked(DENSE, 3, shared=False)
    _, params, _ = many.init(Key.of(0), (4,))
    x = np.ones((5, 4), "float32")
    path = "stacked/dense_0"
    assert f"{path} (test_ensemble_laws.py" in refusal(
        ShapeError, lambda: many.apply(params, {}, x[:, :3])
    )
    said = refusal(ShapeError, lambda: stacked(DENSE, 2).apply(params, {}, x))
    assert said.endswith("expected w of shape (2, 4, 2), got (3, 4, 2)")
    assert "expected float32" in refusal(
        DTypeError, lambda: many.apply(params, {}, x.astype("float64"))
    )
    said = refusal(ShapeError, lambda: own.apply(params, {}, x[:, None]))
    assert said.endswith("expected one example for each of 3 members on axis 1, got (5, 1, 4)")
    said = refusal(ShapeError, lambda: own.init(Key.of(0), (4,)))
    assert said.endswith("expected examples (3, ...), one for each member, got (4,)")
    said = refusal(OptionError, lambda: many.init(Keys.of(range(2)), (4,)))
    assert said.endswith("key: expected the keys of 3 members, got those of 2")
    with pytest.raises(TypeError, match="expected one integer per member, got 3"):
        Keys.of(3)


def test_a_network_that_draws_trains_with_a_key_of_each_member_only():
    many = stacked(fnn.serial(fnn.Dense(2), fnn.Dropout(0.5)), 3)
    step = fnn.train_step(many, over_members(fnn.squared_error), fnn.sgd(0.1))
    now = fnn.init_train_state(many, fnn.sgd(0.1), (4,), Keys.of(range(3)))
    data = np.ones((5, 4), "float32"), np.ones((5, 2))
    assert step(now, data)[0].step == 1
    lost = attrs.evolve(now, key=Key(now.key.bits))
    said = refusal(OptionError, lambda: step(lost, data))
    assert "key: expected Keys, one for each of 3 members, got Key(" in said
    said = refusal(OptionError, lambda: many.apply(now.params, {}, data[0], train=True))
    assert "expected a key when train=True" in said


def test_targets_that_are_not_of_each_member_are_named():
    over = over_members(fnn.squared_error, shared=False)
    said = refusal(ShapeError, lambda: over(np.ones((4, 3)), np.ones((4, 1))))
    expected = "expected targets and weights of 3 members on axis 1, got (4, 1)"
    assert said == f"over_members(squared_error): {expected}"


def test_states_that_are_no_ensemble_are_named():
    states = [fnn.init_train_state(DENSE, fnn.sgd(0.1), (4,), Key.of(seed)) for seed in range(2)]
    step = fnn.train_step(DENSE, fnn.squared_error, fnn.sgd(0.1))
    moved, _ = step(states[1], (np.ones((5, 4), "float32"), np.ones((5, 2))))
    said = refusal(OptionError, lambda: stack([states[0], moved]))
    assert said == "stack: expected members after equally many steps, got [0, 1]"
    said = refusal(OptionError, lambda: unstack(states[0], 0))
    assert "unstack: expected a state whose key is Keys, one per member, got Key(" in said
    said = refusal(OptionError, lambda: unstack(stack(states), 2))
    assert said == "unstack: expected a member in [0, 2), got 2"
