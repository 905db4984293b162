"""What tests of machine code share: functions as machine code beside the list."""

from __future__ import annotations

import numpy as np
from replay_cases import kinds

import fnn
from fnn.compile.listing import Carry, Listed
from fnn.compile.recording import recorded

NET = fnn.serial(fnn.Dense(8), fnn.BatchNorm(), fnn.Tanh(), fnn.Dropout(0.2), fnn.Dense(3))


def batch_at(i, n=8):
    rng = np.random.default_rng(i)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n)


def made(optimizer, net=NET):
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    return step, fnn.init_train_state(net, optimizer, (4,), fnn.Key.of(0))


def programs(jitted):
    return [each.listed for kind in kinds(jitted) for each in kind.variants]


def compiled(f, *arrays):
    """Return a program of f as machine code and as the list, with what the memory of neither says."""

    def run(recording):
        return {"y": f(*(recording.input(f"x{i}", each) for i, each in enumerate(arrays)))}

    from fnn.compile.machine.executor import Machine  # Where llvmlite is installed.

    program = recorded(run)
    listed, machine = Listed(program, Carry(program)), Machine(program, Carry(program))
    machine._memory[:] = 0xFF
    for memory, _ in listed._at.values():
        memory[:] = 0xFF
    return machine, listed


@np.errstate(all="ignore")
def assert_same(f, *arrays, native=True):
    """Assert that a function has equal bits as machine code, and as the list."""
    from fnn.compile.machine.trials import agree

    machine, listed = compiled(f, *arrays)
    found = machine.run(list(arrays), 0, None)["y"]
    assert agree(found.copy(), listed.run(list(arrays), 0, None)["y"])
    if native:
        left = [item.op.text({}) for item in machine.items if item.native is None]
        assert not left
    return machine
