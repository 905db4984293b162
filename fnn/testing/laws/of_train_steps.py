"""Laws of train steps.

A step is held to its promises bit for bit: a resumed run is the straight run, `scan` is the fold,
`jit` changes nothing, randomness comes from the key and the step alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.keys import Key
from fnn.testing.findings import Findings, bits, named
from fnn.testing.report import Report
from fnn.testing.values import described, loose
from fnn.training.jitted import Jitted, jit, scan
from fnn.training.state import Batch, TrainState

# --- what all checks of users' functions share ------------------------------------------------


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
