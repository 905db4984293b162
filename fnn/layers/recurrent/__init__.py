"""Recurrent layers: cells, which make one step, and what runs them over time."""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
