"""Training: the state, the step, `jit` and `scan`, `fit`, its history, and evaluation."""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
