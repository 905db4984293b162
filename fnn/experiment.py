"""Experiments: a frozen config becomes a command line, and a run of it a folder that says it all.

@attrs.frozen
class Config:
    epochs: int = option(20, "passes over the training set", least=1)
    out: Path = option(Path("out/demo"), "folder for the report and the pictures")

def train(config: Config, run: Run) -> dict[str, float]: ...

if __name__ == "__main__":
    main(train, Config)
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import attrs
import numpy as np

from fnn import tree
from fnn.checkpoint import save_tree
from fnn.config import C, config_from, option, parse, plain
from fnn.errors import DataError, FnnError, OptionError
from fnn.files import PathLike, replacing
from fnn.layer import Layer, Shape
from fnn.loop import Fit, History
from fnn.state import TrainState

__all__ = [
    "Run",
    "config_from",
    "execute",
    "main",
    "option",
    "read_run",
]

_FORMAT = 1
MODEL = "model.npz"
"""The file of a run's folder that holds its trained network."""


@attrs.frozen
class Run:
    """A run's folder, to which `train` reports."""

    folder: Path

    def say(self, text: str) -> None:
        """Print a line at once, and keep it in log.txt."""
        _write_line(text)
        with (self.folder / "log.txt").open("a", encoding="utf-8", newline="\n") as log:
            log.write(text + "\n")

    def record(self, **numbers: Any) -> None:
        """Add a line of JSON to metrics.jsonl, e.g. `run.record(epoch=3, loss=0.1)`.

        Raises:
            OptionError: If a value is no number, text or list of those.
        """
        line = json.dumps(plain(numbers), allow_nan=False)
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8", newline="\n") as metrics:
            metrics.write(line + "\n")

    def epoch(self, now: TrainState, history: History) -> None:
        """Record an epoch and say it in a line: a callback for `fnn.fit`."""
        last = dict(history[-1])
        self.record(**last)
        epoch = last.pop("epoch")
        del last["step"]
        words = (f"{name.replace('_', ' ')} {value:.4f}" for name, value in last.items())
        self.say(f"epoch {epoch:3d}  " + "  ".join(words))

    def settle(self, fit: Fit) -> Fit:
        """Return `fit`, saying so if Ctrl-C ended it.

        Raises:
            KeyboardInterrupt: If it ended before one epoch was over, so that there is nothing to show.
        """
        if fit.interrupted and not fit.history:
            raise KeyboardInterrupt
        if fit.interrupted:
            self.say(f"stopped after {len(fit.history)} epochs; what follows is from there")
        return fit

    def keep(self, net: Layer, now: TrainState, in_shape: Shape) -> dict[str, Any]:
        """Save what was trained, to be loaded again; return the network and its digest.

        Args:
            net: The network.
            now: The state to save: its parameters and what it carries.
            in_shape: Shape of one example.
        """
        model: dict[str, Any] = {
            "params": now.params,
            "state": now.state,
            "in_shape": np.array(in_shape),
        }
        save_tree(self.path(MODEL), model)
        size, digest = tree.size(now.params), tree.digest(now.params)
        return {"network": repr(net), "parameters": size, "digest": digest}

    def path(self, name: str) -> Path:
        """Return where the file `name` of this run goes; folders on the way are made.

        Raises:
            OptionError: If it would lie outside the run's folder.
        """
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise OptionError(f"Run.path: expected a name within {self.folder}, got {name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _write_line(text: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    # A console that knows no "½" must not end a training.
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()


def _script(train: Callable[..., Any]) -> tuple[str, str]:
    """Return the name and the docstring of the script that `train` is from."""
    module = sys.modules[train.__module__]
    file = getattr(module, "__file__", None)
    return Path(file).stem if file else module.__name__, module.__doc__ or ""


def _versions() -> dict[str, str]:
    try:
        fnn = importlib.metadata.version("fnn")
    except importlib.metadata.PackageNotFoundError:
        fnn = "not installed"
    return {"python": platform.python_version(), "numpy": np.__version__, "fnn": fnn}


def execute(train: Callable[[C, Run], Mapping[str, Any] | None], config: C) -> dict[str, Any]:
    """Train in the config's folder and write run.json, at the start and again at the end.

    Results are those that `train` returns. An earlier run's log and metrics in the folder are
    replaced. Whatever ends the run early stands in run.json and is raised again.

    Raises:
        DataError: If the folder cannot be written to.
    """
    name, _ = _script(train)
    run = Run(Path(getattr(config, "out", None) or Path("out", name)))
    for file in ("metrics.jsonl", "log.txt"):
        with replacing(run.folder / file):
            pass
    started = time.monotonic()
    about = {
        "format": _FORMAT,
        "experiment": name,
        "config": plain(config),
        "seed": getattr(config, "seed", None),
        "versions": _versions(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }

    def write(status: str, **more: Any) -> None:
        entries = {**about, "status": status, "minutes": (time.monotonic() - started) / 60, **more}
        with replacing(run.folder / "run.json") as file:
            file.write(json.dumps(entries, indent=2, allow_nan=False).encode() + b"\n")

    write("running")
    try:
        result = plain(dict(train(config, run) or {}))
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        write("interrupted" if stopped else "failed", error=f"{type(error).__name__}: {error}")
        raise
    write("finished", result=result)
    return result


def read_run(folder: PathLike) -> dict[str, Any]:
    """Return what run.json says of a run; `config_from` makes its "config" one again.

    Raises:
        DataError: If the folder holds no run, or a damaged or newer one.
    """
    path = Path(folder) / "run.json"
    try:
        about = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: no run can be read here ({error.strerror or error})") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: expected JSON; damaged, or no run of fnn") from None
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        found = about.get("format") if isinstance(about, dict) else about
        raise DataError(f"{path}: expected a run of format {_FORMAT}, got {found!r:.80}")
    if not isinstance(about.get("config"), dict):
        raise DataError(f"{path}: expected a config, got {about.get('config')!r:.80}")
    return about


def main(
    train: Callable[[C, Run], Mapping[str, Any] | None],
    config_class: type[C],
    argv: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Run an experiment from the command line; one flag per field of the config.

    Returns:
        What `train` returned, as plain numbers; it is printed too, with the folder.

    Raises:
        SystemExit: 2 for a bad command line, 1 for an error of this library or a missing optional
            package, with one line on stderr; 130 for a Ctrl-C that `train` did not handle.
    """
    name, description = _script(train)
    argv = sys.argv[1:] if argv is None else argv
    config = parse(config_class, argv, prog=f"{name}.py", description=description)
    started = time.monotonic()
    try:
        result = execute(train, config)
    except (FnnError, ImportError) as error:
        _exit(f"error: {error}", 1)
    except KeyboardInterrupt:
        _exit("interrupted", 130)
    minutes = f"{(time.monotonic() - started) / 60:.2f}"
    shown = {**result, "minutes": minutes, "folder": getattr(config, "out", None) or Path("out", name)}
    width = max(map(len, shown))
    for key, value in shown.items():
        _write_line(f"{key:<{width}}  {f'{value:.6g}' if isinstance(value, float) else value}")
    return result


def _exit(line: str, code: int) -> NoReturn:
    sys.stderr.write(line + "\n")
    raise SystemExit(code)
