"""Run folders as values: what run.json, the metrics, the model and the evaluation say."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from fnn.errors import DataError, FnnError
from fnn.files import PathLike, limit, opened
from fnn.kernels.values import is_tuple_of_shapes
from fnn.runs.checkpoint import load_tree
from fnn.runs.checkpoint.models import shape_of
from fnn.runs.experiment import read_run
from fnn.runs.experiment.folders import holds
from fnn.runs.experiment.program import history
from fnn.runs.report.parts import as_number, clip, plain_text
from fnn.tree import Array

MODEL, METRICS, EVALUATION = "model.npz", "metrics.jsonl", "evaluation.npz"
_MOST_RECORDS = 2_000_000
_MOST_COLUMNS = 60
_MOST_VALUES = 1 << 24
_MOST_AXES = 8


@attrs.frozen(eq=False)
class Column:
    """One metric over a run: where on the axis, and what it was; NaN where it was not finite."""

    axis: str
    x: Array
    y: Array


@attrs.frozen(eq=False)
class Evaluation:
    """What a trained network made of a data set.

    Attributes:
        predicted: Class of each example according to the network, (n,).
        target: True class of each example, (n,).
        x: Some of the examples.
        index: Which ones: `x[i]` has the classes at `index[i]`.
    """

    predicted: Array
    target: Array
    x: Array
    index: Array


@attrs.frozen(eq=False)
class RunRecord:
    """All that a run's folder says, and notes on what it could not say.

    Attributes:
        folder: Where it is.
        about: run.json.
        columns: The metrics by name.
        params: The trained parameters, None without a model.
        in_shape: Shape of one example, None without a model.
        evaluation: What the network made of the test set, None if it was not kept.
        notes: What was damaged or left out.
    """

    folder: Path
    about: dict[str, Any]
    columns: dict[str, Column]
    params: Mapping[str, Any] | None
    in_shape: tuple[Any, ...] | None
    evaluation: Evaluation | None
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The experiment's name."""
        return plain_text(self.about.get("experiment", "run"))

    @property
    def config(self) -> dict[str, Any]:
        """The config, as JSON holds it; what is within a config has its full name, "optimizer.rate"."""
        return _by_full_names(self.about["config"])

    @property
    def result(self) -> dict[str, Any]:
        """What the run returned; nothing unless it finished."""
        result = self.about.get("result")
        return result if isinstance(result, dict) else {}

    @property
    def source(self) -> str:
        """The line in which the run said what its data are, empty if it did not."""
        source = self.about.get("source")
        return source if isinstance(source, str) else ""

    @property
    def fits(self) -> list[dict[str, Any]]:
        """What each training of the run was told, in order."""
        fits = self.about.get("fits")
        return [fit for fit in fits if isinstance(fit, dict)] if isinstance(fits, list) else []

    @property
    def validation(self) -> str:
        """What the run calls its validation set: "test" where it was validated on its test set."""
        names = {plain_text(fit.get("validation")) for fit in self.fits if fit.get("validation")}
        return clip(min(names), 20) if len(names) == 1 else "validation"

    @property
    def used(self) -> dict[str, Any]:
        """What options came to, of those that came to something else than the config says."""
        found: dict[str, Any] = {}
        noted = self.about.get("used")
        told = [*self.fits, noted if isinstance(noted, dict) else {}]
        for name, value in self.config.items():
            came = {plain_text(each[name]): each[name] for each in told if name in each}
            if came and list(came) != [plain_text(value)]:
                found[name] = ", ".join(came) if len(came) > 1 else next(iter(came.values()))
        return found

    @property
    def effective(self) -> dict[str, Any]:
        """The config with what its options came to in their place."""
        return {**self.config, **self.used}

    @property
    def recipe(self) -> str | None:
        """The network as the code that makes it, None if it was not kept."""
        recipe = self.about.get("network") or self.result.get("network")
        return recipe if isinstance(recipe, str) else None


def _by_full_names(entries: dict[str, Any], before: str = "", depth: int = 8) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in entries.items():
        # A stranger's may be nested so deeply that nobody could show it.
        if isinstance(value, dict) and value and depth:
            found |= _by_full_names(value, f"{before}{name}.", depth - 1)
        else:
            found[before + name] = value
    return found


def read(folder: PathLike) -> RunRecord:
    """Return what the folder of a run says.

    What is missing is left out, what cannot be read is left out with a note.

    Raises:
        DataError: If it is no run's folder, its run.json is damaged or newer than this library, or a
            line of its metrics that is not the last is damaged. Names the file.
    """
    folder = Path(folder)
    about = read_run(folder)
    notes: list[str] = []
    status = about.get("status")
    if status != "finished":
        why = f": {plain_text(about['error'])}" if about.get("error") else ""
        notes.append(f"This run's status is “{plain_text(status)}”{why}.")
    notes += [f"The program {plain_text(line)}." for line in history(about)]
    columns = _columns(folder, notes)
    params, in_shape = _model(folder, notes)
    evaluation = _evaluation(folder, notes)
    return RunRecord(folder, about, columns, params, in_shape, evaluation, tuple(notes))


# --- metrics --------------------------------------------------------------------------------


def _records(folder: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    path, longest, left = folder / METRICS, limit("line"), limit("metrics")
    number = 0
    try:
        with opened(path, within=folder) as file:
            # A line without an end could be as long as the disk.
            while line := file.readline(longest):
                left -= len(line)
                if number == _MOST_RECORDS or left < 0:
                    notes.append(f"{path.name}: only the first {number:,} records are shown.")
                    break
                if not line.strip():
                    continue
                record = _record(line)
                if record is None:
                    if line.endswith(b"\n") or len(line) == longest:
                        raise DataError(
                            f"{path}: expected a JSON object per line, damaged at record {number + 1}"
                        )
                    notes.append(f"{path.name}: the last line is half-written and was left out.")
                    break
                number += 1
                yield record
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)  # NaN too: what others wrote may be drawn.
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _float(value: Any) -> float:
    """Return a number that can be drawn: beyond 1e300 it is infinite, below 1e-300 it is 0."""
    try:
        number = float(value)
    except OverflowError:
        return math.inf
    if abs(number) > 1e300:
        return math.copysign(math.inf, number)
    return number if abs(number) >= 1e-300 or math.isnan(number) else 0.0


def _columns(folder: Path, notes: list[str]) -> dict[str, Column]:
    # Rows and numbers of each metric in 16 bytes apiece: as Python objects they take ten times that.
    found: dict[str, tuple[array[int], array[float]]] = {}
    for i, record in enumerate(_records(folder, notes)):
        for name, value in record.items():
            if (entry := as_number(value)) is not None and (
                name in found or len(found) < _MOST_COLUMNS
            ):
                rows, values = found.setdefault(name, (array("q"), array("d")))
                rows.append(i)
                values.append(_float(entry))
    points = {name: (np.array(rows), np.array(values)) for name, (rows, values) in found.items()}
    columns = {}
    for name, (at, y) in points.items():
        if name in ("epoch", "step"):
            continue
        axis, x = _axis(points, at)
        columns[name] = Column(axis, x, np.where(np.isfinite(y), y, np.nan))
    return columns


def _axis(points: dict[str, tuple[Array, Array]], rows: Array) -> tuple[str, Array]:
    for axis in ("epoch", "step"):
        if axis not in points:
            continue
        there, values = points[axis]
        at = np.minimum(np.searchsorted(there, rows), len(there) - 1)
        x = np.where(there[at] == rows, values[at], np.nan)
        # What cannot be told from its neighbour in print is no axis.
        if np.isfinite(x).all() and (len(x) < 2 or np.diff(x).min() > 1e-12 * np.abs(x).max()):
            return axis, x
    return "record", rows + 1.0


# --- arrays ---------------------------------------------------------------------------------


def _model(folder: Path, notes: list[str]) -> tuple[Mapping[str, Any] | None, tuple[Any, ...] | None]:
    path = folder / MODEL
    try:
        if not holds(folder, path.name):
            return None, None
        model = load_tree(path, within=folder)
        params, shape = model.get("params"), model.get("in_shape")
        if not isinstance(params, Mapping) or shape is None:
            raise DataError(f"{path}: expected params and in_shape, got {sorted(model)}")
        sizes = shape_of(shape)
    except FnnError as error:
        notes.append(f"The model is left out: {error}")
        return None, None
    if any(len(part) > _MOST_AXES or math.prod(part) > _MOST_VALUES for part in _parts(sizes)):
        notes.append(f"The model is left out: examples of shape {sizes} are too large to show.")
        return None, None
    return params, sizes


def _parts(shape: tuple[Any, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of all arrays of an example."""
    if is_tuple_of_shapes(shape):
        return [each for part in shape for each in _parts(part)]
    return [shape]


def _evaluation(folder: Path, notes: list[str]) -> Evaluation | None:
    path = folder / EVALUATION
    try:
        if not holds(folder, path.name):
            return None
        leaves = load_tree(path, within=folder)
        arrays = [leaves.get(name) for name in ("predicted", "target", "x", "index")]
        predicted, target, x, index = arrays
        for leaf in arrays:
            if not isinstance(leaf, np.ndarray):
                raise DataError(
                    f"{path}: expected predicted, target, x and index, got {sorted(leaves)}"
                )
        _check_classes(path, predicted, target, x, index)
    except FnnError as error:
        notes.append(f"The evaluation is left out: {error}")
        return None
    return Evaluation(predicted, target, x, index)  # type: ignore[arg-type]


def _check_classes(path: Path, predicted: Any, target: Any, x: Any, index: Any) -> None:
    if not (predicted.ndim == 1 and predicted.shape == target.shape and predicted.size):
        got = f"{predicted.shape} and {target.shape}"
        raise DataError(f"{path}: expected a class per example in predicted and target, got {got}")
    if index.shape != x.shape[:1]:
        raise DataError(f"{path}: expected an index per example, got {index.shape} for x {x.shape}")
    for name, leaf in (("predicted", predicted), ("target", target), ("index", index)):
        if leaf.dtype.kind not in "iub":
            raise DataError(f"{path}: expected integers in {name}, got {leaf.dtype}")
    if index.size and not (index.min() >= 0 and index.max() < predicted.size):
        raise DataError(f"{path}: expected index below {predicted.size}, got {index.max()}")
