"""Laws of train steps and codecs: right ones obey them, wrong ones are caught and named."""

from __future__ import annotations

import itertools
import warnings

import attrs
import numpy as np
import pytest
from law_cases import falling

import fnn
from fnn import Key, TrainState, tree
from fnn.errors import OptionError
from fnn.testing.laws.of_train_steps import check_train_step
from fnn.testing.report import LawError

NET = fnn.serial(fnn.Dense(4), fnn.BatchNorm(), fnn.Tanh(), fnn.Dropout(0.4), fnn.Dense(2))
OPTIMIZER = fnn.chain(fnn.clip_by_global_norm(1.0), fnn.adam(falling))
STEP = fnn.train_step(NET, fnn.squared_error, OPTIMIZER)


def start(net=NET, optimizer=OPTIMIZER, in_shape=(3,), dtype="float32"):
    now = fnn.init_train_state(net, optimizer, in_shape, Key.of(4))
    casts = {name: tree.cast(getattr(now, name), dtype) for name in ("params", "state", "opt_state")}
    return attrs.evolve(now, **casts)


def batches(n=4, in_shape=(3,), out_shape=(2,), dtype="float32", weighted=False):
    rng = np.random.default_rng(6)
    made = []
    for _ in range(n):
        x, y = rng.normal(size=(5, *in_shape)), rng.normal(size=(5, *out_shape))
        made.append((x.astype(dtype), y.astype(dtype), rng.random(5) + 0.5)[: 2 + weighted])
    return made


def broken(step, now=None, data=None):
    """Return the names of the laws that a step breaks."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            check_train_step(step, now or start(), batches() if data is None else data)
        except LawError as error:
            return set(error.report.broken)
    return set()


# --- right ones ---------------------------------------------------------------------------------

OPTIMIZERS = [fnn.sgd(0.1), fnn.momentum(falling), fnn.adamw(0.01), OPTIMIZER]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compile_it", [False, True])
def test_the_step_of_the_library_obeys_every_law(optimizer, dtype, compile_it):
    step = fnn.train_step(NET, fnn.squared_error, optimizer, metrics={"mse": fnn.squared_error})
    step = fnn.jit(step) if compile_it else step
    report = check_train_step(step, start(NET, optimizer, dtype=dtype), batches(dtype=dtype))
    assert report.laws[0] == "call"
    assert {"resume", "scan", "jit", "pure"} < set(report.laws)
    assert report.notes == ()


NETS = [
    (fnn.serial(fnn.Dense(3), fnn.Relu(), fnn.Dense(2)), (3,)),
    (fnn.serial(fnn.Conv(2, 3), fnn.MaxPool(2), fnn.Flatten(), fnn.Dense(2)), (1, 6, 6)),
    (fnn.residual(fnn.Dense(2), shortcut=fnn.Dense(2)), (3,)),
    (fnn.serial(fnn.Flatten(), fnn.Dropout(0.5), fnn.Dense(2)), (2, 3)),
]


@pytest.mark.parametrize(("net", "in_shape"), NETS, ids=[repr(net) for net, _ in NETS])
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_of_other_networks_obey_them_too(net, in_shape, weighted):
    step = fnn.train_step(net, fnn.squared_error, fnn.momentum(0.1))
    now = start(net, fnn.momentum(0.1), in_shape)
    check_train_step(step, now, batches(3, in_shape, weighted=weighted))


def test_one_batch_is_enough_and_a_generator_is_walked_once():
    check_train_step(STEP, start(), batches(1))
    check_train_step(STEP, start(), iter(batches(3)))


def test_a_step_without_randomness_is_noted():
    net = fnn.Dense(2)
    step = fnn.train_step(net, fnn.squared_error, fnn.sgd(0.1))
    report = check_train_step(step, start(net, fnn.sgd(0.1)), batches())
    assert report.notes == ("random: the logs do not depend on the key",)


# --- wrong ones ---------------------------------------------------------------------------------


def counting():
    calls = itertools.count()

    def step(now, batch):
        after, logs = STEP(now, batch)
        return after, logs | {"calls": next(calls)}

    return step


def hidden_momentum():
    kept = []

    def step(now, batch):
        after, logs = STEP(now, batch)
        kept.append(after.params)
        drift = tree.map(lambda a, b: a + 1e-3 * (a - b), after.params, kept[-2]) if kept[:-1] else None
        return (attrs.evolve(after, params=drift) if drift is not None else after), logs

    return step


def remembers_by_identity():
    """Keep what it knows of the state it made last: a state read from a file is another one."""
    last = []

    def step(now, batch):
        after, logs = STEP(now, batch)
        known = bool(last) and last[-1] is now
        last.append(after)
        return after, logs | {"known": float(known or now.step == 0)}

    return step


def own_generator():
    generator = np.random.Generator(np.random.Philox(1))

    def step(now, batch):
        x, y = batch
        return STEP(now, (x + generator.normal(size=x.shape).astype(x.dtype), y))

    return step


def one_mask(now, batch):
    """Draw the masks of step 0 at every step."""
    after, logs = STEP(attrs.evolve(now, step=0), batch)
    return attrs.evolve(after, step=now.step + 1), logs


def changing(**changes):
    def step(now, batch):
        after, logs = STEP(now, batch)
        changed = {name: change(now, after) for name, change in changes.items()}
        return attrs.evolve(after, **changed), logs

    return step


def widened(now, after):
    return tree.cast(after.params, "float64")


def grown(now, after):
    return after.state | {f"s{now.step}": np.ones(1)}


def spoiled(now, after):
    return tree.map(lambda leaf: leaf * np.nan, after.state)


def logging(change):
    def step(now, batch):
        after, logs = STEP(now, batch)
        return after, change(logs, now)

    return step


def writes_to_x(now, batch):
    batch[0][...] *= 2
    return STEP(now, batch)


def writes_to_the_target(now, batch):
    result = STEP(now, batch)
    batch[1].flat[0] += 1
    return result


class Scaled:
    """A step that scan and jit see, but that multiplies its rate by the number of its objects."""

    def __init__(self):
        self.rate = 0.1

    def __call__(self, now, batch):
        self.rate *= 0.5
        return fnn.train_step(NET, fnn.squared_error, fnn.sgd(self.rate))(now, batch)


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (counting, "pure"),
        (counting, "resume"),
        (counting, "scan"),
        (hidden_momentum, "pure"),
        (hidden_momentum, "resume"),
        (remembers_by_identity, "resume"),
        (own_generator, "pure"),
        (own_generator, "jit"),
        (lambda: one_mask, "random"),
        (lambda: changing(step=lambda now, after: now.step), "structure"),
        (lambda: changing(key=lambda now, after: now.key.fold("next")), "structure"),
        (lambda: changing(params=widened), "structure"),
        (lambda: changing(state=grown), "structure"),
        (lambda: changing(state=spoiled), "structure"),
        (lambda: logging(lambda logs, now: logs | {"loss": float("nan")}), "logs"),
        (lambda: logging(lambda logs, now: logs | {f"step{now.step}": 1.0}), "logs"),
        (lambda: logging(lambda logs, now: logs | {"rows": np.ones(2)}), "logs"),
        (lambda: logging(lambda logs, now: logs | {"note": "fine"}), "logs"),
        (lambda: writes_to_x, "untouched"),
        (lambda: writes_to_the_target, "untouched"),
    ],
)
def test_a_wrong_step_is_caught_by_the_law_it_breaks(make, law):
    assert law in broken(make())


def test_a_rate_kept_in_the_step_is_caught():
    assert {"pure", "resume"} <= broken(Scaled(), start(NET, fnn.sgd(0.1)))


def test_the_finding_names_the_leaf_and_the_step():
    with pytest.raises(LawError) as info:
        check_train_step(changing(params=widened), start(), batches())
    finding = next(one for one in info.value.report.violations if one.law == "structure")
    assert (finding.law, finding.leaf) == ("structure", "params/batch_norm_0/scale")
    assert (finding.got, finding.want) == ("float64[4]", "float32[4]")
    assert "at step 0" in str(finding)


# --- what is no step ------------------------------------------------------------------------------


def raising(*_, **__):
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (17, "TypeError"),
        (raising, "KeyError"),
        (lambda now: now, "TypeError"),
        (lambda now, batch: now, "expected (TrainState, dict) of step 0, got (TrainState)"),
        (lambda now, batch: (now, {}, {}), "got (TrainState, dict, dict)"),
        (lambda now, batch: (now.params, {}), "expected (TrainState, dict) of step 0"),
        (lambda now, batch: (now, 0.5), "expected (TrainState, dict) of step 0"),
        (lambda now, batch: STEP(now, batch[:1]), "DataError"),
    ],
)
def test_what_is_no_step_is_reported_and_never_a_traceback(step, said):
    with pytest.raises(LawError) as info:
        check_train_step(step, start(), batches())
    assert said in str(info.value)
    assert info.value.report.broken == ("call",)


def test_a_run_that_diverges_is_reported():
    wild = fnn.train_step(NET, fnn.squared_error, fnn.sgd(1e30))
    with pytest.raises(LawError, match="DivergedError"):
        check_train_step(wild, start(NET, fnn.sgd(1e30)), batches())


def test_what_it_cannot_start_from_is_refused():
    with pytest.raises(OptionError, match="expected a TrainState, got dict"):
        check_train_step(STEP, {}, batches())
    with pytest.raises(OptionError, match="expected one batch or more"):
        check_train_step(STEP, start(), [])


def test_the_straight_run_is_the_fold_of_ones_own():
    now = start()
    for batch in batches():
        now, _ = STEP(now, batch)
    assert isinstance(now, TrainState)
    assert now == fnn.scan(STEP, start(), batches())[0]
