"""Networks as text: their recipes, written so that they can be read back without running anything.

The text reads as Python, `serial(Conv(4, 5), Relu(), Dense(10))`, and is parsed, never evaluated:
only constructors of the library, and those that the reader passes in, are called, with literals,
initializers, layers and cells as arguments.
"""

from __future__ import annotations

import ast
import inspect
import keyword
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from fnn import layers
from fnn.errors import DataError, FnnError, OptionError
from fnn.layers.combinators import frozen
from fnn.layers.contract import Layer
from fnn.layers.initializers import INITIALIZERS, Drawn
from fnn.layers.making import elementwise, make_layer
from fnn.layers.recurrent.cells import Cell, make_cell
from fnn.layers.repetition import repeat, shared
from fnn.recipe import Recipe
from fnn.runs.checkpoint.alike import alike

_OWN = "own"
_NUMBERS = {"inf": math.inf, "nan": math.nan}
_MOST_BITS = 128
_TOKENS_PER_CALL = 24
# One token of what `network_text` writes; anything else is refused unparsed: operators, texts with code
# in them (f""), escapes and numbers of which the parser would warn. Possessive (`*+`), so that a long
# text leaves nothing to come back to.
_ESCAPE = r"\\(?:[\\'\"nrt]|x[\da-f]{2}|u[\da-f]{4}|U[\da-f]{8})"
_TOKEN = re.compile(
    r"""\s*+(?:[^\W\d]\w*+(?!['"])|(?:\d++\.?\d*+|\.\d++)(?:e[+-]?\d++)?+(?![\w'"])|[(){},:=-]"""
    rf"""|'[^'\\\n]*+(?:{_ESCAPE}[^'\\\n]*+)*+'|"[^"\\\n]*+(?:{_ESCAPE}[^"\\\n]*+)*+")"""
)


def _library() -> dict[str, Callable[..., Any]]:
    """Return what makes layers, cells and initializers, by name: every constructor of the library."""
    found: dict[str, Any] = {name: INITIALIZERS[name] for name in INITIALIZERS}
    for name in layers.__all__:
        value = getattr(layers, name)
        if inspect.isfunction(value) and hasattr(value, "__wrapped__"):  # As `constructor` leaves it.
            found[name] = value
    for made_of_functions in (elementwise, make_layer, make_cell):  # Which no text can say.
        del found[made_of_functions.__name__]
    return found


# --- writing


def network_text(net: Layer) -> str:
    """Return the recipe of a network as text that `network_from` reads.

    A layer made by `make_layer`, `elementwise` or `Layer` without a constructor, and a cell made by
    `make_cell` or `Cell`, is written as `own('its name')`.

    Raises:
        OptionError: If a layer has an option that no text can say, such as an array or a function
            without a name; if two layers or functions of one's own have one name; or if the text
            could not be read again for another reason.
    """
    writer = _Writer(_library())
    try:
        text = writer.text(net)
        most = 2 * max(len(text), _count(net))
        again = network_from(text, own=writer.own, most_layers=most)
        if _Writer(writer.library).text(again) != text:
            raise DataError(f"it would come back as {again!r:.80}")
    except DataError as error:
        message = f"expected a network that can be read again: {error.message}"
        raise OptionError(message, path=("save_model",)) from None
    except RecursionError:
        message = "expected a network that can be read again, got one nested too deeply"
        raise OptionError(message, path=("save_model",)) from None
    return text


@attrs.frozen
class _Writer:
    """The text of a network's parts, and what of one's own it names."""

    library: Mapping[str, Any]
    own: dict[str, Any] = attrs.field(factory=dict)

    def text(self, value: Any) -> str:
        if isinstance(value, Layer | Cell):
            recipe = value.made_by()
            if recipe.call in (Layer, make_layer, elementwise, Cell, make_cell):
                self._keep(value.name, value)
                return f"{_OWN}({value.name!r})"
            return self._call(recipe)
        if isinstance(value, Drawn):
            return self._call(value.made_by())
        if type(value) is tuple:
            inner = ", ".join(map(self.text, value))
            return f"({inner}{',' if len(value) == 1 else ''})"
        if type(value) is dict:
            entries = (f"{self.text(name)}: {self.text(each)}" for name, each in value.items())
            return f"{{{', '.join(entries)}}}"
        if value is None or type(value) in (bool, int, float, str):
            return repr(value)
        if callable(value):
            return self._function(value)
        raise OptionError(
            f"expected options that text can say, got {value!r:.80}", path=("save_model",)
        )

    def _call(self, recipe: Recipe) -> str:
        arguments = list(map(self.text, recipe.args))
        arguments += [f"{name}={self.text(value)}" for name, value in recipe.kwargs.items()]
        return f"{self._function(recipe.call)}({', '.join(arguments)})"

    def _function(self, fn: Callable[..., Any]) -> str:
        name = getattr(fn, "__name__", "")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise OptionError(f"expected functions with a name, got {fn!r:.80}", path=("save_model",))
        if name == _OWN or name in _NUMBERS or self.library.get(name, fn) is not fn:
            message = f"expected another name than {name!r}, which is the library's own"
            raise OptionError(message, path=("save_model",))
        if name not in self.library:
            self._keep(name, fn)
        return name

    def _keep(self, name: str, value: Any) -> None:
        # Whoever loads the network gives one of them by that name, which would stand for both.
        if not alike(self.own.setdefault(name, value), value):
            message = f"expected one name for each of your own, got {name!r} for two"
            raise OptionError(message, path=("save_model",))


# --- reading

BYTES_PER_LAYER = 28 * 1024
"""What building the layer of one call takes at most, of several layers in one too."""
_FEWEST_LAYERS = 128
RUNS_PER_LAYER = 1000
"""How often the layers of a file may run in one call of the network, for each that it may have."""


def layers_allowed(n_bytes: int) -> int:
    """Return how many layers may be built for a file of that size, within 4 times it and 4 MiB."""
    return _FEWEST_LAYERS + n_bytes // (BYTES_PER_LAYER // 4)


def network_from(
    text: str,
    *,
    own: Mapping[str, Any],
    most_layers: int,
    most_runs: int | None = None,
    unknown: Any = None,
) -> Layer:
    """Return the network that a text describes; whoever wrote it, nothing in it is executed.

    Args:
        text: What `network_text` wrote, or `repr` said of a network of the library's layers.
        own: Constructors, layers, cells and initializers of the reader's own, by name.
        most_layers: How many calls the text may hold, and how many layers `repeat` may make.
        most_runs: How often layers may run in one call of the network, those that are `shared` as
            often as they are; any number by default, for a network that is not going to be called.
        unknown: What stands for a function that is an option and not in `own`, such as an initializer;
            None refuses it.

    Raises:
        DataError: If it is no such text, or needs something that is not in `own`.
    """
    _check_size(text, most_layers)
    try:
        parsed = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise DataError(f"expected a network's recipe, got {text!r:.80}") from None
    try:
        runs = _count_runs(parsed)
        if most_runs is not None and runs > most_runs:
            expected = f"expected layers that run at most {most_runs:,} times"
            raise DataError(f"{expected}, got {runs:,}; `most_layers` allows more")
        room = most_layers // _copies(text)
        net = _Reader(_library(), own, unknown, room).value(parsed.body)
    except RecursionError:
        raise DataError("expected a network's recipe, got one nested too deeply") from None
    if not isinstance(net, Layer):
        raise DataError(f"expected a network's recipe, got {text!r:.80}")
    return net


def _check_size(text: str, most_layers: int) -> None:
    """Refuse what would take more memory to parse and to build than its reader allows."""
    calls = text.count("(") * _copies(text)
    if calls > most_layers:
        got = f"{calls:,}"
        expected = f"expected a recipe of at most {most_layers:,} calls"
        raise DataError(f"{expected}, got {got}; `most_layers` allows more")
    at = n = 0
    while match := _TOKEN.match(text, at):
        at, n = match.end(), n + 1
        if n > _TOKENS_PER_CALL * (most_layers + 1):
            raise DataError(f"expected a shorter recipe than one of {n:,} words")
    if text[at:].strip():
        raise DataError(f"expected a network's recipe, got {text[at : at + 40]!r}")


def _copies(text: str) -> int:
    # What is frozen makes every layer below it anew.
    return 2 if frozen.__name__ in text else 1


def _count_runs(node: ast.AST) -> int:
    """Return how often layers run at one call of what a node of a recipe makes."""
    runs = sum(map(_count_runs, ast.iter_child_nodes(node)))
    if not isinstance(node, ast.Call):
        return runs
    if isinstance(node.func, ast.Name) and node.func.id in (shared.__name__, repeat.__name__):
        given = [*node.args[1:2], *(each.value for each in node.keywords if each.arg == "n")]
        times = [each.value for each in given if isinstance(each, ast.Constant)]
        runs *= math.prod(n for n in times if type(n) is int)
    return runs + 1


def _count(net: Layer) -> int:
    """Return how many layers there are, as often as they stand in the network."""
    return 1 + sum(_count(child) for _, child in net.children)


@attrs.define
class _Reader:
    """What the nodes of a parsed text mean, with the names that it may use."""

    library: Mapping[str, Any]
    own: Mapping[str, Any]
    unknown: Any
    room: int
    """How many more layers `repeat` may make."""

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._called(node.func.id, node)
        if isinstance(node, ast.Name):
            if node.id in _NUMBERS:
                return _NUMBERS[node.id]
            is_known = node.id in self.library or node.id in self.own or self.unknown is None
            return self._function(node.id) if is_known else self.unknown
        if isinstance(node, ast.Tuple):
            return tuple(map(self.value, node.elts))
        if isinstance(node, ast.Dict) and None not in node.keys:
            names = [self.value(name) for name in node.keys if name is not None]
            if all(isinstance(name, str) for name in names):
                return dict(zip(names, map(self.value, node.values), strict=True))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = self.value(node.operand)
            if type(number) in (int, float):
                return -number
        if isinstance(node, ast.Constant) and (
            node.value is None or type(node.value) in (bool, int, float, str)
        ):
            if type(node.value) is int and node.value.bit_length() > _MOST_BITS:
                got = f"one of {node.value.bit_length():,}"
                raise DataError(f"expected integers of at most {_MOST_BITS} bits, got {got}")
            return node.value
        raise DataError("expected calls of layers with plain options")

    def _function(self, name: str) -> Any:
        if name in self.library:
            return self.library[name]
        if name in self.own:
            return self.own[name]
        hint = "give it in `layers`, by that name"
        raise DataError(f"expected a layer that is known, got {name!r}; {hint}")

    def _called(self, name: str, node: ast.Call) -> Any:
        args = [self.value(arg) for arg in node.args]
        options = {each.arg: self.value(each.value) for each in node.keywords if each.arg is not None}
        if len(options) < len(node.keywords):
            raise DataError("expected options by name")
        if name == _OWN:
            if len(args) != 1 or options or not isinstance(args[0], str):
                raise DataError(f"expected {_OWN}('name'), got other arguments")
            return self._own_layer(args[0])
        make = self._function(name)
        if make is repeat:
            self._leave_room(*args, **options)
        try:
            made = make(*args, **options)
        except FnnError as error:
            raise DataError(f"{name}: {error}") from None
        # What no signature takes, and numbers of a size that nothing can be made of.
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{name}: expected other arguments ({error})") from None
        if not isinstance(made, Layer | Cell | Drawn):
            raise DataError(f"{name}: expected a constructor of layers, got {type(made).__name__}")
        return made

    def _leave_room(self, layer: Any = None, n: Any = None, **other: Any) -> None:
        """Refuse to make a layer so often that it takes more than the reader allows."""
        if isinstance(layer, Layer) and type(n) is int:
            self.room -= _count(layer) * n
            if self.room < 0:
                raise DataError(f"expected fewer layers, got {n:,} of one; `most_layers` allows more")

    def _own_layer(self, name: str) -> Layer | Cell:
        if name not in self.own:
            got = sorted(map(str, self.own))
            raise DataError(f"expected the layer {name!r} in `layers`, got {got}")
        made = self.own[name] if isinstance(self.own[name], Layer | Cell) else self.own[name]()
        if not isinstance(made, Layer | Cell) or made.name != name:
            raise DataError(f"layers: expected a layer called {name!r}, got {made!r:.80}")
        return made
