"""Layers whose values or gradients are wrong in a known way: each is caught, and by the right law."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

import fnn
from fnn import Key, Traits, tree
from fnn.layers import BatchNorm, Dense, Dropout, Relu, Softmax, Tanh
from fnn.testing import LawError, check_layer
from fnn.tree import Tree


def report_of(layer, in_shape=(4,), **options):
    with pytest.raises(LawError) as caught:
        check_layer(layer, in_shape, **options)
    return caught.value.report


def changed(layer, *, grads=None, y=None, state=None, in_vjp_only=False, **traits):
    """Return the layer with what its pullback, or its calls, return changed by functions."""

    def forward(value, new, old, train):
        value = value if y is None else y(value, train)
        return value, new if state is None else state(new, old, train)

    def apply(params, old, x, *, train=False, key=None):
        value, new = layer.apply(params, old, x, train=train, key=key)
        return (value, new) if in_vjp_only else forward(value, new, old, train)

    def vjp(params, old, x, *, train=False, key=None):
        value, new, back = layer.vjp(params, old, x, train=train, key=key)

        def pullback(dy, *, need_dx=True):
            dparams, dx = back(dy)
            if grads is not None:
                dparams, dx = grads(dict(dparams), dx, dy, x, train)
            return Tree(dparams), dx if need_dx else None

        return *forward(value, new, old, train), pullback

    return attrs.evolve(layer, apply=apply, vjp=vjp, traits=attrs.evolve(layer.traits, **traits))


def dense(change):
    return changed(Dense(4), grads=lambda d, dx, dy, x, train: (d | change(d, dy, x, train), dx))


def dx_of(layer, change):
    return changed(layer, grads=lambda d, dx, dy, x, train: (d, change(dx, dy, x, train)))


WRONG = {
    "sign of dw": (dense(lambda d, dy, x, train: {"w": -d["w"]}), "adjoint", "dparams/w"),
    "factor of dw": (dense(lambda d, dy, x, train: {"w": 1.001 * d["w"]}), "adjoint", "dparams/w"),
    "no bias gradient": (dense(lambda d, dy, x, train: {"b": 0 * d["b"]}), "adjoint", "dparams/b"),
    "mean, not sum": (dense(lambda d, dy, x, train: {"b": dy.mean(axis=0)}), "adjoint", "dparams/b"),
    "transposed dw": (dense(lambda d, dy, x, train: {"w": d["w"].T}), "adjoint", "dparams/w"),
    "halves of dw swapped": (
        dense(lambda d, dy, x, train: {"w": np.roll(d["w"], 2, axis=1)}), "adjoint", "dparams/w",
    ),
    "the last example left out": (
        dense(lambda d, dy, x, train: {"w": x[:-1].T @ dy[:-1]}), "adjoint", "dparams/w",
    ),
    "right for one example only": (
        dense(lambda d, dy, x, train: {"w": np.outer(x[0], dy.sum(axis=0))}), "adjoint", "dparams/w",
    ),
    "one wrong entry": (
        dense(lambda d, dy, x, train: {"b": d["b"] + 1e-6 * np.eye(4)[2] * d["b"]}),
        "entries", "dparams/b",
    ),
    "gradient in training only": (
        dense(lambda d, dy, x, train: {"w": d["w"] if train else 0 * d["w"]}), "adjoint", "dparams/w",
    ),
    "dx with a sign": (dx_of(Dense(4), lambda dx, dy, x, train: -dx), "adjoint", "dx"),
    "dx shifted by one": (
        dx_of(Tanh(), lambda dx, dy, x, train: np.roll(dx, 1, axis=-1)),
        "adjoint", "dx",
    ),
    "softmax skipped": (dx_of(Softmax(), lambda dx, dy, x, train: dy), "adjoint", "dx"),
    "softmax without its sum": (
        dx_of(Softmax(), lambda dx, dy, x, train: dx + dy.sum(axis=-1, keepdims=True) * 0.25),
        "adjoint", "dx",
    ),
    "residual without its shortcut": (
        dx_of(fnn.residual(Dense(4)), lambda dx, dy, x, train: dx - dy), "adjoint", "dx",
    ),
    "dropout backward without its mask": (
        dx_of(Dropout(0.5), lambda dx, dy, x, train: dy), "adjoint", "dx",
    ),
    "dropout backward unscaled": (
        dx_of(Dropout(0.5), lambda dx, dy, x, train: dx / 2 if train else dx), "adjoint", "dx",
    ),
    "batch norm as if its moments were constants": (
        dx_of(BatchNorm(), lambda dx, dy, x, train: dy / np.sqrt(x.var(axis=0)) if train else dx),
        "adjoint", "dx",
    ),
    "dx divided by the batch": (dx_of(Tanh(), lambda dx, dy, x, train: dx / len(x)), "adjoint", "dx"),
    "dy squared": (dx_of(Tanh(), lambda dx, dy, x, train: dx * dy), "pullback_linear", "dx"),
    "dx of dy clipped": (
        dx_of(Tanh(), lambda dx, dy, x, train: dx.clip(-0.1, 0.1)),
        "pullback_linear", "dx",
    ),
    "never quite zero": (dx_of(Tanh(), lambda dx, dy, x, train: dx + 1e-9), "pullback_linear", "dx"),
    "float64 leak in dw": (
        dense(lambda d, dy, x, train: {"w": d["w"].astype("D" if dy.dtype.kind == "c" else "d")}),
        "dtype", "dparams/w",
    ),
    "float64 leak in y": (changed(Tanh(), y=lambda y, train: y * np.float64(1)), "dtype", "y"),
    "the vjp's y in another last bit": (
        changed(Dense(4), y=lambda y, train: np.nextafter(y.real, 9) + 0 * y, in_vjp_only=True),
        "apply_is_vjp", "y",
    ),
    "the vjp's y in evaluation mode": (
        changed(Dropout(0.5), y=lambda y, train: y * 1.5 if train else y, in_vjp_only=True),
        "apply_is_vjp", "y",
    ),
    "a leaf of dparams left out": (
        changed(Dense(4), grads=lambda d, dx, dy, x, train: ({"w": d["w"]}, dx)), "shapes", "dparams",
    ),
    "a leaf of dparams too many": (
        changed(Dense(4), grads=lambda d, dx, dy, x, train: (d | {"c": d["b"]}, dx)),
        "shapes", "dparams",
    ),
    "dparams of another shape": (
        dense(lambda d, dy, x, train: {"b": d["b"][None]}),
        "shapes", "dparams/b",
    ),
    "the batch's mean mixed in": (
        changed(Tanh(), y=lambda y, train: y + 1e-6 * y.mean(axis=0)), "batch_independent", "y",
    ),
    "mixing declared, none done": (changed(Tanh(), mixes_batch=True), "batch_independent", "y"),
    "a kink not declared": (changed(Relu(), has_kinks=False), "kinks", "y"),
    "a jump not declared": (
        changed(Tanh(), y=lambda y, train: y + (y.real > 0.5).astype(y.real.dtype)), "kinks", "y",
    ),
    "stochastic declared, nothing drawn": (
        changed(Tanh(), y=lambda y, train: y * 2 if train else y, stochastic=True), "stochastic", "y",
    ),
    "draws not declared": (changed(Dropout(0.5), stochastic=False), "stochastic", ""),
    "not finite": (changed(Tanh(), y=lambda y, train: y / 0), "finite", "y"),
    "state moved in evaluation": (
        changed(BatchNorm(), state=lambda new, old, train: tree.map(lambda a: a * 0.9, new)),
        "state", "state/mean",
    ),
    "stale state": (
        changed(BatchNorm(), state=lambda new, old, train: old),
        "state", "state/mean, state/var",
    ),
    "one stale leaf of the state": (
        changed(BatchNorm(), state=lambda new, old, train: new | {"var": old["var"]}),
        "state", "state/var",
    ),
    "state that forgets a leaf": (
        changed(BatchNorm(), state=lambda new, old, train: {"mean": new["mean"]}), "state", "state",
    ),
    "state in float64": (
        changed(BatchNorm(), state=lambda new, old, train: tree.cast(new, "float64")),
        "dtype", "state/mean",
    ),
    "state moved by the vjp alone": (
        changed(
            BatchNorm(), in_vjp_only=True,
            state=lambda new, old, train: tree.map(lambda a: a * 1.01, new) if train else new,
        ),
        "state", "state/mean",
    ),
}  # fmt: skip


def test_there_are_many_kinds_of_wrong_layers():
    assert len(WRONG) >= 40


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_layers_are_caught_and_named_by_the_right_law(kind):
    layer, law, leaf = WRONG[kind]
    report = report_of(layer)
    assert law in report.broken
    # Asked for that law alone it is found too, at the leaf that is wrong.
    alone = report_of(layer, laws=law)
    named = {(each.law, each.leaf) for each in alone.violations}
    assert (law, leaf) in named or not leaf


@pytest.mark.parametrize("kind", [kind for kind in WRONG if WRONG[kind][1] in ("adjoint", "entries")])
def test_float32_layers_are_caught_too(kind):
    layer, law, _ = WRONG[kind]
    if kind != "one wrong entry":  # A millionth is below what float32 holds.
        assert law in report_of(layer, dtype="float32", laws=law).broken


# --- defects of whole layers ----------------------------------------------------------------


def one_pass_norm():
    """Batch normalisation whose variance is E[x²] - E[x]²; right on paper and near 0."""

    def init(key, in_shape):
        return in_shape, {}, {}

    def fwd(params, state, x, train, key):
        n = len(x)
        mean = x.mean(axis=0)
        inv = 1 / np.sqrt((x * x).mean(axis=0) - mean * mean + 1e-5)
        z = (x - mean) * inv

        def pullback(dy):
            return {}, inv * (dy - dy.sum(axis=0) / n - z * (dy * z).sum(axis=0) / n)

        return z, state, pullback

    return fnn.make_layer("one_pass", init, fwd, traits=Traits(mixes_batch=True))


def test_a_variance_in_one_pass_is_caught_where_the_mean_is_large():
    report = report_of(one_pass_norm(), train=True)
    assert report.broken == ("finite",)
    assert "loses digits" in report.violations[0].message


def gated(*, swapped):
    """A cell y = σ(x u) tanh(x v) whose two weights live in one array, as in an LSTM."""

    def init(key, in_shape):
        n = in_shape[0]
        return (n,), {"uv": key.generator().normal(size=(n, 2 * n)).astype("float32")}, {}

    def fwd(params, state, x, train, key):
        n = x.shape[1]
        u, v = params["uv"][:, :n], params["uv"][:, n:]
        gate, value = 1 / (1 + np.exp(-x @ u)), np.tanh(x @ v)

        def pullback(dy):
            du, dv = dy * value * gate * (1 - gate), dy * gate * (1 - value * value)
            halves = (x.T @ dv, x.T @ du) if swapped else (x.T @ du, x.T @ dv)
            return {"uv": np.concatenate(halves, axis=1)}, du @ u.T + dv @ v.T

        return gate * value, state, pullback

    return fnn.make_layer("gated", init, fwd)


def test_gradients_split_otherwise_than_the_parameters_are_caught():
    check_layer(gated(swapped=False), (3,))
    report = report_of(gated(swapped=True), (3,))
    assert {each.leaf for each in report.violations} == {"dparams/uv"}


def masked_by(key_of):
    def vjp(params, state, x, *, train=False, key=None):
        y, new, back = right.vjp(params, state, x, train=train, key=key)
        if train:
            _, _, back = right.vjp(params, state, x, train=train, key=key_of(key))
        return y, new, back

    right = Dropout(0.5)
    return attrs.evolve(right, vjp=vjp)


def test_a_mask_from_another_key_is_caught():
    check_layer(masked_by(lambda key: key), (4,))
    report = report_of(masked_by(lambda key: key.fold("again")))
    assert report.violations[0].law == "adjoint"
    assert {each.mode for each in report.violations} == {"train"}


def test_a_dropped_cross_term_is_caught():
    def init(key, in_shape):
        return in_shape, {"a": np.ones(in_shape, "float32"), "b": np.ones(in_shape, "float32")}, {}

    def fwd(params, state, x, train, key):
        a, b = params["a"], params["b"]

        def pullback(dy):  # da lacks the term of a · a.
            return {"a": (dy * b * x).sum(axis=0), "b": (dy * a * x).sum(axis=0)}, dy * (a * b + a * a)

        return a * b * x + a * a * x, state, pullback

    report = report_of(fnn.make_layer("cross", init, fwd), (3,))
    assert {each.leaf for each in report.violations} == {"dparams/a"}
    assert report.broken == ("adjoint", "entries")


def test_absolute_values_are_not_complex_safe():
    wrong = fnn.elementwise("absolute", np.abs, lambda x, y, dy: dy * np.sign(x.real), has_kinks=True)
    report = report_of(wrong)
    assert "complex_safe" in report.broken
    assert not {"adjoint", "entries"} & set(report.broken)  # The gradient is right, by differences.
    assert any("declared complex-safe but is not" in note for note in report.notes)


# --- where, and how small -------------------------------------------------------------------


def wrong_dense(width):
    return changed(Dense(width), grads=lambda d, dx, dy, x, train: (d | {"w": d["w"] * 1.001}, dx))


def test_the_deepest_child_that_is_wrong_by_itself_is_named():
    net = fnn.serial(Dense(4), fnn.residual(Dense(4), wrong_dense(4), Tanh()), Dense(2))
    report = report_of(net, (3,))
    assert {each.path for each in report.violations} == {"serial/residual_0/dense_1"}
    assert {each.leaf for each in report.violations} == {"dparams/w"}


def test_a_wrong_shortcut_is_named_by_its_own_shape():
    net = fnn.named("block", fnn.residual(Dense(2), shortcut=wrong_dense(2)))
    assert {each.path for each in report_of(net, (5,)).violations} == {"block/shortcut"}


def test_a_composition_that_is_wrong_itself_is_named_itself():
    net = fnn.serial(Dense(4), dx_of(fnn.residual(Dense(4)), lambda dx, dy, x, train: dx - dy))
    assert {each.path for each in report_of(net, (3,)).violations} == {"serial/residual_0"}


def test_the_smallest_shape_that_shows_it_is_found():
    report = report_of(wrong_dense(4), (6,))
    assert {each.shape for each in report.violations} == {(1, 1)}
    # A transposed factor needs a square: a batch of one, and two features.
    wrong = dx_of(Tanh(), lambda dx, dy, x, train: np.roll(dx, 1, axis=-1))
    assert {each.shape for each in report_of(wrong, (5,), laws="adjoint").violations} == {(1, 2)}
    wrong = dx_of(Tanh(), lambda dx, dy, x, train: np.roll(dx, 1, axis=0))
    assert {each.shape for each in report_of(wrong, (5,), laws="adjoint").violations} == {(2, 1)}


def test_the_message_tells_all_there_is_to_know():
    text = str(report_of(wrong_dense(4), (3,), train=False, laws="adjoint"))
    assert "breaks 1 of 1 laws (1 findings):" in text
    assert "adjoint: dense [eval]: ⟨J* dy, v⟩ is not ⟨dy, J v⟩ along 'dparams/w'" in text
    for part in ("at dparams/w[", "got ", "want ", "seed 0", "smallest input (1, 1)"):
        assert part in text


# --- names ----------------------------------------------------------------------------------


def by_place(*layers):
    """A chain that numbers its children, so that one put in renames the others."""
    chain = fnn.serial(*(fnn.named(f"layer_{i}", layer) for i, layer in enumerate(layers)))
    recipe = fnn.recipe.Recipe(by_place, layers)
    return attrs.evolve(chain, name="by_place", recipe=recipe)


def test_children_numbered_by_place_are_caught():
    report = report_of(by_place(Dense(2), Tanh(), Dense(2)), (3,))
    assert report.broken == ("insertion_stable",)
    assert "put in at 0" in report.violations[0].message


def test_one_key_for_two_draws_is_caught():
    def init(key, in_shape):
        draws = [key.generator().normal(size=(3, n)).astype("float32") for n in (3, 2)]
        return (5,), {"a": draws[0], "b": draws[1]}, {}

    def fwd(params, state, x, train, key):
        a, b = params["a"], params["b"]

        def pullback(dy):
            da, db = dy[:, :3], dy[:, 3:]
            return {"a": x.T @ da, "b": x.T @ db}, da @ a.T + db @ b.T

        return np.concatenate([x @ a, x @ b], axis=1), state, pullback

    report = report_of(fnn.make_layer("twins", init, fwd), (3,), laws="insertion_stable")
    assert "one key" in report.violations[0].message


def test_an_init_that_remembers_is_caught():
    calls = []

    def init(key, in_shape):
        calls.append(in_shape)
        shape, params, state = right.init(key.fold(len(calls)), in_shape)
        return shape, params, state

    right = Dense(2)
    report = report_of(attrs.evolve(right, init=init), (3,), laws="insertion_stable")
    assert "init with equal key and in_shape gives other bits" in report.violations[0].message


def test_a_layer_checked_at_one_seed_is_wrong_at_others():
    for seed in range(3):
        assert report_of(wrong_dense(3), (3,), key=Key.of(seed)).violations
