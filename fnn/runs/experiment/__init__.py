"""Experiments: a frozen config becomes a command line, and a run of it a folder that says it all.

@attrs.frozen
class Config:
    epochs: int = option(20, "passes over the training set", least=1)
    seed: int = option(0, "where all randomness comes from")
    out: Path = option(Path("out/demo"), "folder for the report and the pictures")

def train(config: Config, run: Run) -> dict[str, float]:
    key = Key.of(config.seed)
    fit = run.fit(net, loss, optimizer, dataset, epochs=config.epochs, batch_size=50, key=key)
    ...

if __name__ == "__main__":
    main(train, Config)

The script then knows `run` (the default), `resume RUN`, `replay RUN` and `sweep`. The promise: a run
that was stopped at any moment, by kill -9 too, and resumed has the parameters and the metrics of one
that was not, bit for bit; and a replay has them on equal data with equal versions of fnn and NumPy,
the same BLAS kernel, the same number of BLAS threads and the same batch size. With others sums are
rounded differently, and training carries that on: on MNIST, two epochs on two BLAS threads rather than
one give the same bits in mnist_cnn, a loss that differs by 6e-7 of itself in mnist_mlp, and by 5e-4 in
mnist_dense, whose RMSProp divides by small numbers. run.json records these conditions, so that a
replay says which of them changed, and by how much the numbers did.
"""

from fnn.runs.config import config_from, option
from fnn.runs.experiment.comparison import Replay, replay
from fnn.runs.experiment.execution import execute, resume
from fnn.runs.experiment.folders import read_metrics, read_run
from fnn.runs.experiment.runs import MODEL, Run

__all__ = [
    "MODEL",
    "Replay",
    "Run",
    "config_from",
    "execute",
    "option",
    "read_metrics",
    "read_run",
    "replay",
    "resume",
]
