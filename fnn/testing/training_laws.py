"""Laws of train steps and of codecs; and `Findings`, by which checks gather what is wrong.

A step is held to its promises bit for bit: a resumed run is the straight run, `scan` is the fold,
`jit` changes nothing, randomness comes from the key and the step alone.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.keys import Key
from fnn.plans import Jitted, jit
from fnn.testing.report import Report, Violation, concluded
from fnn.testing.values import bits_differ, described, loose, named_leaves, worst
from fnn.training import Batch, TrainState, scan
from fnn.tree import Array

# --- what all checks of users' functions share ------------------------------------------------


def bits(*values: Any) -> str:
    """Return a hash of arrays, numbers, trees and tuples of them: their dtypes, shapes and bytes."""
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, tuple | list):
            total.update(f"({len(value)}:{bits(*value)})".encode())
        elif isinstance(value, Mapping):
            total.update(repr([(name, bits(value[name])) for name in sorted(value, key=str)]).encode())
        elif isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            text = array.tolist() if array.dtype.kind in "OUS" else array.tobytes()
            total.update(f"{array.dtype.str}{array.shape}{text!r}".encode())
        else:
            total.update(repr(value).encode())
    return total.hexdigest()


def named(fn: Any) -> str:
    """Return what a function is called in reports."""
    return getattr(fn, "__name__", None) or f"{fn!r:.200}"


class Findings:
    """What a check gathers while it runs; nothing that users wrote raises or warns through it."""

    def __init__(self, subject: str, seed: int | None = None) -> None:
        """Start without findings; `seed` is that of all draws."""
        self.subject, self.seed = subject, seed
        self.laws: list[str] = []
        self.violations: list[Violation] = []
        self.notes: list[str] = []

    @contextmanager
    def law(self, name: str) -> Iterator[None]:
        """Check a law: what is raised inside is a violation of it, what warns is a note."""
        self.laws.append(name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            except Exception as error:
                self.broken(f"raised {described(error)}")
        self.notes += [f"{name}: warned of {one.category.__name__}: {one.message}" for one in caught]

    def broken(self, message: str, **place: Any) -> None:
        """Add a violation of the present law."""
        self.violations.append(Violation(self.laws[-1], message, seed=self.seed, **place))

    def close(self, message: str, leaf: str, got: Any, want: Any, tolerance: float) -> bool:
        """Return whether no entry is further off than `tolerance`; name the worst if one is."""
        got, want = np.asarray(got), np.asarray(want)
        if got.shape != want.shape:
            self.broken(f"{message}: another shape", leaf=leaf, got=got.shape, want=want.shape)
            return False
        with np.errstate(all="ignore"):
            if (np.abs(got - want) <= tolerance).all():
                return True
        self.broken(message, **worst(leaf, got, want, message).parts())
        return False

    def same(self, message: str, leaf: str, got: Any, want: Any) -> bool:
        """Return whether two trees or arrays are equal bit for bit; name the first leaf that is not."""
        place = bits_differ(named_leaves(got, leaf), named_leaves(want, leaf))
        if place is not None:
            self.broken(f"{message}: {place.message}", **place.parts())
        return place is None

    def refused(self, message: str, call: Callable[[], Any]) -> None:
        """Require a ValueError, which all errors in arguments are."""
        try:
            result = call()
        except ValueError:
            return
        except Exception as error:
            self.broken(f"{message}: expected a ValueError", got=described(error))
            return
        shown = result[0] if isinstance(result, tuple) and result else result
        self.broken(f"{message}: expected a ValueError", got=f"{shown!r:.80}")

    def concluded(self) -> Report:
        """Return the report, or raise its LawError."""
        return concluded(self.subject, self.laws, self.violations, self.notes)


# --- train steps ---------------------------------------------------------------------------------


def _parts(now: TrainState) -> dict[str, Any]:
    return {"params": now.params, "state": now.state, "opt_state": now.opt_state}


def _bits(now: TrainState) -> str:
    return bits(now.step, now.key.bits, *_parts(now).values())


def _reloaded(now: TrainState) -> TrainState:
    """Return an equal state that shares no object with `now`, as one read from a checkpoint."""
    return TrainState(now.step, Key(bytes(now.key.bits)), *map(loose, _parts(now).values()))


def _same_run(found: Findings, message: str, got: tuple[Any, Any], want: tuple[Any, Any]) -> None:
    """Require equal states and equal logs, bit for bit."""
    for name, node in _parts(want[0]).items():
        found.same(message, name, _parts(got[0])[name], node)
    if (got[0].step, got[0].key) != (want[0].step, want[0].key):
        found.broken(f"{message}: another step or key", got=got[0].step, want=want[0].step)
    logs = [{name: np.asarray(value) for name, value in dict(each[1]).items()} for each in (got, want)]
    found.same(message, "logs", *logs)


@attrs.frozen
class _Run:
    """A step, where it starts, its batches, and the straight run: every state and every log."""

    step: Any
    now: TrainState
    batches: tuple[Batch, ...]
    states: tuple[TrainState, ...]
    logs: tuple[Any, ...]

    @property
    def last(self) -> tuple[TrainState, dict[str, Any]]:
        """The last state and the logs of all steps, stacked."""
        names = self.logs[0]
        return self.states[-1], {name: np.array([log[name] for log in self.logs]) for name in names}


def _straight(found: Findings, step: Any, now: TrainState, batches: tuple[Batch, ...]) -> _Run | None:
    """Return the run as far as it goes: what stops it is reported, the other laws see the rest."""
    states, logs = [now], []
    for i, batch in enumerate(batches):
        try:
            result = step(states[-1], batch)
        except Exception as error:
            found.broken(f"step {i} raised {described(error)}")
            break
        kinds = [type(each) for each in result] if isinstance(result, tuple) else [type(result)]
        if kinds[:1] != [TrainState] or len(kinds) != 2 or not issubclass(kinds[1], Mapping):
            got = ", ".join(kind.__name__ for kind in kinds)
            found.broken(f"expected (TrainState, dict) of step {i}, got ({got})")
            break
        states.append(result[0])
        logs.append(result[1])
    return _Run(step, now, batches[: len(logs)], tuple(states), tuple(logs)) if logs else None


def _logs(run: _Run, found: Findings) -> None:
    for i, log in enumerate(run.logs):
        if log.keys() != run.logs[0].keys():
            found.broken(f"other names at step {i}", got=sorted(log), want=sorted(run.logs[0]))
        for name, value in log.items():
            if np.ndim(value) or not isinstance(value, int | float | np.generic | np.ndarray):
                found.broken(f"expected one number at step {i}", leaf=f"logs/{name}", got=value)
            elif not math.isfinite(value):
                found.broken(f"not finite at step {i}", leaf=f"logs/{name}", got=float(value))


def _structure(run: _Run, found: Findings) -> None:
    kinds = [
        {path: f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in tree.items(_parts(now))}
        for now in run.states
    ]
    for i, (now, kind) in enumerate(zip(run.states[1:], kinds[1:], strict=True)):
        for path in sorted(kinds[0].keys() | kind.keys()):
            if (got := kind.get(path)) != (want := kinds[0].get(path)):
                found.broken(f"a leaf changed its kind at step {i}", leaf=path, got=got, want=want)
        if now.step != run.now.step + i + 1:
            found.broken("the clock", leaf="step", got=now.step, want=run.now.step + i + 1)
        if now.key != run.now.key:
            found.broken(f"the key changed at step {i}", leaf="key", got=now.key, want=run.now.key)
        for path, leaf in tree.items(_parts(now)):
            with np.errstate(all="ignore"):
                if not np.isfinite(leaf).all():
                    found.broken(f"not finite after step {i}", leaf=path)


def _pure(run: _Run, found: Findings) -> None:
    # Backwards, and once more: what hangs on the order of calls or on their number shows.
    for i in [*reversed(range(len(run.batches))), 0]:
        got = run.step(run.states[i], run.batches[i])
        _same_run(found, f"step {i} called again", got, (run.states[i + 1], run.logs[i]))


def _untouched(run: _Run, found: Findings) -> None:
    now, batch = _reloaded(run.now), loose(run.batches[0])
    before, kept = _bits(now), loose(batch)
    after, _ = run.step(now, batch)
    result = _bits(after)
    if _bits(now) != before:
        found.broken("was written to", leaf="now")
    for name, got, want in zip(("x", "target", "weight"), batch, kept, strict=False):
        if bits(got) != bits(want):
            found.broken("was written to", leaf=name)
    for array in (each for part in batch for each in (part if isinstance(part, tuple) else (part,))):
        if isinstance(array, np.ndarray):
            array[...] = 0
    for other in run.batches[1:]:
        run.step(after, other)
    if _bits(after) != result:
        found.broken("changed after it was handed out, with the batch or by a later step", leaf="next")


def _resume(run: _Run, found: Findings) -> None:
    for split in range(len(run.batches)):
        now = _reloaded(run.states[split])
        for i in range(split, len(run.batches)):
            now, log = run.step(now, loose(run.batches[i]))
            message = f"resumed before batch {split}, step {i}"
            _same_run(found, message, (now, log), (run.states[i + 1], run.logs[i]))
            if _bits(now) != _bits(run.states[i + 1]):
                return


def _scan(run: _Run, found: Findings) -> None:
    _same_run(found, "scan is not the fold", scan(run.step, run.now, run.batches), run.last)
    now, logs = scan(run.step, run.now, iter(()))
    if now is not run.now or logs:
        found.broken("scan over no batch", got=logs, want={})


def _jit(run: _Run, found: Findings) -> None:
    plain = run.step.step if isinstance(run.step, Jitted) else run.step
    fast, now = jit(plain), run.now
    for i, batch in enumerate(run.batches):
        after, log = fast(now, batch)
        _same_run(found, f"jit at step {i}", (after, log), plain(now, batch))
        now = after
    again = fast(_reloaded(run.states[0]), run.batches[0])
    _same_run(found, "jit at a state it has not made", again, (run.states[1], run.logs[0]))
    _same_run(found, "scan of jit", scan(jit(plain), run.now, run.batches), run.last)


def _random(run: _Run, found: Findings) -> None:
    """A step that heeds its key draws anew at every step; what is drawn shows in the logs."""

    def first(**changes: Any) -> str:
        _, log = run.step(attrs.evolve(_reloaded(run.now), **changes), run.batches[0])
        return bits({name: np.asarray(value) for name, value in log.items()})

    keys = [run.now.key.fold("another", i) for i in range(3)]
    if all(first(key=key) == first() for key in keys):
        found.notes.append("random: the logs do not depend on the key")
        return
    if all(first(step=run.now.step + 1 + i) == first() for i in range(3)):
        found.broken("the logs depend on the key but not on the step: draws repeat", leaf="logs")


_STEP_LAWS: dict[str, Callable[[_Run, Findings], None]] = {
    "logs": _logs,
    "structure": _structure,
    "untouched": _untouched,
    "pure": _pure,
    "resume": _resume,
    "scan": _scan,
    "jit": _jit,
    "random": _random,
}


def check_train_step(step: Any, now: TrainState, batches: Iterable[Batch]) -> Report:
    """Prove a train step right, or raise with every law that it breaks.

    Laws, by name: `call`, `logs` (one finite number by each name, the same names at every step),
    `structure` (leaves keep shape and dtype and are finite, the clock ticks, the key stays),
    `untouched` (neither arguments nor earlier results change), `pure` (in any order of calls),
    `resume` (from every state, rebuilt as from a file, the straight run), `scan` (the fold), `jit`
    (the plain step), `random` (a step that heeds its key draws anew at every step). All bit for bit.

    Args:
        step: `(now, batch) -> (next, logs)`, such as `train_step` makes.
        now: Where to start.
        batches: Two or more of them show most; walked once.

    Raises:
        LawError: If a law is broken; lists all findings.
        OptionError: If `now` is no TrainState or there is no batch.
    """
    who = ("check_train_step",)
    if not isinstance(now, TrainState):
        raise OptionError(f"now: expected a TrainState, got {type(now).__name__}", path=who)
    if not (given := tuple(batches)):
        raise OptionError("batches: expected one batch or more, got none", path=who)
    found, run = Findings(f"step {named(step)}"), None
    with found.law("call"):
        run = _straight(found, step, now, given)
    if run is not None:
        for name, law in _STEP_LAWS.items():
            with found.law(name):
                law(run, found)
    return found.concluded()


# --- codecs ----------------------------------------------------------------------------------------


def _unknown(labels: Array) -> Any:
    """Return labels of the kind of these, the last of them none that they hold, or None."""
    if labels.dtype.kind not in "iufU":
        return None
    most = max(labels.tolist())
    return np.append(labels[:-1], f"{most}?" if isinstance(most, str) else most + 1)


def check_codec(codec: Any, labels: Any) -> Report:
    """Prove a codec of labels right, or raise with every law that it breaks.

    Laws, by name: `call`, `round_trip` (decode gives back what encode took), `rows` (a float32 row per
    label, entries of 0 or more that sum to 1, equal for equal labels alone), `untouched`, `pure`,
    `fit` (whatever the order and number of labels), `immutable` (classes are read-only) and
    `unknown` (a label that was not fitted, and rows of another width, raise a ValueError).

    Args:
        codec: A class with `fit(labels)`, or what that returns, with `encode`, `decode`, `classes`.
        labels: An array of two or more distinct labels that the codec knows, all of them.

    Raises:
        LawError: If a law is broken; lists all findings.
    """
    found, given = Findings(f"codec {named(codec)}"), np.array(labels)
    fit: Any = getattr(codec, "fit", None) if isinstance(codec, type) else None
    fitted, rows = None, None
    with found.law("call"):
        fitted = fit(given.copy()) if fit else codec
        rows = np.array(fitted.encode(given.copy()))
    if fitted is None or rows is None:
        return found.concluded()
    with found.law("round_trip"):
        back = np.asarray(fitted.decode(rows.copy()))
        if (
            back.shape != given.shape
            or not (back == given).all()
            or back.dtype.kind != given.dtype.kind
        ):
            found.broken("decode does not give back what encode took", got=back, want=given)
    with found.law("rows"):
        if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != len(given):
            found.broken("expected float32, one row per label", got=f"{rows.dtype}{list(rows.shape)}")
        elif not (rows >= 0).all() or not (rows.sum(axis=1) == 1).all():
            found.broken(
                "expected entries of 0 or more that sum to 1", leaf="rows", got=rows.sum(axis=1)
            )
        same = (rows[:, None] == rows[None]).all(axis=-1)
        if not (same == (given[:, None] == given[None])).all():
            found.broken("rows are equal where labels are not, or the other way round", leaf="rows")
    with found.law("untouched"):
        loose, wide = given.copy(), rows.copy()
        fitted.encode(loose)
        fitted.decode(wide)
        found.same("decode wrote to them", "rows", wide, rows)
        if not (loose == given).all():
            found.broken("encode wrote to them", leaf="labels")
    with found.law("pure"):
        order = np.arange(len(given))[::-1]
        found.same("labels in another order", "rows", fitted.encode(given[order]), rows[order])
        found.same("called again", "rows", fitted.encode(given.copy()), rows)
        if np.shares_memory(fitted.encode(given), fitted.encode(given)):
            found.broken("two results share their memory", leaf="rows")
    with found.law("fit"):
        for other in (given[::-1], np.tile(given, 2)) if fit else ():
            found.same("fitted backwards or twice", "rows", fit(other.copy()).encode(given), rows)
    with found.law("immutable"):
        if fitted.classes.flags.writeable:
            found.broken("can be written to", leaf="classes")
    with found.law("unknown"):
        if (strange := _unknown(given)) is not None:
            found.refused(f"the unknown label {strange[-1]!r}", lambda: fitted.encode(strange))
        for width in (rows.shape[1] - 1, rows.shape[1] + 1):
            message = f"rows {width} wide for {rows.shape[1]} classes"
            found.refused(message, lambda width=width: fitted.decode(np.ones((1, width))))  # type: ignore[misc]
    return found.concluded()
