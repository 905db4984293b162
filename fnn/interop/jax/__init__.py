"""Networks as functions of JAX, to be jitted, differentiated, mapped, and run on other devices.

    apply = to_jax(net)                       # Over the same trees of params and state.
    y, state = jax.jit(apply)(params, state, x)

Importing this room makes `fnn.Tree` a pytree of JAX, with the names as its paths: gradients, and the
memory of an optimizer such as those of optax, are trees of the same structure. It needs the extra
`jax`.
"""

from fnn.interop.arrays.translating import Run
from fnn.interop.jax.network import Apply, function_of, rules, to_jax
from fnn.interop.jax.peer import jax_key
from fnn.interop.jax.stax import from_stax

__all__ = ["Apply", "Run", "from_stax", "function_of", "jax_key", "rules", "to_jax"]
