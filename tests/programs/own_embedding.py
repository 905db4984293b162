"""Sort sequences of tokens with an embedding of one's own: whether 7 comes before the first 3.

python own_embedding.py --out runs/tokens
"""

from pathlib import Path

import attrs
import numpy as np

import fnn
from fnn.experiment import main, option

N_TOKENS, LENGTH = 10, 6


@fnn.constructor
def Embedding(n, width):
    """Look up a row per token: y = rows[x]; x holds integers (batch, ...)."""

    def init(key, in_shape):
        rows = key.generator().standard_normal((n, width), "float32")
        return (*in_shape, width), {"rows": rows}, {}

    def fwd(params, state, x, train, key):
        def pullback(dy):
            drows = np.zeros_like(params["rows"], dy.dtype)
            np.add.at(drows, x, dy)
            return {"rows": drows}, None  # Integers have no derivative.

        return params["rows"][x], state, pullback

    return fnn.make_layer("embedding", init, fwd, traits=fnn.Traits(takes_integers=True))


@attrs.frozen
class Config:
    epochs: int = option(40, "passes over the training set", least=1)
    seed: int = option(0, "where all randomness comes from")
    out: Path = option(Path("runs/tokens"), "folder for the run")


def train(config, run):
    key = fnn.Key.of(config.seed)
    tokens = key.fold("tokens").generator().integers(0, N_TOKENS, (1500, LENGTH))
    first = [np.where((tokens == n).any(1), (tokens == n).argmax(1), LENGTH) for n in (7, 3)]
    data, test = fnn.Dataset(tokens, (first[0] < first[1]).astype(int)).split(1000)
    net = fnn.serial(Embedding(N_TOKENS, 8), fnn.Flatten(), fnn.Dense(32), fnn.Relu(), fnn.Dense(2))
    run.say(str(fnn.summary(net, data.in_shape)))
    options = {"epochs": config.epochs, "batch_size": 50, "key": key}
    fit = run.fit(net, fnn.softmax_cross_entropy, fnn.adam(0.01), data, **options)
    run.keep(net, fit.last, data.in_shape)
    return fnn.evaluate(net, fit.last, test, fnn.accuracy)


if __name__ == "__main__":
    main(train, Config)
