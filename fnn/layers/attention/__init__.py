"""Attention: positions, heads, and the block that transformers are made of."""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
