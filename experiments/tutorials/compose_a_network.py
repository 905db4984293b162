# %% [markdown]
# # Compose a network
#
# A layer is three pure functions: `init` says what comes out and draws weights, `apply` computes,
# `vjp` computes and returns the way back. A network is a layer too. Nothing is stored in either.

# %%
import numpy as np

import fnn

init, apply, vjp = fnn.Dense(3)
out_shape, params, state = init(fnn.Key.of(0), (4,))  # Shapes are those of one example.
out_shape, {name: leaf.shape for name, leaf in params.items()}

# %% [markdown]
# Weights are an immutable tree: what you are given stays what it is, and a change is a new tree.

# %%
x = np.linspace(-1, 1, 8, dtype="float32").reshape(2, 4)
y, _ = apply(params, state, x)
doubled = fnn.tree.update(params, {"w": 2 * params["w"]})
y2, _ = apply(doubled, state, x)
assert np.array_equal(y2, 2 * y)  # The bias is zero at first.

# %% [markdown]
# `serial` puts layers one after the other; what it returns is a layer, so that networks nest as
# far as you like. Every part has a name, by which its weights, its errors and its pictures go.

# %%
block = fnn.residual(fnn.Conv(8, 3, padding="same"), fnn.BatchNorm(), fnn.Relu())
net = fnn.serial(
    fnn.Conv(8, 3, padding="same"),
    fnn.named("trunk", fnn.repeat(block, 2)),
    fnn.branch(fnn.GlobalAvgPool(), fnn.GlobalMaxPool(), merge="concat"),
    fnn.Dense(10),
)
print(fnn.summary(net, (1, 8, 8)))

# %% [markdown]
# The same key draws the same weights, whatever else you drew. A layer that you put in at the end
# changes nothing of what is drawn for those before it.

# %%
_, first, _ = net.init(fnn.Key.of(0), (1, 8, 8))
_, longer, _ = fnn.serial(*(layer for _, layer in net.children), fnn.Relu()).init(
    fnn.Key.of(0), (1, 8, 8)
)
assert first == longer

# %% [markdown]
# What does not fit is said by name, before anything is computed.

# %%
try:
    fnn.serial(fnn.Dense(3), fnn.Conv(4, 3)).init(fnn.Key.of(0), (5,))
except fnn.ShapeError as error:
    print(error)

# %% [markdown]
# Training is a fold of a pure step over batches. `fit` is that fold with a history; here are
# 1,797 handwritten digits, which come along.

# %%
train, test = fnn.digits("train", flat=False), fnn.digits("test", flat=False)
fit = fnn.fit(
    net, fnn.softmax_cross_entropy, fnn.adam(0.01), train,
    epochs=12, batch_size=50, key=fnn.Key.of(0), validation=test, metrics=fnn.accuracy, progress=False,
)  # fmt: skip
print(f"{fit.history[-1]['validation_accuracy']:.1%} of the test set after twelve epochs")
assert fit.history[-1]["validation_accuracy"] > 0.9
