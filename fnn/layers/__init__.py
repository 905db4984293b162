"""Layers: kernels bound to parameters, state and keys."""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
