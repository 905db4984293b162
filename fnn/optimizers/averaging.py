"""An average of the parameters beside them, and noise on gradients."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.kernels.noting import as_array, folded
from fnn.keys import Key
from fnn.optimizers.making import Now, capped, make_transform, recall, stateless_init
from fnn.optimizers.numbers import LARGEST, documented, numbers_of
from fnn.optimizers.transform import Transform
from fnn.options import Number
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, TreeLike


@constructor
@documented
def ema(decay: Number = 0.999) -> Transform:
    """Keep a running average of the parameters: a ← decay a + (1 - decay) (p + u); updates pass.

    Put it last in a chain, so that p + u is where the parameters go. The average starts at the first
    parameters. Networks are evaluated with it by `averaged_state(now)`.

    Args:
        decay: How much of the average stays, a float or a schedule in [0, 1).

    References: Polyak & Juditsky (1992), "Acceleration of stochastic approximation by averaging".
    """

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        decay = now["decay"]
        np.add(p, g, u)
        u *= 1.0 - decay
        capped(np.add, u, old[0] * decay, u)
        np.copyto(new[0], u)
        np.copyto(u, g)

    made = make_transform(
        "ema", formula, memory=("average",), numbers={"decay": (decay, 1.0)}, reads_params=True
    )
    return attrs.evolve(made, init=_first_average)


def _first_average(params: Any) -> TreeLike:
    return {"average": tree.map_new(np.array, params)}


@constructor
@documented
def add_noise(noise: Number, *, key: Key) -> Transform:
    """Add normal noise to every entry: u ← u + noise · ε, ε ~ N(0, 1).

    What is drawn depends on the key, the step and the leaf's path alone, so that a resumed run draws
    the same. Neelakantan et al. let it fade, √(η / (1 + t)^0.55) with η of 0.01 to 1.

    Args:
        noise: Standard deviation, a float or a schedule, 0 or more.
        key: Where the randomness comes from; not that of the training, which draws by it too.

    References: Neelakantan et al. (2015), "Adding gradient noise improves learning for very deep
        networks", eq. 1.
    """
    if not isinstance(key, Key):
        message = f"key: expected a Key, got {key!r}; write Key.of(seed)"
        raise OptionError(message, path=("add_noise",))
    numbers = numbers_of("add_noise", {"noise": (noise, LARGEST)})

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        recall(opt_state)
        size, here = numbers(step)["noise"], folded(key, "add_noise", step)

        def noisy(path: str, g: Array) -> Array:
            drawn = here.fold(*path.split("/")).generator().standard_normal(g.shape)
            return as_array(g + as_array(drawn, g.dtype) * size)

        added = {path: noisy(path, g) for path, g in tree.items(updates)}
        if not isinstance(updates, dict):
            return added[""], EMPTY
        return tree.update(updates, added), EMPTY

    return Transform("add_noise", stateless_init, update, numbers=numbers)
