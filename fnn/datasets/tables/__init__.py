"""Tables of numbers and categories: read from CSV files, and made data sets of."""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
