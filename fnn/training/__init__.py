"""Training: the state, the step, `jit` and `scan`, `fit`, its history, and evaluation."""
