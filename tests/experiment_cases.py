"""A small experiment with all that a resumed run could get wrong, for tests to stop and go on with.

As a script it is an experiment; `serve` forks one run per line of arguments, so that a test that
kills hundreds does not wait for as many imports.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

import attrs

import fnn
import fnn.runs.experiment
import fnn.runs.pictures
from fnn.experiment import main, option


@attrs.frozen
class Config:
    """What the tests vary."""

    epochs: int = option(8, "passes over the data", least=0)
    rate: float = option(0.01, "learning rate", least=0)
    examples: int = option(150, "how many digits to learn", least=20)
    save_seconds: float = option(0.0, "time between checkpoints", least=0)
    seed: int = option(0, "of every draw")
    out: Path = option(Path("out/small"), "folder of the run")


def network() -> fnn.Layer:
    """Return a network with masks and running moments."""
    return fnn.serial(fnn.Dense(12), fnn.BatchNorm(), fnn.Relu(), fnn.Dropout(0.3), fnn.Dense(10))


def train(config, run):
    """Train with moments in the optimizer and a smaller last batch, and record around it."""
    digits = fnn.digits("all").take(config.examples + 20)
    train_set, test_set = digits.split(config.examples)
    run.data(train=train_set, test=test_set)
    run.record(examples=config.examples, nothing=float("nan"))
    net = network()
    fit = run.fit(
        net,
        fnn.softmax_cross_entropy,
        fnn.adam(config.rate),
        train_set,
        epochs=config.epochs,
        batch_size=8,
        key=fnn.Key.of(config.seed),
        validation=test_set,
        metrics=fnn.accuracy,
        save_seconds=config.save_seconds,
    )
    kept = run.keep(net, fit.last, train_set.x.shape[1:])
    score = fnn.evaluate(net, fit.best, test_set, fnn.accuracy)["accuracy"]
    run.record(best=score)
    return {"best": score, "digest": kept["digest"]}


def serve() -> None:
    """Run what is asked for on stdin, one process each, killed after a time if one is given.

    A line is the path of a script, its arguments and the time, in JSON.
    """
    # Scripts save by the clock; here every moment is one to go on from.
    fnn.runs.experiment.Run.fit.__kwdefaults__["save_seconds"] = 0.0
    for line in sys.stdin:
        script, argv, kill_after = json.loads(line)
        # Before the fork, so that it is not imported hundreds of times.
        asked = loaded(script)
        child = os.fork()
        if child == 0:
            with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
                sys.stdout = sys.stderr = nowhere
                try:
                    main(asked.train, asked.Config, argv)
                except SystemExit as stopped:
                    os._exit(int(stopped.code or 0))
                os._exit(0)
        if kill_after is not None:
            time.sleep(kill_after)
            # Its number is nobody else's before it is waited for.
            os.kill(child, signal.SIGKILL)
        sys.stdout.write(f"{os.waitpid(child, 0)[1]}\n")
        sys.stdout.flush()


@functools.cache
def loaded(script: str):
    """Return a script as a module; this one as it is."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))  # As where it is run itself.
    if Path(script) == Path(__file__):
        return sys.modules[__name__]
    fnn.pictures.require()
    spec = importlib.util.spec_from_file_location(Path(script).stem, script)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main(train, Config)
