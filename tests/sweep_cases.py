"""Small experiments for sweeps, in a module that other processes can import."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import attrs

from fnn.experiment import main, option


@attrs.frozen
class Config:
    learning_rate: float = option(0.1, "step size", least=0)
    n: int = option(2, "number of bits", least=1)
    widths: tuple[int, ...] = option((5,), "units", least=1)
    model: str = option("plain", "which", among=("plain", "deep", "A/B"))
    shuffle: bool = option(False, "draw a new order")
    seed: int = option(0, "where all randomness comes from")
    out: Path = option(Path("out/cases"), "folder")


def score(config):
    return 10 * config.learning_rate + config.n + 0.1 * config.seed**2


def train(config, run):
    with (run.folder / "calls").open("a") as calls:
        calls.write("x")
    run.say(f"pid {os.getpid()}")
    return {"score": score(config), "loss": 1 / (1 + config.seed), "note": "fine", "pid": os.getpid()}


class OddError(Exception):
    """An error that does not unpickle."""

    def __init__(self, one, two):
        super().__init__(f"{one}\n{two}")


def failing(config, run):
    """Fail for n = 3 until a file says that it is mended."""
    if config.n == 3 and not (run.folder.parent.parent / "mended").exists():
        raise OddError("no such luck", "with n = 3")
    return train(config, run)


def killed(config, run):
    """End the process: once for n = 3, always for n = 4."""
    again = (run.folder / "before").exists()
    (run.folder / "before").touch()
    if config.n == 4:
        # Not before n = 3 has died once: it would else be lost by the death of this one, and not yet by
        # its own, which would then count as its second.
        deadline = time.monotonic() + 30
        while not (run.folder.parent / "n=3" / "before").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    if config.n == 4 or (config.n == 3 and not again):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return train(config, run)


def killed_at_once(config, run):
    """End the process for n = 4."""
    if config.n == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return train(config, run)


def threads(config, run):
    return {"threads": int(os.environ["OPENBLAS_NUM_THREADS"]), "main": threading.current_thread().name}


def slow(config, run):
    """Take a minute where n is 3, the first time; Ctrl-C ends it."""
    if config.n == 3 and not (run.folder / "began").exists():
        (run.folder / "began").touch()
        time.sleep(60)
    return train(config, run)


if __name__ == "__main__":
    main(slow, Config)
