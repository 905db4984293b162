"""Registries: values by name."""

import pytest

from fnn.errors import OptionError
from fnn.losses import LOSSES, squared_error
from fnn.registry import Registry


def test_a_registry_finds_lists_and_suggests():
    assert LOSSES["squared_error"] is squared_error
    assert list(LOSSES) == sorted(LOSSES)
    assert len(LOSSES) == 8
    assert "nll" in LOSSES
    assert "mse" not in LOSSES
    assert [] not in LOSSES
    with pytest.raises(OptionError) as error:
        LOSSES["squared_eror"]
    message = str(error.value)
    assert message.startswith("loss: expected one of absolute_error, cross_entropy, half_squared_error")
    assert "got 'squared_eror'; did you mean 'squared_error'" in message
    with pytest.raises(OptionError, match=r"expected one of nothing yet, got 3$"):
        Registry("thing", {})[3]


def test_users_register_their_own_and_nobody_overwrites():
    source = {"b": 2}
    registry = Registry("number", source)
    assert registry.register("a", 1) == 1
    assert source == {"b": 2}
    assert repr(registry) == "Registry(number: a, b)"
    with pytest.raises(OptionError, match="number: expected a new name, 'a' is taken"):
        registry.register("a", 3)
    assert registry["a"] == 1
    for name in ("", 3, None):
        with pytest.raises(OptionError, match="number: expected a name, got"):
            registry.register(name, 3)
