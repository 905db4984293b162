"""A functional, stateless neural-network toolkit on NumPy.

Layers are pure init/apply/vjp triples over immutable trees of parameters; `fnn.layers.contract`
states the contract. `__init__.pyi` lists every public name; a module is loaded when one of its names
is first used, so that a script pays for what it needs.
"""

from fnn.registry import lazy_names

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_names(__name__)
