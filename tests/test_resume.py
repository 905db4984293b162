"""A run that was stopped after any step and continued is the run that was not, bit for bit."""

import dis
import inspect
import math
import signal
import subprocess
import sys

import numpy as np
import pytest
from test_loop import NET, digest, examples, fit

import fnn
from fnn.datasets import dataset
from fnn.errors import DataError, FnnError, OptionError
from fnn.runs.checkpoint import load_checkpoint, save_checkpoint
from fnn.training import epochs, loop
from fnn.training.history import Record
from fnn.training.progress import Progress

VALIDATION = examples(33, seed=1)
CLIPPED = fnn.chain(fnn.clip_by_global_norm(0.5), fnn.momentum(0.05))
RUNS = {
    "adam, a smaller last batch": {},
    "without the smaller batch": {"drop_last": True},
    "an optimizer that sees all leaves at once": {"optimizer": CLIPPED},
    "no validation": {"validation": None, "metrics": ()},
    "an early epoch that stays the best": {"optimizer": fnn.adam(0.5), "epochs": 5},
    "early stopping": {"callbacks": [fnn.early_stopping(1, min_delta=0.04)], "epochs": 9},
}


def run(**options):
    return fit(**{"validation": VALIDATION, "metrics": fnn.accuracy, "epochs": 4} | options)


def saved(**options):
    """Return the fit, and where it stood after every step and every epoch."""
    kept = []
    return run(save=kept.append, save_every=1, **options), kept


def bits(result):
    states = [(now.step, now.key, digest(now)) for now in (result.last, result.best)]
    return states, [list(record.items()) for record in result.history]


# --- the law ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_stopped_after_any_step_and_continued_it_ends_with_the_same_bits(name):
    options = RUNS[name]
    whole = run(**options)
    result, kept = saved(**options)
    assert bits(result) == bits(whole), "saving changes nothing"
    per_epoch = 3 if "drop_last" in options else 4
    assert len(kept) == len(whole.history) * (per_epoch + 1)
    for start in kept:
        assert bits(run(start=start, **options)) == bits(whole), start


def test_the_best_epoch_of_a_resumed_run_may_be_one_before_it():
    options = RUNS["an early epoch that stays the best"]
    result, kept = saved(**options)
    assert result.best.step < result.last.step
    assert run(start=kept[-2], **options).best is kept[-2].best


def test_early_stopping_ends_that_run_before_its_last_epoch():
    result, kept = saved(**RUNS["early stopping"])
    assert len(result.history) < 9
    assert [start.stopped for start in kept] == [False] * (len(kept) - 1) + [True]


@pytest.mark.parametrize("k", [1, 2])
def test_two_times_k_epochs_are_k_epochs_and_then_the_rest(k):
    kept = []
    half = run(epochs=k, save=kept.append)
    assert (len(kept), len(half.history)) == (k, k)
    assert bits(run(epochs=2 * k, start=kept[-1])) == bits(run(epochs=2 * k))


def test_it_may_be_stopped_again_after_every_step():
    whole, start, steps = run(), None, 0
    while start is None or start.epoch != 4:
        kept = []

        def save(progress, kept=kept):
            kept.append(progress)
            if len(kept) == 1:
                signal.raise_signal(signal.SIGINT)

        result = run(start=start, save=save, save_every=1)
        start, steps = kept[-1], steps + 1
    assert steps > 16
    assert bits(result) == bits(whole)


def test_a_run_goes_on_from_a_file_at_every_step(tmp_path):
    whole, kept = saved()
    for start in kept:
        save_checkpoint(tmp_path / "c.npz", start)
        assert bits(run(start=load_checkpoint(tmp_path / "c.npz"))) == bits(whole), start


@pytest.mark.parametrize("step", [0, 6, 8, 15])
def test_a_run_goes_on_in_another_process(tmp_path, step):
    whole, kept = saved()
    start = next((p for p in kept if p.now.step == step), None) or Progress(
        fnn.init_train_state(NET, fnn.adam(0.02), (4,), fnn.Key.of(0))
    )
    save_checkpoint(tmp_path / "c.npz", start)
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; import test_resume as t; "
        "from fnn.runs.checkpoint import load_checkpoint as load; "
        "sys.stdout.write(repr(t.bits(t.run(start=load(sys.argv[1])))))"
    )
    folders = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c.npz"), *folders],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == repr(bits(whole))


def test_skipped_batches_are_not_looked_at(monkeypatch):
    rows = []
    real = dataset._drawn
    monkeypatch.setattr(dataset, "_drawn", lambda array, at: rows.append(len(at)) or real(array, at))
    data = examples(50)
    for key in (fnn.Key.of(3), None):
        for drop_last in (False, True):
            order = fnn.batches(data, 16, key=key, drop_last=drop_last)
            whole = list(order)
            for first in range(len(order) + 1):
                rows.clear()
                left = list(order.since(first))
                assert len(rows) == (2 * len(left) if key else 0)
                assert len(left) == len(whole) - first
                for (x, y), (x_whole, y_whole) in zip(left, whole[first:], strict=True):
                    assert np.array_equal(x, x_whole)
                    assert np.array_equal(y, y_whole)


# --- when it saves ------------------------------------------------------------------------------


def places(kept):
    return [(each.now.step, each.epoch, each.batch, each.count) for each in kept]


def test_it_saves_after_every_epoch_and_every_so_many_steps_also_when_resumed():
    kept = []
    run(save=kept.append, save_every=3, epochs=3)
    assert places(kept) == [
        (3, 0, 3, 48), (4, 1, 0, 0), (6, 1, 2, 32), (8, 2, 0, 0), (9, 2, 1, 16), (12, 2, 4, 50),
        (12, 3, 0, 0),
    ]  # fmt: skip
    again = []
    run(save=again.append, save_every=3, epochs=3, start=kept[2])
    assert again == kept[3:]


def test_what_is_saved_is_a_value_of_its_own():
    result, kept = saved()
    early = kept[1]
    assert set(early.sums) == {"loss", "accuracy"}
    assert (early.best, early.records, early.stopped) == (None, (), False)
    assert math.isnan(early.best_value)
    assert kept[-1].records == tuple(result.history)
    assert kept[-1].best == result.best
    assert kept[-1].best_value == min(result.history["validation_loss"])
    with pytest.raises(TypeError, match="immutable"):
        early.sums["loss"] = 0.0
    assert repr(early) == "Progress(0 epochs, 2 batches, 2 steps)"


def test_epochs_that_are_done_already_return_at_once():
    steps = []

    def loss(pred, target, *, weight=None):
        steps.append(len(target))
        return fnn.softmax_cross_entropy(pred, target, weight=weight)

    whole, kept = saved()
    for n_epochs, start in ((2, kept[-1]), (4, kept[-1]), (0, kept[2])):
        steps.clear()
        result = run(epochs=n_epochs, start=start, loss=loss)
        assert result.last is start.now
        assert result.history.records == start.records
    assert result.best is result.last
    stopped, kept = saved(**RUNS["early stopping"])
    assert bits(run(start=kept[-1], **RUNS["early stopping"])) == bits(stopped)
    assert whole.last.step == 16


# --- Ctrl-C -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 2, 3])
def test_ctrl_c_while_callbacks_are_asked_asks_them_again(at):
    asked, whole = [], run(callbacks=fnn.early_stopping(1, min_delta=0.04))

    def pressing(now, history):
        asked.append(len(history))
        if asked == list(range(1, at + 1)):
            signal.raise_signal(signal.SIGINT)

    callbacks = [pressing, fnn.early_stopping(1, min_delta=0.04)]
    kept = []
    stopped = run(callbacks=callbacks, save=kept.append)
    assert stopped.interrupted
    assert (kept[-1].epoch, kept[-1].batch) == (at - 1, 4)
    assert len(stopped.history) == at, "the epoch itself is not lost"
    assert bits(run(callbacks=callbacks, start=kept[-1])) == bits(whole)
    assert asked[:at] + asked[at + 1 :] == list(range(1, len(whole.history) + 1))


# Here the interpreter looks for no signal, and handles no error.
SILENT = ("POP_JUMP", "EXTENDED_ARG", "NOT_TAKEN", "NOP", "CACHE")


def interrupted_at(count, **options):
    """Press Ctrl-C between two operations of the loop: before the one of that number."""
    seen, struck = [0], []
    methods = [each for each in vars(epochs.Training).values() if inspect.isfunction(each)]
    own = [each for each in methods if each.__code__.co_filename == epochs.__file__]
    codes = [each.__code__ for each in (loop.fit, epochs._means, *own)]
    codes += [inner for code in codes for inner in code.co_consts if hasattr(inner, "co_code")]
    ours = {code: code.co_code for code in codes}

    def trace(frame, event, arg):
        if frame.f_code not in ours:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen[0] += 1
            name = dis.opname[ours[frame.f_code][frame.f_lasti]]
            if seen[0] >= count and not struck and not name.startswith(SILENT):
                struck.append(name)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return run(**options)
    finally:
        sys.settrace(before)


def test_ctrl_c_between_any_two_operations_leaves_a_place_to_go_on_from():
    options = {"epochs": 2, "batch_size": 32, "callbacks": [lambda now, history: None]}
    whole = bits(run(**options))
    reached, outside = set(), []
    interrupted_at(10**9, **options)  # Python 3.12 tells no operations the first time.
    for count in range(1, 4000, 7):
        kept = []
        try:
            result = interrupted_at(count, save=kept.append, save_every=1, **options)
        except KeyboardInterrupt:
            # Before there is anything to save, or when all of it is saved.
            outside.append(len(kept))
        else:
            if not result.interrupted:
                break
            assert result.last == kept[-1].now
        if kept:
            reached.add((kept[-1].epoch, kept[-1].batch))
            assert bits(run(start=kept[-1], **options)) == whole, kept[-1]
    assert bits(result) == whole, "the last one came to its end"
    assert set(outside) == {0, 6}
    assert reached == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)}


# --- what does not fit --------------------------------------------------------------------------


def start(**changes):
    _, kept = saved(**changes)
    return kept[5]


WIDER = fnn.serial(fnn.Dense(9), fnn.BatchNorm(), fnn.Tanh(), fnn.Dropout(0.1), fnn.Dense(3))
PLAIN = fnn.serial(fnn.Dense(8), fnn.Tanh(), fnn.Dense(3))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"net": WIDER}, DataError, r"now/params/dense_0/w: expected float32\[4, 9\], got .*\[4, 8\]"),
        ({"net": WIDER}, DataError, r"now/opt_state/.*/dense_1/w: expected float32\[9, 3\]"),
        ({"net": WIDER}, DataError, r"best/state/batch_norm_0/\w+: expected float32\[9\]"),
        ({"net": PLAIN}, DataError, r"now/params/batch_norm_0/\w+: expected no such path"),
        ({"optimizer": fnn.sgd(0.1)}, DataError, r"now/opt_state/.*: expected no such path"),
        ({"optimizer": fnn.momentum(0.1)}, DataError, r"now/opt_state/.*: expected .*got no such path"),
        ({"key": fnn.Key.of(1)}, DataError, r"now/key: expected Key\(.*got Key\("),
        ({"metrics": ()}, DataError, r"records: expected \['loss', 'validation_loss'\], got \['epoch'"),
        ({"validation": None}, DataError, r"records: expected \['loss', 'accuracy'\], got"),
        ({"batch_size": 20}, DataError, "expected batches of 20 of 50, got 16 examples in 1 batches"),
        ({"monitor": "loss", "mode": "max"}, DataError, r"best: expected the best 'loss' \(max\)"),
        ({"start": "step-000000001.npz"}, OptionError, "expected a Progress, got str"),
        ({"save": 3}, OptionError, "save: expected a function, got 3"),
        ({"save": print, "save_every": 0}, OptionError, "save_every: expected 1 or more"),
        ({"save_every": 3}, OptionError, "save_every: expected save beside it"),
    ],
)
def test_a_run_does_not_go_on_from_what_another_one_reached(options, error, message):
    begun = saved()[1][11] if options.get("mode") == "max" else start()
    with pytest.raises(error, match=message) as caught:
        run(**{"start": begun} | options)
    assert isinstance(caught.value, FnnError)
    assert str(caught.value).startswith("fit")


def test_sums_of_other_columns_and_places_beyond_the_epoch_are_refused():
    first = saved()[1][0]
    with pytest.raises(DataError, match=r"sums: expected \['loss'\], got \['accuracy', 'loss'\]"):
        run(start=first, metrics=())
    late = Progress(first.now, batch=5, count=50, sums=first.sums)
    with pytest.raises(DataError, match="got 50 examples in 5 batches"):
        run(start=late)


NOW = fnn.init_train_state(NET, fnn.adam(0.02), (4,), fnn.Key.of(0))
RECORD = {"epoch": 1, "step": 4, "loss": math.nan}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"now": None}, "now: expected a TrainState, got NoneType"),
        ({"best": 3}, "best: expected a TrainState, got int"),
        ({"epoch": 1}, "records: expected one per finished epoch, got 0 of 1"),
        ({"records": [RECORD]}, "got 1 of 0"),
        ({"batch": 1}, "expected batch, count and sums of a running epoch, or none, got 1, 0 and {}"),
        ({"sums": {"loss": 1.0}}, "running epoch"),
        ({"batch": -1}, "batch: expected 0 or more"),
        ({"count": 1.5}, "count: expected an integer"),
        ({"best_value": 0.5}, "best_value: expected nan without a best state, got 0.5"),
    ],
)
def test_a_place_that_no_run_can_reach_is_refused(given, message):
    with pytest.raises(OptionError, match=message):
        Progress(**{"now": NOW} | given)


def test_places_are_equal_by_every_bit():
    def place(loss=math.nan, best_value=0.0):
        records = [RECORD | {"loss": loss}]
        return Progress(NOW, NOW, best_value, 1, 1, 16, {"loss": -loss}, records)

    assert place() == place(float("nan"))
    assert type(place().records[0]) is Record
    assert place(0.5) != place(math.nextafter(0.5, 1))
    assert place(best_value=0.0) != place(best_value=-0.0)
