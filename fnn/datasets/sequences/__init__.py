"""Sequences: texts as tokens, windows and streams over them, padding, masks and buckets by length."""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
