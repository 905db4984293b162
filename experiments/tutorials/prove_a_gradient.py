# %% [markdown]
# # Prove a gradient
#
# A falling loss proves no gradient: networks learn with wrong ones too, only worse. Here a layer
# of our own is written, held to fifteen laws, and broken on purpose to see that they notice.

# %%
import numpy as np

import fnn
from fnn.testing import LawError, check_layer, mutation_score

# %% [markdown]
# Swish, y = x σ(β x), with a learnt β for every feature. A layer is the shapes of its arrays, and
# one function that computes and returns the way back.


# %%
@fnn.constructor
def Swish():
    def shapes(in_shape):
        return in_shape, {"beta": fnn.Leaf(in_shape, fnn.ones)}, {}

    def fwd(params, state, x, train, key):
        beta = params["beta"]
        gate = 1 / (1 + np.exp(-beta * x))
        slope = gate * (1 - gate)

        def pullback(dy, *, need_dx=True):
            dbeta = (dy * x * x * slope).sum(axis=0)
            return {"beta": dbeta}, dy * (gate + x * beta * slope) if need_dx else None

        return x * gate, state, pullback

    return fnn.make_layer("swish", shapes, fwd)


report = check_layer(Swish(), (5,))
print(report)

# %% [markdown]
# Among the laws: the adjoint law ⟨dy, J v⟩ = ⟨J* dy, v⟩, with J v from complex steps (exact to
# rounding, where differences of two values are not), and every entry of the gradient. Now β is
# forgotten on the way back to x. At β = 1, where it starts, that would be right: the checker draws
# other values.


# %%
def forgetful():
    def shapes(in_shape):
        return in_shape, {"beta": fnn.Leaf(in_shape, fnn.ones)}, {}

    def fwd(params, state, x, train, key):
        gate = 1 / (1 + np.exp(-params["beta"] * x))
        slope = gate * (1 - gate)

        def pullback(dy, *, need_dx=True):
            return {"beta": (dy * x * x * slope).sum(axis=0)}, dy * (gate + x * slope)

        return x * gate, state, pullback

    return fnn.make_layer("forgetful", shapes, fwd)


try:
    check_layer(forgetful(), (5,))
except LawError as error:
    print(str(error)[:400])
else:
    raise AssertionError("it should have been refused")

# %% [markdown]
# How good is the checker itself? `mutation_score` breaks the layer in many ways and counts those
# that pass. None may.

# %%
score = mutation_score(Swish(), lambda wrong: check_layer(wrong, (3,)), (3,))
print(score)
assert not score.survivors

# %% [markdown]
# A loss, an optimizer, a schedule, an augmentation and any function with a pullback are proved in
# the same way: `check_loss`, `check_transform`, `check_schedule`, `check_augmentation`, `check_vjp`.

# %%
huber = fnn.huber(0.5)
print(fnn.testing.check_loss(huber))
