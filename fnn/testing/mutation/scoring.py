"""Wrong versions of layers, losses and transforms, and how many of them a check kills.

    for mutant in mutants(layer, in_shape):
        with pytest.raises(LawError):
            check_layer(mutant.value, in_shape)

A check that passes what is right proves little: the share of wrong versions that it refuses says
what it is worth. A mutant that differs from the original in nothing (a transposed gradient of one
number, a mask from another key in a layer that draws none) is equivalent, and counted apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import numpy as np

from fnn.errors import OptionError
from fnn.layers.contract import Layer
from fnn.optimizers.transform import Transform
from fnn.testing.drawing import Inputs, inputs_of
from fnn.testing.mutation.of_layers import layer_mutants
from fnn.testing.mutation.of_losses import loss_mutants
from fnn.testing.mutation.of_transforms import transform_mutants
from fnn.testing.mutation.parts import Mutant
from fnn.testing.mutation.probes import same, see_layer, see_loss, see_transform
from fnn.testing.report import LawError
from fnn.tree import Tree

__all__ = ["Mutant", "MutationScore", "differs", "mutants", "mutation_score"]

PARAMS = Tree(
    {
        "dense_0": {"w": np.ones((3, 5)), "b": np.ones(5)},
        "dense_1": {"w": np.ones((5, 7))},
        "scale": np.ones(()),
    }
)
"""What transforms are tried on, unless other parameters are given."""


def mutants(original: Any, in_shape: Any = None, *, inputs: Inputs = None) -> Iterator[Mutant]:
    """Yield wrong versions of a layer, a loss or a transform, with one fault each.

    A layer's are faults of every leaf of dparams, of dx, y, state, mode, key, init and traits; those
    of a network or a chain, also of every layer and transform in it. A mutant has the original's
    type and everything of it but the fault; some keep memory, as the faulty code would, so that each
    should be checked by itself.

    Args:
        original: A Layer, a Transform, or a loss: any function (pred, target, *, weight) to
            (value, dpred).
        in_shape: For layers the shape of one example; for transforms the parameters to try it on,
            `PARAMS` by default; nothing for losses.
        inputs: As for `check_layer`: what draws x for a layer of tokens or lengths.

    Raises:
        OptionError: If `original` is none of these, or a layer comes without its in_shape.
    """
    if isinstance(original, Layer):
        shape = _shape(in_shape)
        return layer_mutants(original, shape, inputs=inputs_of(original, shape, inputs))
    if isinstance(original, Transform):
        return transform_mutants(original, _params(in_shape))
    if not callable(original):
        message = f"expected a layer, a loss or a transform, got {original!r}"
        raise OptionError(message, path=("mutants",))
    return loss_mutants(original)


def _shape(in_shape: Any) -> Any:
    if in_shape is None:
        raise OptionError("in_shape: expected the shape of one example, got None", path=("mutants",))
    return in_shape


def _params(params: Any) -> Any:
    if params is not None and not isinstance(params, Mapping):
        raise OptionError(f"expected a tree of parameters, got {params!r}", path=("mutants",))
    return PARAMS if params is None else params


def differs(original: Any, mutant: Any, in_shape: Any = None, *, inputs: Inputs = None) -> bool:
    """Return whether a mutant can be told from the original at all.

    Both are called with the same seeds, dtypes, batches, modes and keys, more than once. They differ
    if any output, argument or earlier output has other bits (zeros have no sign), or if one raises
    another error. No law is consulted.

    Args:
        original: What `mutants` was called with.
        mutant: The value of a Mutant.
        in_shape, inputs: What `mutants` was called with.
    """
    right, other = (_seen(value, original, in_shape, inputs) for value in (original, mutant))
    return not same(right, other)


def _seen(value: Any, original: Any, in_shape: Any, inputs: Inputs) -> Iterator[Any]:
    if isinstance(original, Layer):
        shape = _shape(in_shape)
        return see_layer(value, original, shape, inputs_of(original, shape, inputs))
    if isinstance(original, Transform):
        return see_transform(value, _params(in_shape))
    return see_loss(value)


@attrs.frozen
class MutationScore:
    """How many wrong versions a check refused; prints as one line.

    Attributes:
        subject: What was mutated.
        mutants: How many wrong versions there were.
        equivalent: Names of those that passed and differ from the original in nothing.
        killed: From the name of a refused one to the laws that refused it.
        survivors: Names of those that passed although they differ.
    """

    subject: str
    mutants: int
    equivalent: tuple[str, ...]
    killed: dict[str, tuple[str, ...]]
    survivors: tuple[str, ...]

    def __str__(self) -> str:
        line = (
            f"{self.subject}: {self.mutants} mutants, {len(self.equivalent)} equivalent, "
            f"{len(self.killed)} killed"
        )
        return f"{line}, {len(self.survivors)} ALIVE: {self.survivors}" if self.survivors else line


def mutation_score(
    original: Any,
    check: Callable[[Any], Any],
    in_shape: Any = None,
    *,
    inputs: Inputs = None,
    subject: str = "",
    only: Iterable[Mutant] | None = None,
) -> MutationScore:
    """Count the wrong versions that `check` refuses with a LawError.

        mutation_score(layer, lambda wrong: check_layer(wrong, (3,)), (3,))

    The original has to pass. Errors other than a LawError are the check's own and are not caught.

    Args:
        original: A layer, a loss or a transform.
        check: Called with the original and every mutant.
        in_shape, inputs: As for `mutants`.
        subject: What the line is to call it, `repr(original)` by default.
        only: The mutants to try; all of them by default.
    """
    check(original)
    right = list(_seen(original, original, in_shape, inputs))
    killed: dict[str, tuple[str, ...]] = {}
    equivalent: list[str] = []
    survivors: list[str] = []
    for mutant in mutants(original, in_shape, inputs=inputs) if only is None else only:
        # Asked first, for it is the faster question, and no check can kill what differs in nothing.
        if same(iter(right), _seen(mutant.value, original, in_shape, inputs)):
            equivalent.append(mutant.name)
            continue
        try:
            check(mutant.value)
        except LawError as error:
            killed[mutant.name] = error.report.broken
        else:
            survivors.append(mutant.name)
    total = len(killed) + len(equivalent) + len(survivors)
    return MutationScore(subject or repr(original), total, tuple(equivalent), killed, tuple(survivors))
