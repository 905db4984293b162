"""Transforms of a part of the parameters: chosen by paths, by a predicate, or by labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from fnn import tree
from fnn.errors import FnnError, OptionError, TreeError
from fnn.optimizers.making import check_inner, paired
from fnn.optimizers.numbers import LARGEST, clamped
from fnn.optimizers.transform import Transform
from fnn.options import Number, at_step, number
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, Tree, TreeLike

Where: TypeAlias = str | list[str] | tuple[str, ...] | Callable[[str, Array], Any]
"""Which leaves: a path or several, of whole names ("dense_0" is every leaf of that layer), or a
predicate `(path, leaf) -> bool` of their paths, shapes and dtypes."""


# --- which leaves ---------------------------------------------------------------------------


def chosen_by(who: str, name: str, where: Any) -> Callable[[Any], list[str]]:
    """Return the function from a tree of parameters to the paths of the leaves that are meant.

    Raises:
        OptionError: If `where` is neither paths nor a predicate.
        TreeError: From the function, if the tree has no such path.
    """
    if callable(where):
        return lambda params: [path for path, leaf in tree.items(params) if where(path, leaf)]
    paths = [where] if isinstance(where, str) else where
    if not isinstance(paths, list | tuple) or not all(isinstance(p, str) and p for p in paths):
        expected = "paths such as 'dense_0/w', or a predicate"
        raise OptionError(f"{name}: expected {expected}, got {where!r}", path=(who,))

    def found(params: Any) -> list[str]:
        for path in paths:
            tree.get(params, path)
        return [path for path, _ in tree.items(params) if any(is_in(path, each) for each in paths)]

    return found


def is_in(path: str, branch: str) -> bool:
    """Return whether a leaf is the one at `branch` or lies below it; the root is called ""."""
    return not branch or path == branch or path.startswith(f"{branch}/")


def part_of(node: Any, paths: Iterable[str]) -> Any:
    """Return the tree of the leaves at the paths alone."""
    kept = set(paths)
    if not isinstance(node, Mapping):
        return node if "" in kept else EMPTY
    return tree.filter(node, lambda path, _: path in kept)


def with_part(node: Any, part: Any) -> Any:
    """Return the tree with its leaves replaced by those that `part` has."""
    if not isinstance(part, Mapping):
        return part
    if not isinstance(node, Mapping):
        return node
    return Tree.own(
        {name: with_part(value, part[name]) if name in part else value for name, value in node.items()}
    )


def _aligned(updates: Any, params: Any) -> Any:
    """Return the updates as a Tree, if they have the structure, shapes and dtypes of the parameters."""
    return paired(lambda _, g: g.copy("K"), params, updates)


# --- masked ---------------------------------------------------------------------------------


@constructor
def masked(transform: Transform, where: Where) -> Transform:
    """Apply a transform to some of the leaves; the updates of all others pass as they are.

    The transform sees a tree of those leaves alone: norms are taken over them, and nothing is
    remembered of the others. What passes an optimizer unchanged is still a gradient, so that a
    block such as `add_decayed_weights` belongs here; for one optimizer here and another there, see
    `partition`.

    Args:
        transform: What is applied.
        where: A path or a list of them, of whole names: "dense_0" is every leaf of that layer and
            "dense_0/w" one leaf; or a predicate `(path, leaf) -> bool` of path, shape and dtype.

    Raises:
        OptionError: If an argument is something else.
        TreeError: From `init` and `update`, if there is no such path; says what there is.
    """
    check_inner("masked", transform)
    chosen = chosen_by("masked", "where", where)

    def init(params: Any) -> TreeLike:
        return _inside(transform, transform.core.init, part_of(params, chosen(params)))

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        paths, updates = chosen(params), _aligned(updates, params)
        given = part_of(updates, paths), opt_state, part_of(params, paths), step
        moved, memory = _inside(transform, transform.core.update, *given)
        return with_part(updates, moved), memory

    numbers, frozen = transform.core.numbers, transform.frozen
    return Transform("masked", init, update, numbers=numbers, frozen=frozen)


def _inside(transform: Transform, fn: Any, *args: Any) -> Any:
    try:
        return fn(*args)
    except FnnError as error:
        raise error.inside(transform.name, transform.where)  # noqa: B904 - the same error, with its place


# --- partition ------------------------------------------------------------------------------


@constructor
def partition(
    transforms: Mapping[str, Transform], labels: Mapping[str, str] | Callable[[str, Array], str]
) -> Transform:
    """Apply to every leaf the transform of its label; each sees a tree of its own leaves alone.

        partition({"body": adamw(1e-3), "head": sgd(0.1)}, {"": "body", "dense_1": "head"})

    The memory of each is kept under its label.

    Args:
        transforms: Transforms by label.
        labels: Labels by path; a path stands for all leaves below it, the longest one counts, and ""
            stands for all. Or a function `(path, leaf) -> label` of path, shape and dtype.

    Raises:
        OptionError: If an argument is something else, or a label has no transform.
        TreeError: From `init` and `update`, if there is no such path, or a leaf has no label.
    """
    who = "partition"
    if not isinstance(transforms, Mapping) or not transforms:
        raise OptionError(f"transforms: expected them by label, got {transforms!r}", path=(who,))
    for label, transform in transforms.items():
        if not isinstance(label, str) or not label or "/" in label:
            raise OptionError(f"transforms: expected a name as label, got {label!r}", path=(who,))
        check_inner(who, transform)
    by_label = dict(transforms)
    if not callable(labels):
        if not isinstance(labels, Mapping) or not all(isinstance(path, str) for path in labels):
            raise OptionError(f"labels: expected them by path, got {labels!r}", path=(who,))
        labels = dict(labels)
        for label in labels.values():
            _known(label, by_label)
    label_of = _labels(labels)

    def parts(params: Any) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {label: [] for label in by_label}
        for path, label in label_of(params):
            found[_known(label, by_label, path)].append(path)
        return {label: paths for label, paths in found.items() if paths}

    def init(params: Any) -> TreeLike:
        memories = {
            label: _inside(by_label[label], by_label[label].core.init, part_of(params, paths))
            for label, paths in parts(params).items()
        }
        return {label: memory for label, memory in memories.items() if len(memory)}

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        updates, memories = _aligned(updates, params), {}
        if not isinstance(opt_state, Mapping) or not opt_state.keys() <= by_label.keys():
            got = sorted(opt_state) if isinstance(opt_state, Mapping) else type(opt_state).__name__
            expected = f"expected {sorted(by_label)}, got {got}"
            raise TreeError(f"opt_state: {expected}; from another optimizer?")
        for label, paths in parts(params).items():
            transform, own = by_label[label], opt_state.get(label, EMPTY)
            given = part_of(updates, paths), own, part_of(params, paths), step
            moved, memory = _inside(transform, transform.core.update, *given)
            updates = with_part(updates, moved)
            if len(memory):
                memories[label] = memory
        return updates, memories

    def numbers(step: int) -> dict[str, float]:
        merged: dict[str, float] = {}
        for label, transform in by_label.items():
            for name, value in transform.core.numbers(step).items():
                merged[f"{label}/{name}" if name in merged else name] = value
        return merged

    frozen = tuple(dict.fromkeys(path for each in by_label.values() for path in each.frozen))
    return Transform(who, init, update, numbers=numbers, frozen=frozen)


def _known(label: Any, by_label: Mapping[str, Any], path: str = "") -> str:
    if not isinstance(label, str) or label not in by_label:
        place = f" at {path!r}" if path else ""
        message = f"labels: expected one of {sorted(by_label)}, got {label!r}{place}"
        raise OptionError(message, path=() if path else ("partition",))
    return label


def _labels(labels: Any) -> Callable[[Any], list[tuple[str, Any]]]:
    """Return the function from parameters to (path, label) of every leaf."""
    if callable(labels):
        return lambda params: [(path, labels(path, leaf)) for path, leaf in tree.items(params)]

    def found(params: Any) -> list[tuple[str, Any]]:
        for branch in labels:
            if branch:
                tree.get(params, branch)
        pairs = []
        for path, _ in tree.items(params):
            branches = [branch for branch in labels if is_in(path, branch)]
            if not branches:
                raise TreeError(f"labels: expected one for {path!r}, got {sorted(labels)}")
            pairs.append((path, labels[max(branches, key=len)]))
        return pairs

    return found


# --- decay of some leaves -------------------------------------------------------------------


def decaying_at(transform: Transform, weight_decay: Number, where: Where) -> Transform:
    """Return an optimizer that also shrinks some leaves: u ← u - lr weight_decay p there.

    Args:
        transform: The optimizer without decay; has a "learning_rate" among its numbers.
        weight_decay: A float or a schedule.
        where: As in `masked`.
    """
    chosen = chosen_by(transform.name, "decayed", where)
    decay = number(transform.name, "weight_decay", weight_decay, below=LARGEST)

    def numbers(step: int) -> dict[str, float]:
        return {**transform.core.numbers(step), "weight_decay": at_step(decay, step)}

    def init(params: Any) -> TreeLike:
        chosen(params)
        return transform.core.init(params)

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        u, memory = transform.core.update(updates, opt_state, params, step)
        now = numbers(step)
        rate = clamped(-now["learning_rate"] * now["weight_decay"])
        paths = chosen(params)
        moved = paired(lambda p, part: part + p * rate, part_of(params, paths), part_of(u, paths))
        return with_part(u, moved), memory

    # The rule of what does not decay is not the rule of what does.
    return attrs.evolve(
        transform, init=init, update=update, numbers=numbers, elementwise=False, rule=None
    )
