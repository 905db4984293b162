"""`to_jax`: a network as a function of JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fnn.errors import FnnError, OptionError, TreeError
from fnn.interop.arrays import translating
from fnn.interop.arrays.translating import Run, System, within
from fnn.interop.jax import arrays  # noqa: F401 - adds the functions that rules call.
from fnn.interop.jax.peer import jax, jax_key, jnp
from fnn.layers.chains import check_layer
from fnn.layers.contract import Layer

JAX = System("JAX", "fnn.interop.jax")
rules = JAX.rules
"""How JAX expresses layers of one's own: a function for each constructor.

    @rules.of(Scale)
    def scale(layer):
        return lambda params, state, x, train, key: (params["g"] * x, state)

`fnn.interop.rules.options_of(layer)` has the options that the layer was made with, and `function_of`
the functions of layers inside it. Of a cell (`make_cell`) the rule returns
`step(params, carry, x) -> (carry, y)`.
"""


def function_of(layer: Layer) -> Run:
    """Return what a layer is in JAX: `run(params, state, x, train, key) -> (y, state)`.

    For rules of compositions; `to_jax` is for everybody else.

    Raises:
        OptionError: If there is no rule for it or for a layer inside it.
    """
    with within(JAX):
        return translating.function_of(layer)


class Apply(Protocol):
    """What `to_jax` returns."""

    def __call__(
        self, params: Any, state: Any, x: Any, *, train: bool = False, key: Any = None
    ) -> tuple[Any, Any]:
        """Return y and the state."""


def to_jax(net: Layer) -> Apply:
    """Return a network as a pure function of JAX over the same trees of params and state.

        apply = to_jax(net)
        _, params, state = net.init(fnn.Key.of(0), (784,))

        @jax.jit
        def step(params, state, x, labels, key):
            def loss(params):
                scores, moved = apply(params, state, x, train=True, key=key)
                return cross_entropy(scores, labels), moved

            (value, moved), grads = jax.value_and_grad(loss, has_aux=True)(params)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), moved, value

    `apply(params, state, x, *, train=False, key=None) -> (y, state)` may be jitted, differentiated,
    mapped and put into `lax.scan`. It gives what `net.apply` gives, its derivatives are those of
    `net.vjp`, and what it returns of params and state has the structure of what came: `fnn.Tree` is a
    pytree once this room is imported. `jax.device_get(params)` has arrays of NumPy again, for `net`.

    - `train` has to be known while JAX traces: `jax.jit(apply, static_argnames="train")`.
    - What is drawn (dropout, noise, stochastic depth) is drawn by JAX, from other bits than those of
      `fnn`: equal keys give equal draws in JAX, of the same distribution as here. `key` is a
      `fnn.Key`, a key of JAX or an integer; into a jitted function goes a key of JAX, `jax_key(key)`.
      `stacked` splits the one key for its members.
    - Shapes, dtypes and entries are checked while JAX traces, with the errors of `net`. What values
      alone can tell is not: an example with a token, a length or a mask out of range gives NaN.
    - JAX turns float64 into float32 unless it is told `jax.config.update("jax_enable_x64", True)`, and
      on some devices multiplies matrices with fewer bits; see `jax.default_matmul_precision`.

    Raises:
        OptionError: If a layer has no rule, by its path. Layers of one's own get theirs by
            `rules.of(MyLayer)`. What `lazy` makes is known, and refused, with the first x.
    """
    check_layer("to_jax", "net", net)
    try:
        run = function_of(net)
    except FnnError as error:
        raise error.inside(net.name, net.where) from error.__cause__

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Any = None
    ) -> tuple[Any, Any]:
        try:
            if not isinstance(train, bool):
                how = 'jax.jit(apply, static_argnames="train")'
                got = f"{type(train).__name__}; under jit: {how}"
                raise OptionError(f"train: expected True or False, got {got}")
            for tree in (params, state):
                if not isinstance(tree, Mapping):
                    got = type(tree).__name__
                    raise TreeError(f"expected params and state as init returns them, got {got}")
            params, state, x = jax.tree.map(jnp.asarray, (params, state, x))
            y, moved = run(params, state, x, train, None if key is None else jax_key(key))
        except FnnError as error:
            raise error.inside(net.name, net.where) from error.__cause__
        # In the structure that came, dict or Tree, so that a scan can carry it.
        return y, jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(moved))

    return apply
