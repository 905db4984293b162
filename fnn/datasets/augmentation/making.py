"""What an augmentation is: a pure function of a key and of examples with their numbers.

    augment(key, x)    -> x
    augment(key, x, y) -> x, y

What happens to an example follows from the key and from its number in the data set, `index`, alone: not
from its place in a batch, nor from the size of that. Only those that mix examples (`mixup`) look at
the others of a batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, SupportsIndex, TypeAlias

import attrs
import numpy as np

from fnn.errors import DataError, DTypeError, FnnError, OptionError, ShapeError
from fnn.kernels import philox
from fnn.kernels.conversion import as_array, as_arrays
from fnn.kernels.values import length, named_arrays
from fnn.keys import Key
from fnn.options import flag, returned
from fnn.recipe import HasRecipe, Recipe, constructor
from fnn.tree import Array


@attrs.frozen(eq=False)
class Draws:
    """Random numbers for some examples; those of one follow from the key and its index alone.

    Every draw has a name: equal names give equal numbers, different ones independent ones.

    Attributes:
        key: Where they come from.
        index: The examples' numbers in the data set, int64 (n,).
    """

    key: Key
    index: Array

    def fold(self, *names: SupportsIndex | str) -> Draws:
        """Return the draws under a path of names."""
        return Draws(self.key.fold(*names), self.index)

    def uniform(self, name: str, *shape: int) -> Array:
        """Return numbers uniform in [0, 1), float64 (n, *shape)."""
        return self._drawn(philox.uniforms, name, shape)

    def normal(self, name: str, *shape: int) -> Array:
        """Return standard normal numbers, float64 (n, *shape)."""
        return self._drawn(philox.normals, name, shape)

    def integers(self, name: str, stop: int, *shape: int) -> Array:
        """Return integers uniform in [0, stop), int64 (n, *shape)."""
        return (self.uniform(name, *shape) * stop).astype(np.int64)

    def _drawn(self, draw: Callable[..., Array], name: str, shape: tuple[int, ...]) -> Array:
        drawn = draw(self.key.fold(name).bits, self.index, math.prod(shape))
        return drawn.reshape(len(self.index), *shape)


@attrs.frozen(eq=False, repr=False)
class Augmentation(HasRecipe):
    """A pure map of examples to new ones: `augment(key, x)`, or `augment(key, x, y)` with targets.

    Augmentations print as the code that makes them, equal recipes are equal, and they pickle by their
    recipe. `make_augmentation` makes one.

    Attributes:
        name: Kind of augmentation, as it stands in errors.
        change: `change(draws, x, y) -> (x, y)`; y is None where nobody gave any.
        targets: Whether it changes targets, and needs them.
        recipe: The call that made it, None for one made directly.
        where: File and line of that call.
    """

    name: str
    change: Callable[[Draws, Any, Any], tuple[Any, Any]]
    targets: bool = attrs.field(default=False, kw_only=True)
    recipe: Recipe | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(default="", kw_only=True)

    def direct_recipe(self) -> Recipe:
        """Return the call of `Augmentation` itself."""
        options = {"targets": True} if self.targets else {}
        return Recipe(Augmentation, (self.name, self.change), options)

    def __call__(self, key: Key, x: Any, y: Any = None, *, index: Any = None) -> Any:
        """Return new examples, read-only; with targets the pair of both.

        Args:
            key: Where all randomness comes from; an epoch needs one of its own.
            x: Examples (n, ...).
            y: Their targets (n, ...), if they are to come along.
            index: Numbers of the examples in the data set, n integers of 0 or more; 0 to n - 1 if None.

        Raises:
            OptionError: If key is no Key, or targets are needed and not given.
            DataError, DTypeError, ShapeError: If x, y or index are not what it takes, or what its
                `change` returns is not as many examples, x of the same dtype.
        """
        try:
            if not isinstance(key, Key):
                raise OptionError(f"key: expected a Key, e.g. Key.of(0), got {key!r}")
            if self.targets and y is None:
                raise OptionError("y: expected targets, which it changes too, got None")
            if isinstance(x, tuple):
                raise ShapeError(f"x: expected one array, got a tuple of {len(x)}")
            x = as_array("x", x)
            if x.ndim == 0:
                raise ShapeError("x: expected an axis of examples, got a scalar")
            draws = Draws(key, _numbers(index, len(x)))
            # A list of labels is one array, a tuple of arrays stays one.
            y = y if y is None or isinstance(y, tuple) else as_array("y", y)
            if y is not None and length(as_arrays("y", y)) != len(x):
                got = f"{len(x)} and {length(y)}"
                raise DataError(f"expected x and y of equal length, got {got}")
            new_x, new_y = returned("change", self.change(draws, x, y), ("x", "y"))
            _check_made("x", new_x, len(x), x.dtype)
            if y is not None:
                _check_made("y", new_y, len(x))
        except FnnError as error:
            raise error.inside(self.name, self.where)  # noqa: B904 - the same error, with its place
        return _sealed(new_x) if y is None else (_sealed(new_x), _sealed(new_y))


Transformation: TypeAlias = Augmentation | Callable[[Key, Any], Any]
"""What batches are sent through: an augmentation, or somebody's own pure function of a key and x."""


def _numbers(index: Any, n: int) -> Array:
    if index is None:
        return np.arange(n)
    numbers = as_array("index", index)
    if numbers.dtype.kind not in "iu":
        raise DTypeError(f"index: expected integers, got dtype {numbers.dtype}")
    if numbers.shape != (n,):
        raise ShapeError(f"index: expected one per example, shape ({n},), got {numbers.shape}")
    if numbers.size and int(numbers.min()) < 0:
        raise DataError(f"index: expected numbers of 0 or more, got {int(numbers.min())}")
    return numbers


def _check_made(name: str, made: Any, n: int, dtype: Any = None) -> None:
    """Refuse what is not as many examples as there were, of their dtype where that is to stay."""
    if not isinstance(made, np.ndarray | tuple):
        raise DTypeError(f"{name}: expected an array to come back, got {type(made).__name__}")
    for place, part in named_arrays(made, name):
        if not part.ndim or len(part) != n:
            got = f"{len(part)}" if part.ndim else "a number"
            raise DataError(f"{place}: expected {n} examples to come back, got {got}")
    if dtype is not None and (isinstance(made, tuple) or made.dtype != dtype):
        got = "a tuple" if isinstance(made, tuple) else str(made.dtype)
        raise DTypeError(f"{name}: expected {dtype} to come back, got {got}")


def _sealed(value: Any) -> Any:
    """Return a read-only view: whoever made the array may have kept it, and writes to it as before."""
    if isinstance(value, np.ndarray):
        value = value[...]
        value.setflags(write=False)
    elif isinstance(value, tuple):
        value = tuple(map(_sealed, value))
    return value


def make_augmentation(name: str, change: Callable[..., Any], *, targets: bool = False) -> Augmentation:
    """Return the augmentation that `change(draws, x)` computes, for batches x of any size.

        @fnn.constructor
        def brighten(most):
            def change(draws, x):
                by = most * draws.uniform("by", *(1,) * (x.ndim - 1))
                return x + by.astype(x.dtype)

            return fnn.make_augmentation("brighten", change)

    All randomness comes from `draws` (`Draws`), by which an example's changes follow from its index.

    Args:
        name: What errors call it, and what its draws are told apart by in `composed`.
        change: Returns new examples, of the same dtype; writes to none.
        targets: Whether it is `change(draws, x, y) -> (x, y)`, with targets.

    Raises:
        OptionError: If name is no text, or change no function.
    """
    who = "make_augmentation"
    if not isinstance(name, str) or not name or "/" in name:
        raise OptionError(f"name: expected a text without '/', got {name!r}", path=(who,))
    if not callable(change):
        raise OptionError(f"change: expected a function, got {change!r}", path=(who,))
    if flag(who, "targets", targets):
        return Augmentation(name, change, targets=True)
    return Augmentation(name, lambda draws, x, y: (change(draws, x), y))


@constructor
def composed(*augmentations: Augmentation) -> Augmentation:
    """Apply augmentations one after another; of none, leave everything as it is.

    Each draws from a key of its own, folded by its name and its number among those of that name: to
    add one of another kind changes no other's draws.

    Raises:
        OptionError: If one is no `Augmentation`; `make_augmentation` makes one of a function.
    """
    counts: Counter[str] = Counter()
    steps = []
    for each in augmentations:
        if not isinstance(each, Augmentation):
            message = f"expected augmentations, got {each!r:.80} (functions: make_augmentation)"
            raise OptionError(message, path=("composed",))
        steps.append((f"{each.name}_{counts[each.name]}", each))
        counts[each.name] += 1

    def change(draws: Draws, x: Any, y: Any) -> tuple[Any, Any]:
        for name, each in steps:
            try:
                x, y = each.change(draws.fold(name), x, y)
            except FnnError as error:
                raise error.inside(name, each.where)  # noqa: B904 - the same error, with its place
        return x, y

    return Augmentation("composed", change, targets=any(each.targets for each in augmentations))


def transformed(
    transform: Transformation, key: Key, number: int, index: Array, batch: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return batch `number` of an epoch with its examples transformed; weights stay.

    Args:
        transform: An augmentation, which gets the examples' numbers, or a function `(key, x) -> x`,
            which gets a key of the batch.
        key: The epoch's.
        number: Which batch it is, from 0.
        index: Numbers of its examples in the data set.
        batch: (x, y), or (x, y, weight).

    Raises:
        DataError: If a function returns another number of examples.
    """
    x, y, *weight = batch
    if isinstance(transform, Augmentation):
        return *transform(key, x, y, index=index), *weight
    made = as_arrays("x", transform(key.fold("batch", number), x), ("transform",))
    if not isinstance(made, np.ndarray | tuple) or length(made) != len(index):
        got = f"{length(made)} of them" if isinstance(made, np.ndarray | tuple) else repr(made)[:80]
        raise DataError(f"expected {len(index)} examples to come back, got {got}", path=("transform",))
    return _sealed(made), y, *weight


def checked_transform(who: str, name: str, transform: Any) -> Transformation | None:
    """Return an augmentation, a function or None.

    Raises:
        OptionError: If it is anything else.
    """
    if transform is not None and not callable(transform):
        expected = "an augmentation or a function (key, x) -> x"
        raise OptionError(f"{name}: expected {expected}, got {transform!r:.80}", path=(who,))
    checked: Transformation | None = transform
    return checked
