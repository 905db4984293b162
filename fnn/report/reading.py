"""Run folders as values: what run.json, the metrics, the model and the evaluation say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from fnn.checkpoint import load_tree
from fnn.errors import DataError, FnnError
from fnn.experiment import read_run
from fnn.files import PathLike, opened
from fnn.report.parts import as_number, clip, plain_text
from fnn.tree import Array

MODEL, METRICS, EVALUATION = "model.npz", "metrics.jsonl", "evaluation.npz"
_MOST_RECORDS = 2_000_000
_MOST_COLUMNS = 60
_LONGEST_LINE = 1 << 20
_MOST_VALUES = 1 << 24


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
    in_shape: tuple[int, ...] | None
    evaluation: Evaluation | None
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The experiment's name."""
        return plain_text(self.about.get("experiment", "run"))

    @property
    def config(self) -> dict[str, Any]:
        """The config, as JSON holds it."""
        return dict(self.about["config"])

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
    def used(self) -> dict[str, str]:
        """What options came to where the config does not say it, as text."""
        found: dict[str, str] = {}
        noted = self.about.get("used")
        told = [*self.fits, noted if isinstance(noted, dict) else {}]
        for name, value in self.config.items():
            came = dict.fromkeys(plain_text(each[name]) for each in told if name in each)
            if came and list(came) != [plain_text(value)]:
                found[name] = clip(", ".join(came))
        return found

    @property
    def recipe(self) -> str | None:
        """The network as the code that makes it, None if it was not kept."""
        recipe = self.about.get("network") or self.result.get("network")
        return recipe if isinstance(recipe, str) else None


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
    columns = _columns(folder / METRICS, notes)
    params, in_shape = _model(folder / MODEL, notes)
    evaluation = _evaluation(folder / EVALUATION, notes)
    return RunRecord(folder, about, columns, params, in_shape, evaluation, tuple(notes))


# --- metrics --------------------------------------------------------------------------------


def _records(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    try:
        with opened(path) as file:
            # A line without an end could be as long as the disk.
            while line := file.readline(_LONGEST_LINE):
                if len(records) == _MOST_RECORDS:
                    notes.append(f"{path.name}: only the first {_MOST_RECORDS:,} records are shown.")
                    break
                if not line.strip():
                    continue
                record = _record(line)
                if record is None:
                    if line.endswith(b"\n") or len(line) == _LONGEST_LINE:
                        at = len(records) + 1
                        raise DataError(
                            f"{path}: expected a JSON object per line, damaged at record {at}"
                        )
                    notes.append(f"{path.name}: the last line is half-written and was left out.")
                    break
                records.append(record)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return records


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


def _columns(path: Path, notes: list[str]) -> dict[str, Column]:
    records = _records(path, notes)
    found: dict[str, list[tuple[int, float]]] = {}
    for i, record in enumerate(records):
        for name, value in record.items():
            if (entry := as_number(value)) is not None and (
                name in found or len(found) < _MOST_COLUMNS
            ):
                found.setdefault(name, []).append((i, _float(entry)))
    columns = {}
    for name, points in found.items():
        if name in ("epoch", "step"):
            continue
        rows = [i for i, _ in points]
        axis, x = _axis(found, rows)
        y = np.array([value for _, value in points])
        columns[name] = Column(axis, x, np.where(np.isfinite(y), y, np.nan))
    return columns


def _axis(found: dict[str, list[tuple[int, float]]], rows: list[int]) -> tuple[str, Array]:
    for axis in ("epoch", "step"):
        places = dict(found.get(axis, ()))
        x = np.array([places.get(i, math.nan) for i in rows])
        # What cannot be told from its neighbour in print is no axis.
        if np.isfinite(x).all() and (len(x) < 2 or np.diff(x).min() > 1e-12 * np.abs(x).max()):
            return axis, x
    return "record", np.array(rows, np.float64) + 1


# --- arrays ---------------------------------------------------------------------------------


def _model(path: Path, notes: list[str]) -> tuple[Mapping[str, Any] | None, tuple[int, ...] | None]:
    if not path.exists():
        return None, None
    try:
        model = load_tree(path)
        params, shape = model.get("params"), model.get("in_shape")
        if not isinstance(params, Mapping) or not isinstance(shape, np.ndarray):
            raise DataError(f"{path}: expected params and in_shape, got {sorted(model)}")
        if shape.ndim != 1 or shape.dtype.kind not in "iu" or shape.size > 8:
            raise DataError(f"{path}: expected in_shape to be a few integers, got {shape!r:.80}")
    except FnnError as error:
        notes.append(f"The model is left out: {error}")
        return None, None
    sizes = tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes) or math.prod(sizes) > _MOST_VALUES:
        notes.append(f"The model is left out: examples of shape {sizes} are too large to show.")
        return None, None
    return params, sizes


def _evaluation(path: Path, notes: list[str]) -> Evaluation | None:
    if not path.exists():
        return None
    try:
        leaves = load_tree(path)
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
