"""How the network of a run stood at different times of its training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

from fnn import tree
from fnn.errors import DataError
from fnn.files import names
from fnn.runs.checkpoint import load_checkpoint, load_tree
from fnn.runs.experiment.wording import folder_of
from fnn.training.progress import differences
from fnn.training.state import TrainState
from fnn.tree import Tree

MOST_MOMENTS = 400
MOST_BYTES = 512 << 20
"""How many files are read, and how many bytes the weights in them may take together."""


@attrs.frozen
class Moment:
    """Weights, and what is said of them.

    Attributes:
        label: In words: "start", "epoch 3", "epoch 3.4", "best, epoch 7", "as kept, epoch 30".
        params, state: The weights.
        step: After how many training steps; None if that is not known.
    """

    label: str
    params: Tree
    state: Tree
    step: int | None = None


def moments_of(folder: Path, params: Tree, state: Tree, fits: int = 1) -> tuple[Moment, ...]:
    """Return what a run's folder holds of one network, in the order of training, without doubles.

    Those are the epochs that it kept, its checkpoints, the best state in each, and the model, which
    comes last. What is damaged, or of another network, is left out; of very many files, some evenly.

    Args:
        folder: The run's folder.
        params, state: The weights that it kept.
        fits: How many trainings the run had; those of the last count.
    """
    kept = Tree({"params": params, "state": state})
    left = MOST_BYTES
    found: dict[str, Moment] = {}
    for moment in _each(folder, fits):
        weights = Tree({"params": moment.params, "state": moment.state})
        if differences(weights, kept):
            continue
        left -= sum(int(leaf.nbytes) for leaf in tree.leaves(weights))
        if left < 0:
            break
        found.setdefault(tree.digest(weights), moment)
    same = found.pop(tree.digest(kept), None)
    label = "as kept" if same is None else f"as kept, {same.label}"
    last = Moment(label, params, state, None if same is None else same.step)
    return (*sorted(found.values(), key=lambda each: each.step or 0), last)


def _each(folder: Path, fits: int) -> Iterator[Moment]:
    for file in _files(folder, folder_of("epochs", fits)):
        try:
            # Written by `Run.fit`: the weights after an epoch, and which.
            weights = load_tree(file, within=folder)
            epoch, step = (int(tree.get(weights, f"place/{name}")) for name in ("epoch", "step"))
            yield Moment(_label(epoch), weights["params"], weights["state"], step)
        except (DataError, KeyError, TypeError, ValueError):
            continue
    for file in reversed(_files(folder, folder_of("checkpoints", fits))):
        try:
            progress = load_checkpoint(file, within=folder)
        except DataError:
            continue
        now, best = progress.now, progress.best
        done = now.step - progress.batch
        per_epoch = done / progress.epoch if progress.epoch else 0.0
        if best is not None and best is not now:
            yield _moment(best, per_epoch, "best, ")
        yield _moment(now, per_epoch, "")


def _moment(now: TrainState, per_epoch: float, head: str) -> Moment:
    label = _label(now.step / per_epoch) if per_epoch else f"step {now.step}"
    return Moment(head + label, now.params, now.state, now.step)


def _label(epoch: float) -> str:
    return f"epoch {epoch:.1f}".removesuffix(".0") if epoch else "start"


def _files(folder: Path, name: str) -> list[Path]:
    try:
        found = sorted(each for each in names(folder / name, within=folder) if each.endswith(".npz"))
    except OSError:
        return []
    skip = -(-len(found) // MOST_MOMENTS) or 1
    return [folder / name / each for each in found[::-1][::skip][::-1]]
