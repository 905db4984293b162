# %% [markdown]
# # Replay an experiment
#
# Everything random follows from one key, and a run's folder records what its numbers depend on.
# So a run can be repeated to the bit: by another process, after a kill, in a year.

# %%
import tempfile
from pathlib import Path

import attrs

import fnn
from fnn.experiment import Run, main, option

# %% [markdown]
# An experiment is a frozen config and a function `train(config, run)`. `main` gives it a command
# line: `--help`, `--seed 3`, `resume`, `replay`, `sweep`. In a script of its own it would end with
# `if __name__ == "__main__": main(train, Config)`.


# %%
@attrs.frozen
class Config:
    """What can be set from the command line."""

    width: int = option(32, "units of the hidden layer", least=1)
    epochs: int = option(3, "passes over the training set", least=1)
    seed: int = option(0, "where all randomness comes from")
    out: Path = option(Path("out/tutorial"), "folder of the run")


def train(config: Config, run: Run):
    """Train on the bundled digits."""
    train_set, test_set = fnn.digits("train"), fnn.digits("test")
    run.data("bundled digits", train=train_set, test=test_set)
    net = fnn.serial(fnn.Dense(config.width), fnn.Relu(), fnn.Dropout(0.2), fnn.Dense(10))
    fit = run.fit(
        net, fnn.softmax_cross_entropy, fnn.adam(0.01), train_set,
        epochs=config.epochs, batch_size=50, key=fnn.Key.of(config.seed),
        validation=test_set, metrics=fnn.accuracy,
    )  # fmt: skip
    kept = run.keep(net, fit.last, train_set.in_shape)
    return {"accuracy": fit.history[-1]["validation_accuracy"], **kept}


folder = Path(tempfile.mkdtemp()) / "run"
main(train, Config, ["--out", str(folder)])

# %% [markdown]
# The folder says what came out, and under which conditions.

# %%
print(*sorted(path.name for path in folder.iterdir()))

# %% [markdown]
# `replay` runs it again beside it, and compares every record, the model, the data, the result. A
# digest is the bits of all parameters in 64 letters: what a paper may quote.

# %%
main(train, Config, ["replay", str(folder)])

# %% [markdown]
# Another seed is another run; the same seed in another folder has the same bits.

# %%
digests = []
for name, seed in (("again", 0), ("other", 1)):
    main(train, Config, ["--seed", str(seed), "--out", str(folder.with_name(name))])
    net, params, state, _ = fnn.load_model(folder.with_name(name) / "model.npz")
    digests.append(fnn.tree.digest({"params": params, "state": state}))
_, params, state, _ = fnn.load_model(folder / "model.npz")
assert digests[0] == fnn.tree.digest({"params": params, "state": state}) != digests[1]
