"""Mutation scores: how many wrong versions of what is public the laws refuse.

The numbers are printed at the end; a wrong version that passes fails the test of its original. The
normal run tries one wrong version in 24 of each original, one in 96 of those of its parts;
`pytest -m slow` tries all.
"""

from __future__ import annotations

import sys
import zlib

import numpy as np
import pytest
from law_cases import TRANSFORM_CASES
from layer_cases import ALL_CASES, CASES
from loss_cases import LOSSES
from optimizer_cases import draw

import fnn
from fnn import OptionError
from fnn.losses import make_loss, summed
from fnn.optimizers import Transform, sgd
from fnn.testing import LawError, Report, Violation, check_layer
from fnn.testing.laws import of_layers as layer_laws
from fnn.testing.laws.of_losses import check_loss
from fnn.testing.laws.of_transforms import check_transform
from fnn.testing.mutation.scoring import differs, mutants, mutation_score

SCORES = {}
SOME = 24
EVERY = pytest.mark.parametrize("every", [SOME, pytest.param(1, marks=pytest.mark.slow)])


def scored(kind, original, check, in_shape=None, *, every=1, subject=""):
    """Return the survivors among one wrong version in `every`; keep the score for the table."""
    chosen = list(mutants(original, in_shape))
    own = [mutant for mutant in chosen if ":" not in mutant.name]
    deep = [mutant for mutant in chosen if ":" in mutant.name]
    # Others of each original, so that together all kinds of fault are tried.
    first = zlib.crc32(repr((subject or original, in_shape)).encode()) % every
    only = [*own[first::every], *deep[first :: 1 if every == 1 else 4 * every]]
    score = mutation_score(original, check, in_shape, subject=subject, only=only)
    SCORES[kind, score.subject, str(in_shape)] = score
    return score.survivors


# --- layers ---------------------------------------------------------------------------------

# What kills most first: of a wrong version one broken law is enough.
ORDER = ("adjoint", "pure", "batch_independent", "dtype", "apply_is_vjp", "contract", "stochastic")
ORDER += tuple(law for law in layer_laws.ALL if law not in ORDER)


def law_by_law(in_shape):
    def check(layer):
        for law in ORDER:
            check_layer(layer, in_shape, laws=law, shrink=False)

    return check


def one_of_each():
    """Return the first case of every constructor, and all of networks, of which a sample is tried."""
    seen, chosen = set(), []
    for layer, in_shape in ALL_CASES:
        call = layer.recipe.call.__name__
        if layer.children or call not in seen:
            chosen.append((layer, in_shape))
        seen.add(call)
    return chosen


def score_layer(monkeypatch, layer, in_shape, every):
    # Which child is to blame takes long to find, and nobody asks.
    monkeypatch.setattr(layer_laws, "BLAME_SECONDS", -1.0)
    return list(scored("layer", layer, law_by_law(in_shape), in_shape, every=every))


@pytest.mark.parametrize(("layer", "in_shape"), one_of_each(), ids=repr)
def test_no_wrong_version_of_a_layer_passes(layer, in_shape, monkeypatch):
    assert score_layer(monkeypatch, layer, in_shape, SOME) == []


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "in_shape"), ALL_CASES, ids=repr)
def test_no_wrong_version_of_any_case_passes(layer, in_shape, monkeypatch):
    assert score_layer(monkeypatch, layer, in_shape, 1) == []


# --- losses ---------------------------------------------------------------------------------


def log_cosh(pred, target):
    d = pred - target
    return np.log(np.cosh(d)), np.tanh(d)


OF_LOSSES = {name: LOSSES[name] for name in LOSSES} | {
    "summed(squared_error)": summed(LOSSES["squared_error"]),
    "make_loss(log_cosh)": make_loss("log_cosh", log_cosh),
}


@EVERY
@pytest.mark.parametrize("name", OF_LOSSES)
def test_no_wrong_version_of_a_loss_passes(name, every):
    assert scored("loss", OF_LOSSES[name], check_loss, every=every, subject=name) == ()


# --- transforms -----------------------------------------------------------------------------

PARAMS = draw(0)


@EVERY
@pytest.mark.parametrize("case", TRANSFORM_CASES, ids=str)
def test_no_wrong_version_of_a_transform_passes(case, every):
    def check(wrong):
        check_transform(wrong, PARAMS, first_steps=case.first_steps, steps=case.steps)

    assert list(scored("transform", case.transform, check, PARAMS, every=every)) == []


# --- faults that hide well ----------------------------------------------------------

Drop, Dense = fnn.Dropout, fnn.Dense
TWO_SIZES = fnn.residual(fnn.Conv(2, 3, padding="same"), shortcut=fnn.Conv(2, 1))
SUBTLE = [
    (Dense(2), (3,), "params float64 leak"),
    (fnn.serial(Dense(3), Dense(3)), (3,), "init's key reused"),
    (fnn.serial(fnn.Tanh(), Drop(0.5)), (8,), "keys by position"),
    (fnn.serial(fnn.BatchNorm(), Dense(2)), (3,), "batch_norm at 0: mode ignored (always eval)"),
    (fnn.serial(Drop(0.5), Dense(2)), (8,), "dropout at 0: key ignored"),
    (fnn.serial(Dense(2), fnn.Tanh()), (3,), "mixes_batch declared falsely"),
    (fnn.residual(Drop(0.5), shortcut=Drop(0.5)), (8,), "key reused"),
    (
        fnn.residual(fnn.Conv(2, 3, padding="same"), shortcut=fnn.Conv(2, 1)),
        (1, 3),
        "init's key reused",
    ),
    (fnn.serial(fnn.BatchNorm(), Dense(2)), (3,), "batch_norm at 0: state stale"),
    (fnn.Relu(), (4,), "dx without its last entry"),
]


def is_told(layer, in_shape, name):
    wrong = next(mutant.value for mutant in mutants(layer, in_shape) if mutant.name == name)
    assert differs(layer, wrong, in_shape)
    try:
        check_layer(wrong, in_shape, shrink=False)
    except LawError:
        return True
    return False


@pytest.mark.parametrize(("layer", "in_shape", "name"), SUBTLE, ids=[name for *_, name in SUBTLE])
def test_subtle_faults_are_told(layer, in_shape, name):
    assert is_told(layer, in_shape, name)


# --- mutants themselves ---------------------------------------------------------------------


def test_mutants_have_names_of_their_own_and_the_type_of_the_original():
    for original, in_shape in ((CASES[0]), (CASES[-1]), (sgd(0.1), None), (LOSSES["nll"], None)):
        found = list(mutants(original, in_shape))
        assert len({mutant.name for mutant in found}) == len(found) > 20
        kind = type(original) if isinstance(original, fnn.Layer | Transform) else object
        assert all(isinstance(mutant.value, kind) for mutant in found)
        assert all(callable(mutant.value) or kind is not object for mutant in found)


def test_a_mutant_reads_as_the_code_that_makes_the_original_and_its_fault():
    by_name = {mutant.name: mutant.value for mutant in mutants(Dense(2), (3,))}
    wrong = by_name["dx sign"]
    assert repr(wrong) == "Dense[dx sign](2)"
    assert wrong != Dense(2)
    assert wrong.recipe.build().init(fnn.Key.of(0), (3,))[0] == (2,)


def test_a_fault_may_sit_deep_inside():
    net = fnn.serial(fnn.Tanh(), fnn.residual(Dense(3), shortcut=Dense(3)))
    names = [mutant.name for mutant in mutants(net, (3,))]
    assert "residual at 1: dense at shortcut: dparams/w sign" in names


def test_what_is_right_differs_in_nothing_from_itself():
    for layer, in_shape in one_of_each()[::4]:
        assert not differs(layer, layer, in_shape)
    for loss in OF_LOSSES.values():
        assert not differs(loss, loss)
    for transform in (case.transform for case in TRANSFORM_CASES):
        assert not differs(transform, transform)


def test_mutants_that_differ_in_nothing_are_told_apart():
    by_name = {mutant.name: mutant.value for mutant in mutants(Dense(2), (3,))}
    assert not differs(Dense(2), by_name["dparams/b transposed"], (3,))
    assert not differs(Dense(2), by_name["mode ignored (always eval)"], (3,))
    assert differs(Dense(2), by_name["dparams/w transposed"], (3,))


def test_a_check_that_believes_everything_kills_nothing():
    score = mutation_score(Dense(2), lambda layer: None, (3,))
    assert not score.killed
    assert len(score.survivors) + len(score.equivalent) == score.mutants
    assert "ALIVE" in str(score)


def test_a_score_names_the_laws_and_prints_as_a_line():
    def check(layer):
        if layer.recipe != Dense(2).recipe:
            raise LawError(Report("x", ("law",), (Violation("law", "broken"),)))

    score = mutation_score(Dense(2), check, (3,))
    assert set(score.killed.values()) == {("law",)}
    n, same = score.mutants, len(score.equivalent)
    assert str(score) == f"Dense(2): {n} mutants, {same} equivalent, {n - same} killed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Dense(2),), "mutants: in_shape: expected the shape of one example, got None"),
        ((3,), "mutants: expected a layer, a loss or a transform, got 3"),
        ((sgd(0.1), (3,)), r"mutants: expected a tree of parameters, got \(3,\)"),
    ],
)
def test_mutants_say_what_they_are_made_of(arguments, message):
    with pytest.raises(OptionError, match=message):
        mutants(*arguments)


# --- the table ------------------------------------------------------------------------------


PARTS = ("equivalent", "killed", "survivors")


def printed(capsys):
    scores = SCORES.values()
    lines = [f"{kind} {score}" for (kind, *_), score in SCORES.items()]
    counts = {name: sum(len(getattr(each, name)) for each in scores) for name in PARTS}
    lines.append(f"all: {sum(each.mutants for each in scores)} mutants, {counts}")
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))
    return counts, sum(each.mutants for each in scores)


def test_the_scores_are_printed_and_account_for_every_mutant(capsys):
    counts, total = printed(capsys)
    assert sum(counts.values()) == total
    assert counts["survivors"] == 0


@pytest.mark.slow
def test_the_scores_of_all_cases_account_for_every_mutant(capsys):
    counts, total = printed(capsys)
    assert sum(counts.values()) == total
    assert counts["survivors"] == 0
