"""Where a training run stands, in one file: the checkpoint from which it goes on bit for bit.

A checkpoint is a saved tree (`trees.py` beside this), so that `load_tree` and `numpy.load` read it too:

    checkpoint                      version of this layout
    about                           whatever the writer says of it, as JSON
    now/{step,key,params,state,opt_state}
    best/…                          the same; an empty branch if it is `now`, missing if there is none
    place/{epoch,batch,count,stopped,best_value}
    sums/{names,values}             names as JSON, values in their order
    records/{names,0,1,…}           a column per name: int64 or float64, one entry per epoch

Numbers are kept as they are, NaN by its bits too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import numpy as np

from fnn import tree
from fnn.errors import DataError, FnnError, OptionError
from fnn.files import PathLike
from fnn.keys import Key
from fnn.runs.checkpoint.trees import SLACK, load_tree, save_tree
from fnn.training.history import Record
from fnn.training.progress import Progress
from fnn.training.state import TrainState
from fnn.tree import Array, Tree

T = TypeVar("T")

_VERSION = 1
# What a recorded number and a byte of JSON take at most once they are Python's. A file may not ask for
# more than a few times its size, so one that holds much of either is filled up to what it asks for.
_NUMBER = 128
_CHARACTER = 24
_MAX_NAMES = 1 << 14
_MORE = ("best", "checkpoint", "filling")


def save_checkpoint(
    path: PathLike,
    progress: Progress,
    *,
    about: Mapping[str, Any] = {},
    within: PathLike | None = None,
) -> None:
    """Write where a run stands to one file, all or nothing; equal progress gives equal bytes.

    Args:
        path: The file; an older one is replaced.
        progress: What `fit` gave to its `save`.
        about: What else to say, as JSON takes it; `read_about` gives it back.
        within: The folder that the caller chose, below which no link is followed.

    Raises:
        OptionError: If something is no Progress or no JSON, or a record holds something else than the
            numbers of the others.
        TreeError: If a leaf is larger than 2 GiB.
        DataError: If the file system refuses; an older file at `path` is then untouched.
    """
    if not isinstance(progress, Progress):
        got = type(progress).__name__
        raise OptionError(f"expected a Progress, got {got}", path=("save_checkpoint",))
    now, best = progress.now, progress.best
    members: dict[str, Any] = {
        "checkpoint": np.array(_VERSION),
        "about": _json("about", dict(about)),
        "now": _state_tree(now),
        "place": {
            "epoch": _integer("epoch", progress.epoch),
            "batch": _integer("batch", progress.batch),
            "count": _integer("count", progress.count),
            "stopped": np.array(bool(progress.stopped)),
            "best_value": np.array(float(progress.best_value)),
        },
        "sums": {
            "names": _json("names", list(progress.sums)),
            "values": np.array(list(progress.sums.values()), np.float64),
        },
        "records": _columns(progress),
    }
    if best is not None:
        members["best"] = {} if best is now else _state_tree(best)
    short = _asked(members) - _granted(members)
    if short > 0:
        members["filling"] = np.zeros(-(-short // 3), np.uint8)
    save_tree(path, members, within=within)


def _state_tree(now: TrainState) -> dict[str, Any]:
    return {
        "step": _integer("step", now.step),
        "key": np.frombuffer(now.key.bits, np.uint8),
        "params": now.params,
        "state": now.state,
        "opt_state": now.opt_state,
    }


def _integer(name: str, value: int) -> Array:
    if not 0 <= value < 1 << 63:
        message = f"{name}: expected a number of 63 bits, got {value}"
        raise OptionError(message, path=("save_checkpoint",))
    return np.array(value, np.int64)


def _json(name: str, value: Any) -> Array:
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        message = f"{name}: expected what JSON can hold ({error})"
        raise OptionError(message, path=("save_checkpoint",)) from None
    if name == "names" and len(text) > _MAX_NAMES:
        message = f"expected column names of {_MAX_NAMES} bytes together, got {len(text)}"
        raise OptionError(message, path=("save_checkpoint",))
    return np.frombuffer(text, np.uint8)


def _columns(progress: Progress) -> dict[str, Any]:
    records = progress.records
    names = list(records[0]) if records else []
    columns: dict[str, Any] = {"names": _json("names", names)}
    for record in records:
        if list(record) != names:
            message = f"records: expected the columns {names} in each, got {list(record)}"
            raise OptionError(message, path=("save_checkpoint",))
    for i, name in enumerate(names):
        kinds = {type(record[name]) for record in records}
        if kinds not in ({int}, {float}):
            got = sorted(kind.__name__ for kind in kinds)
            message = f"records: expected all int or all float in {name!r}, got {got}"
            raise OptionError(message, path=("save_checkpoint",))
        try:
            column = np.array([record[name] for record in records], kinds.pop())
        except OverflowError:
            message = f"records: expected numbers of 63 bits in {name!r}"
            raise OptionError(message, path=("save_checkpoint",)) from None
        columns[str(i)] = column
    return columns


def _asked(members: Mapping[str, Any]) -> int:
    """Return how many bytes the Python objects take at most that are made of a checkpoint."""
    numbers = sum(leaf.size for name, leaf in members["records"].items() if name != "names")
    return int(_NUMBER * numbers + _CHARACTER * members["about"].size)


def _granted(members: Mapping[str, Any]) -> int:
    """Return how many bytes they may take, so that no file asks for more than 4 times its size."""
    return SLACK + 3 * sum(leaf.nbytes for leaf in tree.leaves(members))


# --- reading


def load_checkpoint(
    path: PathLike, like: TrainState | None = None, *, within: PathLike | None = None
) -> Progress:
    """Read back exactly what `save_checkpoint` wrote.

    Nothing in the file is ever executed, and memory stays within 4 times the file's size (and a
    megabyte), whoever wrote it.

    Args:
        path: The file.
        like: A state of the same run, such as its first: the key and all paths, shapes and dtypes of
            params, state and opt_state have to be the same; the step and the values are not looked at.
        within: The folder that the caller chose, below which no link is followed.

    Raises:
        DataError: If the file is missing, cut, changed, newer than this library, or no checkpoint;
            or if it differs from `like`: lists every difference. Names the file.
    """
    members = load_tree(path, within=within)
    try:
        progress = _progress(members)
    except (FnnError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: {error}") from None
    return fitted(path, progress, like)


def fitted(path: PathLike, progress: Progress, like: TrainState | None) -> Progress:
    """Return what was read from `path`, or refuse it if its states differ from `like`.

    A file holds a key's bits. That of an ensemble holds more, the keys of its members, of which the
    bits are a digest: where they agree, the key is that of `like`.

    Raises:
        DataError: Lists every difference.
    """
    if like is None:
        return progress
    if progress.now.key.bits == like.key.bits:
        now, best = progress.now, progress.best
        best = best if best is None else attrs.evolve(best, key=like.key)
        progress = attrs.evolve(progress, now=attrs.evolve(now, key=like.key), best=best)
    misfits = progress.misfits(like)
    if misfits:
        raise DataError(f"{path}: does not fit:\n  " + "\n  ".join(misfits))
    return progress


def read_about(path: PathLike) -> dict[str, Any]:
    """Return what the writer of a checkpoint said `about` it.

    Raises:
        DataError: If the file is missing, damaged, newer than this library, or no checkpoint.
    """
    members = load_tree(path)
    try:
        _check_layout(members)
        return _parsed(members, "about", dict)
    except (FnnError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: {error}") from None


def _check_layout(members: Tree) -> None:
    if "checkpoint" not in members:
        raise DataError(f"expected a checkpoint, got a tree of {sorted(members)[:8]}")
    version = _number(members, "checkpoint", "int64")
    if version != _VERSION:
        raise DataError(f"expected a checkpoint of layout {_VERSION}, got {version}; of a newer fnn?")
    _check_names("", members, ["about", "now", "place", "records", "sums"], _MORE.__contains__)
    _leaf(members, "about", "uint8", 1)
    _check_names("records/", members["records"], ["names"], _is_number)
    for name in members["records"]:
        if isinstance(members["records"][name], Mapping):
            raise DataError(f"records/{name}: expected a leaf")
    if _asked(members) > _granted(members):
        raise DataError("expected a file as large as a third of what it asks for")


def _is_number(name: str) -> bool:
    return re.fullmatch("0|[1-9][0-9]{0,4}", name) is not None


def _check_names(
    at: str, node: Any, needed: list[str], allowed: Callable[[str], bool] = lambda name: False
) -> None:
    if not isinstance(node, Mapping):
        raise DataError(f"{at}: expected {needed}, got a leaf")
    missing = [name for name in needed if name not in node]
    if missing:
        raise DataError(f"expected the paths {[at + name for name in missing]}, which are missing")
    strange = sorted(name for name in node if name not in needed and not allowed(name))
    if strange:
        raise DataError(f"expected no paths {[at + name for name in strange][:8]!r:.400}")


def _leaf(node: Any, path: str, dtype: str, ndim: int) -> Array:
    leaf = tree.get(node, path)
    if isinstance(leaf, Mapping) or leaf.dtype != dtype or leaf.ndim != ndim:
        got = "a branch" if isinstance(leaf, Mapping) else f"{leaf.dtype}{list(leaf.shape)}"
        raise DataError(f"{path}: expected {dtype} of {ndim} axes, got {got}")
    return leaf


def _number(node: Any, path: str, dtype: str) -> Any:
    return _leaf(node, path, dtype, 0).item()


def _parsed(node: Any, path: str, kind: type[T]) -> T:
    text = _leaf(node, path, "uint8", 1).tobytes()
    if kind is list and len(text) > _MAX_NAMES:
        raise DataError(f"{path}: expected names of {_MAX_NAMES} bytes together, got {len(text)}")
    value = json.loads(text)
    if not isinstance(value, kind):
        raise DataError(f"{path}: expected a {kind.__name__} in JSON")
    return value


def _names(node: Any, path: str) -> list[str]:
    names = _parsed(node, path, list)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise DataError(f"{path}: expected distinct names, got {names!r:.80}")
    return names


def _progress(members: Tree) -> Progress:
    _check_layout(members)
    now = _train_state(members, "now")
    best: TrainState | None = now
    if "best" not in members:
        best = None
    elif not isinstance(members["best"], Mapping) or members["best"]:
        best = _train_state(members, "best")
    _check_names("place/", members["place"], ["epoch", "batch", "count", "stopped", "best_value"])
    _check_names("sums/", members["sums"], ["names", "values"])
    names, sums = _names(members, "sums/names"), _leaf(members, "sums/values", "float64", 1)
    return Progress(
        now,
        best,
        _number(members, "place/best_value", "float64"),
        _number(members, "place/epoch", "int64"),
        _number(members, "place/batch", "int64"),
        _number(members, "place/count", "int64"),
        dict(zip(names, sums.tolist(), strict=True)),
        _records(members),
        _number(members, "place/stopped", "bool"),
    )


def _train_state(members: Tree, at: str) -> TrainState:
    node = members[at]
    _check_names(f"{at}/", node, ["step", "key", "params", "state", "opt_state"])
    for part in ("params", "state", "opt_state"):
        if not isinstance(node[part], Mapping):
            raise DataError(f"{at}/{part}: expected a branch, got a leaf")
    key = Key(_leaf(members, f"{at}/key", "uint8", 1).tobytes())
    step = _number(members, f"{at}/step", "int64")
    return TrainState(step, key, node["params"], node["state"], node["opt_state"])


def _records(members: Tree) -> tuple[Record, ...]:
    names = _names(members, "records/names")
    if len(names) != len(members["records"]) - 1:
        got = f"{len(members['records']) - 1} columns for {len(names)}"
        raise DataError(f"records: expected a column per name, got {got}")
    columns = []
    for i in range(len(names)):
        column = tree.get(members, f"records/{i}")
        dtype = "int64" if column.dtype == np.int64 else "float64"
        columns.append(_leaf(members, f"records/{i}", dtype, 1).tolist())
    return tuple(Record(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
