"""Data as values: datasets, batches, codecs, and the loaders that read them from files."""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
