"""Registries: values by name."""

import subprocess
import sys

import pytest

import fnn
from fnn.errors import OptionError
from fnn.losses import LOSSES, squared_error
from fnn.registry import Registry


def test_a_registry_finds_lists_and_suggests():
    assert LOSSES["squared_error"] is squared_error
    assert list(LOSSES) == sorted(LOSSES)
    assert len(LOSSES) == len(list(LOSSES)) >= 8
    assert "nll" in LOSSES
    assert "mse" not in LOSSES
    assert [] not in LOSSES
    with pytest.raises(OptionError) as error:
        LOSSES["squared_eror"]
    message = str(error.value)
    assert message.startswith(f"loss: expected one of {', '.join(LOSSES)}, got 'squared_eror'")
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


def fresh(code):
    """Run code in an interpreter that has imported nothing of fnn."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_registry_finds_what_its_room_defines_when_it_is_first_asked():
    asked = "import sys, fnn; {}; sys.stdout.write(' '.join(fnn.{}))"
    for registry in ("ACTIVATIONS", "INITIALIZERS", "LOSSES", "METRICS", "OPTIMIZERS"):
        assert fresh(asked.format("pass", registry)) == list(getattr(fnn, registry))
    assert fresh(asked.format("fnn.nll; fnn.LOSSES.register('mine', 3)", "LOSSES")) == sorted(
        [*fnn.LOSSES, "mine"]
    )
    assert fresh(
        "import sys, fnn; sys.stdout.write(f'{len(fnn.METRICS)} {\"adam\" in fnn.OPTIMIZERS}')"
    ) == [str(len(fnn.METRICS)), "True"]


def test_a_built_in_name_is_taken_before_the_built_in_was_imported():
    said = fresh(
        "import sys, fnn\n"
        "try:\n"
        "    fnn.LOSSES.register('nll', 3)\n"
        "except fnn.OptionError as error:\n"
        "    sys.stdout.write(f'{error} {fnn.LOSSES[\"nll\"] is fnn.nll}')\n"
    )
    assert " ".join(said) == "loss: expected a new name, 'nll' is taken True"


def test_what_is_built_in_is_registered_beside_its_definition():
    registry = Registry("number")

    @registry.builtin("one")
    def one():
        return 1

    assert registry["one"] is one
    for other in (lambda: 1, 1):
        with pytest.raises(OptionError, match="number: expected a new name, 'one' is taken"):
            registry.builtin("one")(other)


def test_what_is_defined_again_takes_the_place_of_what_it_was():
    registry = Registry("number")

    def load():
        @registry.builtin("one")
        def one():
            return 1

        return one

    assert load() is not load()
    assert registry["one"]() == 1
    assert list(registry) == ["one"]


def test_a_room_whose_import_failed_says_again_why(tmp_path):
    said = fresh(
        "import sys, fnn\n"
        "from fnn.optimizers import numbers\n"
        "documented = numbers.documented\n"
        "numbers.documented = lambda make: documented(make) if make.__name__ == 'sgd' else 1 / 0\n"
        "for _ in range(2):\n"
        "    try:\n"
        "        fnn.sgd\n"
        "    except Exception as error:\n"
        "        sys.stdout.write(type(error).__name__ + ' ')\n"
        "numbers.documented = documented\n"
        "sys.stdout.write(fnn.sgd(0.1).name)\n"
    )
    assert said == ["ZeroDivisionError", "ZeroDivisionError", "sgd"]
