"""Laws of transforms and schedules: every public one obeys them, wrong ones are caught and named."""

from __future__ import annotations

import itertools
import warnings

import attrs
import numpy as np
import pytest
from law_cases import TRANSFORM_CASES, falling, public_transforms

import fnn
from fnn import Transform, Tree, tree
from fnn.errors import FnnError, OptionError
from fnn.testing.laws.of_transforms import check_transform
from fnn.testing.report import LawError


def broken(check, subject, *args, **options):
    """Return the names of the laws that are broken."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            check(subject, *args, **options)
        except LawError as error:
            return set(error.report.broken)
    return set()


# --- right ones ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TRANSFORM_CASES, ids=str)
def test_every_public_transform_obeys_every_law(case):
    steps = max(6, case.steps)
    report = check_transform(case.transform, first_steps=case.first_steps, seed=2, steps=steps)
    assert "first_steps" in report.laws
    assert not [note for note in report.notes if "elementwise" in note]


def test_the_table_holds_every_public_transform():
    assert {case.name for case in TRANSFORM_CASES} == public_transforms()


@pytest.mark.parametrize("case", TRANSFORM_CASES, ids=str)
def test_no_closed_form_is_that_of_a_slightly_other_transform(case):
    def off(params, grads):
        points = case.first_steps(params, grads)
        points = [point[0] if isinstance(point, tuple) else point for point in points]
        return [tree.map(lambda p: p * (1 + 1e-9), point) for point in points]

    assert broken(check_transform, case.transform, first_steps=off) == {"first_steps"}


def test_a_closed_form_may_hold_the_memory_too():
    def averages(params, grads, at=0.5):
        memories, average = [], tree.map(np.copy, params)
        for grad in grads:
            params = tree.map(np.add, params, grad)
            average = tree.map(lambda a, p: at * a + (1 - at) * p, average, params)
            memories.append((params, {"average": average}))
        return memories

    check_transform(fnn.ema(0.5), first_steps=averages)
    check_transform(fnn.ema(0.5), first_steps=lambda p, g: [(p, {"average": p}), *averages(p, g)])
    for wrong in (
        lambda p, g: averages(p, g, at=0.6),
        lambda p, g: [(p, {"average": tree.map(np.zeros_like, p)}), *averages(p, g)],
    ):
        assert broken(check_transform, fnn.ema(0.5), first_steps=wrong) == {"first_steps"}


def test_parameters_of_ones_own_and_bare_arrays_are_taken():
    check_transform(fnn.adam(), {"w": np.ones((2, 3), "float32"), "inner": {"b": np.zeros(3)}})
    check_transform(fnn.sgd(0.1), np.arange(6.0))
    check_transform(fnn.freeze("head"), {"head": {"w": np.ones(2)}, "tail": np.ones(2)})
    check_transform(fnn.adam(), {})


def test_what_is_elementwise_without_saying_so_gets_a_note():
    silent = attrs.evolve(fnn.sgd(0.1), elementwise=False)
    assert any("elementwise is not declared" in note for note in check_transform(silent).notes)
    assert not any("elementwise" in note for note in check_transform(fnn.sgd(0.1)).notes)


# --- wrong ones ---------------------------------------------------------------------------------


class Bare:
    """A transform without the library's care, so that nothing mends what it does."""

    elementwise = False

    def __init__(self, update, init=lambda params: Tree()):
        self.init, self.update = init, update

    def numbers(self, step):
        return {}


def scaled(factor):
    return lambda grads, state, params, step: (tree.map(lambda g: g * factor, grads), Tree())


def kept(transform, **changes):
    """Return a Transform of the parts of another, some of them changed."""
    parts = {"init": transform.init, "update": transform.update, "elementwise": transform.elementwise}
    parts |= {"numbers": transform.numbers} | changes
    return Transform("wrong", parts.pop("init"), parts.pop("update"), **parts)


SGD, ADAM = fnn.sgd(0.1), fnn.adam(0.1)


def updating(transform, change, **changes):
    """Return the transform with change(updates, new state, given) in place of what it returns."""

    def update(grads, state, params, step):
        return change(*transform.update(grads, state, params, step), (grads, state, params, step))

    return kept(transform, update=update, **changes)


def adds_noise():
    calls = itertools.count()
    return updating(SGD, lambda u, s, given: (tree.map(lambda a: a - 1e-9 * next(calls), u), s))


def own_clock():
    calls = itertools.count()

    def update(grads, state, params, step):
        return ADAM.update(grads, state, params, next(calls))

    return kept(ADAM, update=update)


def writes(which):
    def change(u, s, given):
        for leaf in tree.leaves(given[which]):
            if leaf.flags.writeable:
                leaf *= 2
        return u, s

    return Bare(
        lambda grads, state, params, step: change(
            *ADAM.update(grads, state, params, step), (grads, state, params)
        ),
        ADAM.init,
    )


def reuses_a_buffer():
    buffers = {}

    def hold(a):
        out = buffers.setdefault((a.shape, a.dtype), np.empty_like(a))
        out.setflags(write=True)
        out[...] = a
        out.setflags(write=False)
        return out

    def update(grads, state, params, step):
        return Tree.own({"w": hold(np.asarray(-0.1 * grads["w"]))}), Tree()

    return Bare(update)


def grows(u, s, given):
    return u, {**s, f"step{given[3]}": np.zeros(1)}


def widens(u, s, given):
    return tree.map(lambda a: a * np.float64(1), u), s


def by_norm(u, s, given):
    norm = fnn.global_norm(u)
    return tree.map(lambda a: a / norm, u), s


def depends_on_type(u, s, given):
    return (u, s) if type(given[3]) is int else (tree.map(np.negative, u), s)


def flips_the_bias(u, s, given):
    return tree.map(lambda a: -a if a.ndim == 1 and a.size == 4 else a, u), s


def drifts(u, s, given):
    return tree.map(lambda a: a - 1e-3, u), s


def transposes(u, s, given):
    return tree.map(lambda a: a.T if a.ndim == 2 else a, u), s


def drops_a_leaf(u, s, given):
    return {name: value for name, value in u.items() if name != "scale"}, s


def blows_up(u, s, given):
    return tree.map(lambda a: a * (np.inf if given[3] == 3 else 1.0), u), s


def forgets(u, s, given):
    return u, ADAM.init(given[2])


def late(step):
    return {"learning_rate": float(falling(step + 1))}


def numpy_numbers(step):
    return {"learning_rate": np.float64(0.1)}


class Changing:
    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return {"learning_rate": 0.1 * self.calls}


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (lambda: updating(SGD, transposes), "structure"),
        (lambda: updating(SGD, drops_a_leaf), "structure"),
        (lambda: updating(ADAM, grows), "structure"),
        (lambda: updating(SGD, blows_up), "structure"),
        (lambda: Bare(lambda g, s, p, step: (dict(g), {})), "immutable"),
        (lambda: Bare(lambda g, s, p, step: (g, s)), "immutable"),
        (lambda: writes(0), "untouched"),
        (lambda: writes(1), "untouched"),
        (lambda: writes(2), "untouched"),
        (adds_noise, "pure"),
        (own_clock, "pure"),
        (own_clock, "resume"),
        (lambda: Bare(depends_on_type_update), "clock"),
        (lambda: updating(SGD, widens), "float32"),
        (lambda: kept(SGD, numbers=numpy_numbers), "numbers"),
        (lambda: kept(SGD, numbers=Changing()), "numbers"),
        (lambda: kept(SGD, numbers=lambda step: {"learning_rate": float("nan")}), "numbers"),
        (
            lambda: attrs.evolve(fnn.sgd(falling), numbers=late),
            "numbers",
        ),
        (lambda: updating(SGD, by_norm), "elementwise"),
        (lambda: attrs.evolve(fnn.clip_by_global_norm(1e3), elementwise=True), "elementwise"),
        (lambda: attrs.evolve(fnn.freeze("dense_0"), elementwise=True), "elementwise"),
        (lambda: updating(SGD, drifts), "rest"),
        (lambda: kept(fnn.chain(fnn.add_decayed_weights(0.1), SGD), numbers=SGD.numbers), "rest"),
        (lambda: updating(SGD, lambda u, s, given: (tree.map(np.negative, u), s)), "descent"),
        (lambda: updating(SGD, flips_the_bias), "descent"),
        (lambda: updating(SGD, lambda u, s, given: (tree.map(np.zeros_like, u), s)), "descent"),
    ],
)
def test_a_wrong_transform_is_caught_by_the_law_it_breaks(make, law):
    assert law in broken(check_transform, make())


def depends_on_type_update(grads, state, params, step):
    return tree.map(lambda g: g * (-0.1 if type(step) is int else -0.2), grads), Tree()


def test_a_buffer_that_is_used_again_is_caught():
    assert "pure" in broken(check_transform, reuses_a_buffer(), {"w": np.ones(3)})


ADAM_CASE = next(case for case in TRANSFORM_CASES if case.name == "adam")


@pytest.mark.parametrize(
    "wrong",
    [
        updating(ADAM_CASE.transform, lambda u, s, g: (tree.map(lambda a: a * (1 + 1e-9), u), s)),
        updating(ADAM_CASE.transform, forgets),
        kept(
            ADAM_CASE.transform,
            update=lambda g, s, p, step: ADAM_CASE.transform.update(g, s, p, step + 1),
        ),
        kept(ADAM_CASE.transform, init=lambda p: tree.map(np.ones_like, ADAM_CASE.transform.init(p))),
        fnn.adam(b1=0.91),
        fnn.adam(b2=0.99),
        fnn.adam(eps=1e-7),
        fnn.adamw(weight_decay=1e-6),
    ],
    ids=["factor", "forgets", "clock ahead", "starts elsewhere", "b1", "b2", "eps", "decays"],
)
def test_a_transform_that_is_only_another_one_is_told_by_its_closed_form(wrong):
    assert "first_steps" in broken(check_transform, wrong, first_steps=ADAM_CASE.first_steps)


def test_the_finding_names_leaf_index_and_numbers():
    with pytest.raises(LawError) as info:
        check_transform(updating(SGD, flips_the_bias), seed=4)
    finding = next(v for v in info.value.report.violations if v.law == "descent")
    assert finding.leaf == "updates/dense_0/b"
    assert finding.got > finding.want == 0.0
    assert finding.seed == 4


# --- what is no transform -------------------------------------------------------------------------


def raising(*_, **__):
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (17, "AttributeError"),
        (Bare(raising), "KeyError"),
        (Bare(scaled(1.0), raising), "KeyError"),
        (Bare(lambda g, s, p, step: g), "expected (updates, opt_state) of update, got Tree"),
        (Bare(lambda g, s, p, step: (g, s, p)), "got 3 values"),
        (Bare(lambda g, s, p, step: ({1: g}, s)), "TreeError"),
        (Bare(lambda g, s: (g, s)), "TypeError"),
        (fnn.freeze("nowhere"), "TreeError"),
    ],
)
def test_what_is_no_transform_is_reported_and_never_a_traceback(transform, said):
    with pytest.raises(LawError) as info:
        check_transform(transform)
    assert said in str(info.value)
    assert info.value.report.broken == ("call",)


def test_options_out_of_range_are_refused():
    for options in ({"steps": 0}, {"steps": 1.5}):
        with pytest.raises(OptionError):
            check_transform(SGD, **options)
    with pytest.raises(FnnError):
        check_transform(SGD, {"w": "text"})
