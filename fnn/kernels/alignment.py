"""Connectionist temporal classification: sums over all alignments of a label sequence with time."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.kernels.noting import whole
from fnn.tree import Array


@whole
def alignments(
    logs: Array, labels: Array, n_labels: Array, n_steps: Array, blank: int
) -> tuple[Array, Array]:
    """Return the log-probability of each label sequence, and the expected uses of each class and step.

    Shapes: logs (batch, time, classes), the logarithms of probabilities; labels (batch, length), of
    which the first n_labels (batch,) count, as the first n_steps (batch,) of time do. Graves et al.
    (2006), eq. 6 to 16, in logarithms.
    """
    batch, time, _ = logs.shape
    length = 2 * labels.shape[1] + 1
    rows = np.arange(batch)
    # Blanks between all labels and at both ends.
    symbols = np.full((batch, length), blank)
    symbols[:, 1::2] = labels
    emitted = np.take_along_axis(logs, symbols[:, None, :], axis=2)
    jumps = np.zeros((batch, length), bool)
    jumps[:, 2:] = (symbols[:, 2:] != blank) & (symbols[:, 2:] != symbols[:, :-2])
    alpha = np.full((time, batch, length), -np.inf, logs.dtype)
    alpha[0, :, :2] = emitted[:, 0, :2]
    for t in range(1, time):
        before = alpha[t - 1]
        total = before.copy()
        total[:, 1:] = np.logaddexp(total[:, 1:], before[:, :-1])
        skipped = np.where(jumps[:, 2:], before[:, :-2], -np.inf)
        total[:, 2:] = np.logaddexp(total[:, 2:], skipped)
        alpha[t] = total + emitted[:, t]
    # What follows step t, for those whose last step it is: the last blank or the last label.
    ends = 2 * n_labels
    last = np.full((batch, length), -np.inf, logs.dtype)
    last[rows, ends] = 0
    last[rows[n_labels > 0], ends[n_labels > 0] - 1] = 0
    beta = np.full((time, batch, length), -np.inf, logs.dtype)
    for t in reversed(range(time)):
        if t + 1 < time:
            after = beta[t + 1] + emitted[:, t + 1]
            total = after.copy()
            total[:, :-1] = np.logaddexp(total[:, :-1], after[:, 1:])
            skipped = np.where(jumps[:, 2:], after[:, 2:], -np.inf)
            total[:, :-2] = np.logaddexp(total[:, :-2], skipped)
            beta[t] = total
        beta[t] = np.where((n_steps == t + 1)[:, None], last, beta[t])
    whole: Any = alpha[0] + beta[0]
    most = np.maximum.reduce(whole, axis=1)
    value = most + np.log(np.add.reduce(np.exp(whole - most[:, None]), axis=1))
    shares = np.exp(alpha + beta - value[None, :, None])
    shares *= np.arange(time)[:, None, None] < n_steps[:, None]
    uses = np.zeros(logs.shape, logs.dtype)
    for s in range(length):  # Few, beside the numbers of each.
        uses[rows[:, None], np.arange(time), symbols[:, s, None]] += shares[:, :, s].T
    return value, uses
