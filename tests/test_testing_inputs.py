"""The laws of layers that take tuples and integers, drawn by whoever knows what they mean."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from value_cases import Embedding, Join, Two

import fnn
from fnn import Key, OptionError, Traits, tree
from fnn.layers import Dense, Tanh
from fnn.testing import (
    ALL,
    LawError,
    check_adjoint,
    check_entries,
    check_layer,
    mutants,
    mutation_score,
)

STEPS = 3
INTEGERS = Traits(takes_integers=True)


def own(name, forward, init=None, traits=INTEGERS):
    """Make a layer of x to (y, pullback), without parameters unless `init` has some."""

    def stateless(key, in_shape):
        return init(in_shape), {}, {}

    def fwd(params, state, x, train, key):
        y, back = forward(x)
        return y, state, lambda dy: ({}, back(dy))

    return fnn.make_layer(name, stateless, fwd, traits=traits)


def masked_mean(of=lambda dx: dx, none=None):
    """Average the steps of each sequence up to its length."""

    def forward(x):
        rows, lengths = x
        mask = (np.arange(rows.shape[1]) < lengths[:, None]).astype(rows.real.dtype)[..., None]
        count = lengths[:, None].astype(rows.real.dtype)

        def back(dy):
            return (of((dy / count)[:, None] * mask), none)

        return (rows * mask).sum(axis=1) / count, back

    return own("masked_mean", forward, lambda s: s[0][1:])


def halves():
    """Cut the features in two: y is a tuple."""

    def forward(x):
        n = x.shape[1] // 2
        return (np.tanh(x[:, :n]), 2 * x[:, n:]), lambda dy: np.concatenate(
            [dy[0] * (1 - np.tanh(x[:, :n]) ** 2), 2 * dy[1]], axis=1
        )

    return own("halves", forward, lambda s: ((s[0] // 2,), (s[0] - s[0] // 2,)), Traits())


def product():
    """Multiply two inputs, entry by entry."""

    def forward(x):
        a, b = x
        return a * b, lambda dy: (dy * b, dy * a)

    return own("product", forward, lambda s: s[0], Traits())


def shifted(width=2):
    """Embed tokens and hand their lengths on, y = (rows, lengths)."""
    embedding = Embedding(7, width)

    def init(key, in_shape):
        shape, params, state = embedding.init(key, in_shape[0])
        return (shape, in_shape[1]), params, state

    def fwd(params, state, x, train, key):
        y, new, back = embedding.vjp(params, state, x[0])

        def pullback(dy):
            assert dy[1] is None
            return back(dy[0])[0], (None, None)

        return (y, x[1]), new, pullback

    return fnn.make_layer("shifted", init, fwd, traits=INTEGERS)


def tokens(key, n):
    return key.fold("tokens").generator().integers(0, 7, (n, STEPS))


def lengths(key, n):
    return key.fold("lengths").generator().integers(1, STEPS + 1, n)


def vector(key, n, width=4):
    return key.fold("vector").generator().normal(size=(n, width))


def rows(key, n):
    return key.fold("rows").generator().normal(size=(n, STEPS, 2))


RIGHT = {
    "an embedding": (Embedding(7, 2), (STEPS,), tokens),
    "tokens and a vector": (Two(3), ((STEPS,), (4,)), lambda k, n: (tokens(k, n), vector(k, n))),
    "rows and lengths": (masked_mean(), ((STEPS, 2), ()), lambda k, n: (rows(k, n), lengths(k, n))),
    "a tuple out": (halves(), (4,), vector),
    "two vectors": (product(), ((4,), (4,)), lambda k, n: (vector(k, n), vector(k.fold("b"), n))),
    "lengths handed on": (shifted(), ((STEPS,), ()), lambda k, n: (tokens(k, n), lengths(k, n))),
    "three inputs, two outputs": (
        Join(),
        ((STEPS, 2), (4,), ()),
        lambda k, n: (rows(k, n), vector(k, n), lengths(k, n)),
    ),
    "a chain on tokens": (
        fnn.serial(Embedding(7, 2), fnn.Flatten(), Dense(3), Tanh(), fnn.Dropout(0.3), Dense(2)),
        (STEPS,),
        tokens,
    ),
    "a chain on tokens and lengths": (
        fnn.serial(shifted(), masked_mean(), Dense(2), fnn.BatchNorm()),
        ((STEPS,), ()),
        lambda k, n: (tokens(k, n), lengths(k, n)),
    ),
    "a chain through tuples": (fnn.serial(Dense(4), halves(), product(), Dense(2)), (3,), None),
    "a shortcut on tokens": (
        fnn.residual(
            fnn.serial(Embedding(7, 2), fnn.Flatten(), Dense(3)),
            shortcut=fnn.serial(Embedding(7, 1), fnn.Flatten()),
        ),
        (STEPS,),
        tokens,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_layers_of_tuples_and_integers_obey_all_fifteen_laws(name, dtype):
    layer, in_shape, inputs = RIGHT[name]
    report = check_layer(layer, in_shape, dtype=dtype, inputs=inputs)
    assert report.laws == ALL
    assert len(ALL) >= 15


def test_tuples_of_floats_need_no_draw_of_their_own():
    check_layer(product(), ((4,), (4,)))
    check_layer(Two(3), ((STEPS,), (4,)), inputs=RIGHT["tokens and a vector"][2])


def test_draws_are_used_by_all_laws_and_get_keys_and_counts():
    seen = []

    def inputs(key, n):
        assert isinstance(key, Key)
        seen.append((key.bits, n))
        return tokens(key, n)

    check_layer(Embedding(7, 2), (STEPS,), inputs=inputs)
    assert len({bits for bits, _ in seen}) > 2  # Others in the batch, other arguments.
    assert {n for _, n in seen} == {8}  # More than of numbers: few tokens are soon the same.
    check_adjoint(Embedding(7, 2), (STEPS,), inputs=inputs)


# --- wrong ones ---------------------------------------------------------------------------------


def wrong_embedding(change):
    """Return an embedding whose gradient is `change`(params, x, dy)."""

    def fwd(params, state, x, train, key):
        return params["rows"][x], state, lambda dy: (change(params, x, dy), None)

    return fnn.make_layer("embedding", Embedding(7, 2).init, fwd, traits=INTEGERS)


def summed_at(params, x, dy, add):
    drows = np.zeros_like(params["rows"], dy.dtype)
    add(drows, x, dy)
    return {"rows": drows}


def overwriting(drows, x, dy):
    drows[x] = dy


def one_token_off(drows, x, dy):
    np.add.at(drows, (x + 1) % 7, dy)


@pytest.mark.parametrize("add", [overwriting, one_token_off])
@pytest.mark.parametrize("law", ["adjoint", "entries"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_wrong_gradients_of_tables_are_refused(add, law, dtype):
    wrong = wrong_embedding(lambda params, x, dy: summed_at(params, x, dy, add))
    with pytest.raises(LawError, match=f"{law}.*dparams/rows"):
        check_layer(wrong, (STEPS,), inputs=tokens, laws=law, dtype=dtype)


def test_a_wrong_gradient_beside_integers_is_refused():
    draw = RIGHT["rows and lengths"][2]
    for law in ("adjoint", "entries"):
        wrong = masked_mean(of=lambda dx: dx * 1.001)
        with pytest.raises(LawError, match=f"{law}.*dx/0"):
            check_layer(wrong, ((STEPS, 2), ()), inputs=draw, laws=law)


def test_what_should_be_none_is_told_so():
    def forward(x):
        rows, lengths = x
        return rows * 1.0, lambda dy: (dy, np.zeros(len(lengths)))

    bare = fnn.Layer(
        "bare",
        lambda key, s: (s[0], {}, {}),
        lambda p, s, x, *, train=False, key=None: (forward(x)[0], s),
        lambda p, s, x, *, train=False, key=None: (
            forward(x)[0],
            s,
            lambda dy, *, need_dx=True: ({}, forward(x)[1](dy) if need_dx else None),
        ),
        traits=INTEGERS,
    )
    with pytest.raises(LawError, match="integers have no derivative: expected None in their place"):
        check_layer(bare, ((STEPS, 2), ()), inputs=RIGHT["rows and lengths"][2], laws="shapes")


def test_a_tuple_that_is_not_the_one_announced_is_told():
    def wrong_shape(s):
        return ((s[0] // 2,), (s[0],))

    wrong = attrs.evolve(halves(), init=lambda key, s: (wrong_shape(s), {}, {}))
    with pytest.raises(LawError, match="y has not the shape that init announced; at y/1"):
        check_layer(wrong, (4,), laws="shapes")
    wrong = attrs.evolve(halves(), init=lambda key, s: ((4,), {}, {}))
    with pytest.raises(LawError, match="y has not the shape that init announced"):
        check_layer(wrong, (4,), laws="shapes")


def test_lengths_that_other_examples_have_a_say_in_are_refused():
    def forward(x):
        rows, lengths = x
        most = lengths.max()
        mask = (np.arange(rows.shape[1]) < most).astype(rows.real.dtype)[:, None]
        return (rows * mask).sum(axis=1), lambda dy: (dy[:, None] * mask, None)

    wrong = own("longest", forward, lambda s: s[0][1:])
    with pytest.raises(LawError, match="batch_independent"):
        check_layer(wrong, ((STEPS, 2), ()), inputs=RIGHT["rows and lengths"][2])


def test_the_wrong_child_of_a_chain_on_tokens_is_named():
    wrong = wrong_embedding(lambda params, x, dy: summed_at(params, x, dy, one_token_off))
    net = fnn.serial(wrong, fnn.Flatten(), Dense(2))
    with pytest.raises(LawError) as caught:
        check_layer(net, (STEPS,), inputs=tokens, laws="adjoint", train=False)
    assert {each.path for each in caught.value.report.violations} == {"serial/embedding_0"}
    inner = masked_mean(of=lambda dx: 2 * dx)
    net = fnn.serial(shifted(), inner, Dense(2))
    with pytest.raises(LawError) as caught:
        check_layer(net, ((STEPS,), ()), inputs=RIGHT["lengths handed on"][2], laws="adjoint")
    assert {each.path for each in caught.value.report.violations} == {"serial/masked_mean_0"}


@pytest.mark.parametrize(
    "name", ["an embedding", "rows and lengths", "a tuple out", "tokens and a vector"]
)
def test_no_wrong_version_of_such_layers_passes(name):
    layer, in_shape, inputs = RIGHT[name]

    def check(wrong):
        for law in ("adjoint", *(law for law in ALL if law != "adjoint")):
            check_layer(wrong, in_shape, inputs=inputs, laws=law, shrink=False)

    score = mutation_score(layer, check, in_shape, inputs=inputs)
    assert score.survivors == ()
    assert len(score.killed) > 15


def test_mutants_of_such_layers_are_made_of_their_parts():
    inputs = RIGHT["tokens and a vector"][2]
    names = {mutant.name for mutant in mutants(Two(3), ((STEPS,), (4,)), inputs=inputs)}
    paths = [path for path, _ in tree.items(Two(3).init(Key.of(0), ((STEPS,), (4,)))[1])]
    assert {f"dparams/{path} sign" for path in paths} <= names


# --- integers without the trait, and options ----------------------------------------------------


def test_without_the_trait_integers_are_refused_as_before():
    def fwd(params, state, x, train, key):
        return x * 2.0, state, lambda dy: ({}, 2.0 * dy)

    careless = attrs.evolve(
        fnn.make_layer("careless", lambda key, s: (s, {}, {}), fwd),
        apply=lambda p, s, x, *, train=False, key=None: (x * 2.0, s),
    )
    with pytest.raises(LawError, match="integers are not refused"):
        check_layer(careless, (3,), laws="dtype")
    with pytest.raises(LawError, match=r"expected float32, float64 or their complex .* got int64"):
        check_layer(Dense(2), (STEPS,), inputs=tokens)


def test_a_layer_of_integers_without_a_draw_says_what_is_missing():
    with pytest.raises(LawError, match=r"it takes integers: draw them, inputs=lambda key, n: \.\.\."):
        check_layer(Embedding(7, 2), (STEPS,))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (3, r"inputs: expected a function \(key, n\) -> x, .*, got 3"),
        (lambda key, n: np.zeros((n + 1, 3)), r"got float64\[4, 3\] for n = 3"),
        (lambda key, n: [1, 2, 3], "got list of 3 for n = 3"),
        (lambda key, n: (), "got an empty tuple"),
        (lambda key, n: (np.zeros((n, 3)), None), "got None for n = 3"),
        (lambda key, n: np.zeros((n, 3), complex), r"got complex128\[3, 3\]"),
        (lambda key, n: np.zeros(()), r"got float64\[\] for n = 3"),
        (lambda key, n: 1 / 0, "inputs: raised ZeroDivisionError"),
        (lambda key: key, "inputs: raised TypeError"),
    ],
)
def test_draws_that_are_none_are_refused(inputs, message):
    with pytest.raises(OptionError, match=message):
        check_entries(Dense(2), (3,), inputs=inputs)


def test_drawn_arrays_are_copied_and_stay_their_owners():
    mine = np.zeros((8, STEPS), "int64")

    def inputs(key, n):
        mine[:n] = tokens(key, n)
        return mine[:n]

    check_layer(Embedding(7, 2), (STEPS,), inputs=inputs)
    assert mine.flags.writeable


def test_a_layer_that_declares_its_inputs_is_tried_on_such_wherever_it_stands():
    def shapes(in_shape):
        return (*in_shape, 2), {"w": fnn.Leaf((5, 2), fnn.layers.glorot_uniform)}, {}

    def fwd(params, state, x, train, key):
        def pullback(dy):
            dw = np.zeros(params["w"].shape, dy.dtype)
            np.add.at(dw, x, dy)
            return {"w": dw}, None

        return params["w"][x], state, pullback

    def inputs(key, n, in_shape):
        return key.generator().integers(0, 5, (n, *in_shape))

    traits = fnn.Traits(takes_integers=True)
    layer = fnn.make_layer("rows", shapes, fwd, traits=traits, inputs=inputs)
    for net, every in (
        (layer, 1),
        (fnn.serial(layer, fnn.Dense(2)), 6),
        (fnn.named("first", layer), 3),
    ):
        assert check_layer(net, (3,)).violations == ()
        some = list(fnn.testing.mutants(net, (3,)))[::every]
        score = fnn.testing.mutation_score(net, lambda wrong: check_layer(wrong, (3,)), (3,), only=some)
        assert score.mutants > 9 / every
    bare = fnn.make_layer("rows", shapes, fwd, traits=traits)
    with pytest.raises(LawError, match="it takes integers: draw them"):
        check_layer(bare, (3,))
    with pytest.raises(OptionError, match="inputs: expected a function"):
        fnn.make_layer("rows", shapes, fwd, traits=traits, inputs=3)
