"""Where a training function comes from and what it is: a script's function, a partial, a method, …"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import attrs
import numpy as np

from fnn.errors import OptionError
from fnn.layers.contract import Layer

_LONGEST = 1000
_SIMPLE = (bool, int, float, complex, str, bytes, type(None))


def function_of(train: Any) -> FunctionType:
    """Return the function that runs when `train` is called.

    Raises:
        OptionError: If it is none that can be told again: neither a function nor a partial, a method
            or an object of a class that defines `__call__`; or one that is awaited or iterated.
    """
    inner = train
    while not inspect.isfunction(inner):
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif inspect.ismethod(inner):
            inner = inner.__func__
        elif callable(inner) and inspect.isfunction(type(inner).__call__):
            inner = type(inner).__call__
        else:
            expected = "a function of (config, run), or a partial, a method or a callable object of one"
            raise OptionError(f"train: expected {expected}, got {train!r:.80}")
    if inspect.iscoroutinefunction(inner) or inspect.isgeneratorfunction(inner):
        kind = "generator" if inspect.isgeneratorfunction(inner) else "coroutine"
        raise OptionError(f"train: expected a function that trains when called, got a {kind} function")
    return inner


def module_of(train: Callable[..., Any]) -> ModuleType | None:
    """Return the module that `train` is from, None if that is not imported."""
    return sys.modules.get(str(function_of(train).__module__))


def script_of(train: Callable[..., Any]) -> tuple[str, Path | None, str]:
    """Return the name, the file and the docstring of the script that `train` is from.

    A notebook, standard input and `python -c` have no file; their name is "__main__".
    """
    function, module = function_of(train), module_of(train)
    # Code that was run by path or from a text belongs to no module that is imported.
    names = function.__globals__ if module is None else vars(module)
    file, doc = names.get("__file__"), names.get("__doc__")
    if isinstance(file, str) and file.startswith("<"):  # "<stdin>", which is none.
        file = None
    name = str(function.__module__) if file is None else Path(file).stem
    return name, None if file is None else Path(file), doc or ""


def described(train: Callable[..., Any]) -> str:
    """Return what `train` is in a line, with all that is bound to it: "partial(train, scale=3)".

    Raises:
        OptionError: If something is bound to it that run.json cannot hold, so that nobody could say
            later which training this was; names it.
    """
    function_of(train)
    text = _callable(train, "train")
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 80]}… sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def _callable(value: Any, at: str) -> str:
    if isinstance(value, functools.partial):
        bound = [_value(each, f"{at}: argument {i}") for i, each in enumerate(value.args, 1)]
        bound += [f"{name}={_value(each, f'{at}: {name}')}" for name, each in value.keywords.items()]
        return f"partial({', '.join([_callable(value.func, at), *bound])})"
    if inspect.ismethod(value):
        owner = value.__self__
        shown = owner.__qualname__ if isinstance(owner, type) else _object(owner, at)
        return f"{shown}.{value.__func__.__name__}"
    if inspect.isfunction(value):
        # What a closure or a default holds may be anything, such as a list that changes: only what
        # stays as it is belongs to what the function is.
        held = [f"{name}={_quiet(each)}" for name, each in _held(value)]
        return value.__qualname__ + (f" [{', '.join(held)}]" if held else "")
    return _object(value, at)


def _held(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # Not yet assigned.
            continue
    if function.__name__ == "<lambda>":
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is not parameter.empty:
                yield name, parameter.default


def _quiet(value: Any) -> str:
    plain = isinstance(value, (*_SIMPLE, Path)) and not isinstance(value, enum.Enum)
    return repr(value) if plain else getattr(value, "__qualname__", "…")


def _object(value: Any, at: str) -> str:
    """Return an object as its class and what its attributes hold."""
    kind = type(value)
    held = {**{name: getattr(value, name) for name in _slots(kind) if hasattr(value, name)}}
    held |= getattr(value, "__dict__", {})
    parts = (f"{name}={_value(each, f'{at}: {kind.__name__}.{name}')}" for name, each in held.items())
    return f"{kind.__qualname__}({', '.join(parts)})"


def _slots(kind: type) -> list[str]:
    found: list[str] = []
    for each in reversed(kind.__mro__):
        slots = each.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else slots
    return [name for name in found if not name.startswith("__")]


def _value(value: Any, at: str) -> str:
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype}{list(value.shape)} sha256 {digest[:16]}"
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, (*_SIMPLE, np.generic, Path, Layer, range)):
        return repr(value)
    if isinstance(value, list | tuple):
        entries = ", ".join(_value(each, at) for each in value)
        if isinstance(value, list):
            return f"[{entries}]"
        return f"({entries},)" if len(value) == 1 else f"({entries})"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(_value(each, at) for each in value)) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_value(each, at)}" for k, each in value.items()) + "}"
    if isinstance(value, type):
        return value.__qualname__
    if inspect.isroutine(value) or isinstance(value, functools.partial):
        return value.__qualname__ if inspect.isbuiltin(value) else _callable(value, at)
    if attrs.has(type(value)) or hasattr(type(value), "__dataclass_fields__"):
        return _object(value, at)
    got = f"{type(value).__module__}.{type(value).__qualname__}"
    expected = "numbers, texts, arrays, functions or what is made of those"
    raise OptionError(f"{at}: expected {expected}, which run.json can hold, got {got}")


def digest_of_code(train: Callable[..., Any]) -> str:
    """Return a digest of a function that no file holds, and of what it calls beside it.

    Its bytecode is what there is to look at, which another version of Python may write otherwise.
    """
    function, total = function_of(train), hashlib.sha256()
    waiting: list[Any] = [function]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, type):
            total.update(each.__qualname__.encode())
            members = (getattr(member, "__func__", member) for member in vars(each).values())
            waiting += [member for member in members if inspect.isfunction(member)]
            continue
        total.update(repr(_code(each.__code__)).encode())
        for name in sorted(_names(each.__code__)):
            value = each.__globals__.get(name)
            if isinstance(value, (*_SIMPLE, tuple)):
                total.update(f"{name}={value!r}".encode())
            elif getattr(value, "__module__", None) == function.__module__ and (
                inspect.isfunction(value) or isinstance(value, type)
            ):
                waiting.append(value)
    return total.hexdigest()


def _code(code: CodeType) -> tuple[Any, ...]:
    # Sets have no order, and the line numbers of a cell say nothing of what it does.
    constants = [
        _code(each) if isinstance(each, CodeType)
        else sorted(map(repr, each)) if isinstance(each, frozenset)
        else repr(each)
        for each in code.co_consts
    ]  # fmt: skip
    return (code.co_name, code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants)


def _names(code: CodeType) -> Iterable[str]:
    inner = (_names(each) for each in code.co_consts if isinstance(each, CodeType))
    return {*code.co_names, *(name for names in inner for name in names)}
