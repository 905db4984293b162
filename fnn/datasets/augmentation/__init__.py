"""Augmentation: pure functions `augment(key, x) -> x` that make new examples of old ones."""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
