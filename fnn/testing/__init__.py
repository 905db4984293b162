"""A kit that proves gradients, and all else that the contract promises, of anybody's layers.

    from fnn.testing import check_layer

    def test_my_layer():
        check_layer(MyLayer(), in_shape=(8,))

One call checks every law in both modes, and one error lists every broken one: the layer's path, the
leaf and the index, what came and what should have, and the smallest shape that shows it. Derivatives
come from oracles (`fnn.testing.oracles`), never from the code on trial. `mutants` tries the checks on
wrong versions. Strategies for Hypothesis are in `fnn.testing.strategies`, which needs the extra
`test` (`pip install fnn[test]`); nothing else here does.
"""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, stub=__name__)
