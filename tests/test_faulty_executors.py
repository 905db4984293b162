"""Executors that do something else than the step are never trusted."""

from __future__ import annotations

import numpy as np
import pytest
from replay_cases import bits, kinds
from test_course import batch_at, made, plain, trained_jit

import fnn
from fnn.compile import listing
from fnn.compile.program import Op

WRITE = listing.Writer._write


def swapped(self, op):
    if op.f in (np.subtract, np.divide) and len(op.args) == 2:
        op = Op(op.kind, op.f, op.args[::-1], op.options, op.out)
    WRITE(self, op)


def reordered(self, op):
    name = getattr(op.f, "__name__", "")
    if name == "reduce" and op.options.get("axis") in (0, -1) and not op.options.get("keepdims"):
        axis = op.options["axis"]

        def backwards(a, axis=axis, out=None, **options):
            return np.add.reduce(np.flip(a, axis).copy(), axis=axis, out=out) * np.float32(1 + 1e-7)

        op = Op("into", backwards, op.args, {}, op.out)
    WRITE(self, op)


def forgetful(self, op):
    if op.out is None or not op.out.block.kind.startswith("next 4"):
        WRITE(self, op)


def contracted(self, op):
    if op.f is np.multiply and op.out is not None and op.out.dtype == np.float32:

        def wide(a, b):
            return (np.asarray(a, np.float64) * np.asarray(b, np.float64) * (1 + 2**-24)).astype("f4")

        op = Op("into", wide, op.args, {}, op.out)
    WRITE(self, op)


@pytest.mark.parametrize("fault", [swapped, reordered, forgetful, contracted])
def test_a_faulty_executor_is_never_trusted(fault, monkeypatch):
    monkeypatch.setattr(listing.Writer, "_write", fault)
    step, now = made()
    jitted, batches = fnn.jit(step), [batch_at(i) for i in range(20)]
    assert bits(fnn.scan(jitted, now, batches)[0]) == bits(plain(step, now, batches))
    (kind,) = kinds(jitted)
    assert not kind.is_ready
    assert "no program; a program " in repr(jitted)


def test_memory_that_is_used_again_while_it_lives_is_never_trusted(monkeypatch):
    placed = listing.placed

    def overlapping(ops, kept):
        offsets, size = placed(ops, kept)
        return {block: at // 2 // 64 * 64 for block, at in offsets.items()}, size

    monkeypatch.setattr(listing, "placed", overlapping)
    step, now = made()
    jitted, batches = fnn.jit(step), [batch_at(i) for i in range(12)]
    assert bits(fnn.scan(jitted, now, batches)[0]) == bits(plain(step, now, batches))
    assert not kinds(jitted)[0].is_ready


def test_a_guard_that_is_skipped_is_why_guards_are_tested(monkeypatch):
    def unguarded(self, op):
        if op.kind != "guard":
            WRITE(self, op)

    x, target = batch_at(11)
    bad = x, np.where(np.arange(8) == 3, 7, target)
    with pytest.raises(fnn.DataError):
        trained_jit()[1](made()[1], bad)
    monkeypatch.setattr(listing.Writer, "_write", unguarded)
    _, jitted, now = trained_jit()
    jitted(now, bad)  # Wrong, and only so: the guard is what the test above sees.
