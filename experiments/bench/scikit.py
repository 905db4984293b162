"""scikit-learn's MLPClassifier as a peer, for the one workload that it can express."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from bench.job import Job, Unavailable
from bench.ours import weights
from bench.workloads import Batch, Workload

neural: Any = import_module("sklearn.neural_network")


def make(workload: Workload, batches: list[Batch], peer: str) -> Job:
    """Return the job of `sklearn`: sigmoid or ReLU between dense layers, softmax, gradient descent."""
    names = [name for name, *_ in workload.layers]
    dense = [params for params in weights(workload) if params]
    kinds = {*names} - {"dense"}
    if (
        workload.loss != "mean"
        or len(kinds) != 1
        or names[-1] != "dense"
        or not kinds <= {"sigmoid", "relu"}
    ):
        raise Unavailable("–")
    rate = workload.optimizer[1]
    model = neural.MLPClassifier(
        [len(params["b"]) for params in dense[:-1]],
        activation={"sigmoid": "logistic", "relu": "relu"}[kinds.pop()],
        solver=workload.optimizer[0],
        learning_rate_init=rate,
        momentum=0.0,
        nesterovs_momentum=False,
        alpha=0.0,
        batch_size=workload.batch,
    )
    # Its first step makes the arrays that our weights go into.
    model.partial_fit(*batches[0], classes=np.arange(10))

    def reset() -> None:
        for params, w, b in zip(dense, model.coefs_, model.intercepts_, strict=True):
            w[:], b[:] = params["w"], params["b"]

    def step(batch: Batch) -> Any:
        model.partial_fit(*batch)
        return model.loss_

    def outputs() -> list[float]:
        # Its own loss takes no probability for less than 1e-7.
        losses = []
        for x, target in batches[:3]:
            picked = model.predict_proba(x)[np.arange(len(x)), target]
            losses.append(float(-np.log(picked).mean()))
            step((x, target))
        return losses

    return Job(step, batches, reset, outputs=outputs)
