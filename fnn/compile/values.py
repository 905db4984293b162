"""What a step runs on while it is noted: arrays, numbers and keys that tell a tape what happens.

A `Value` is an array to whoever asks, but none to NumPy's C code: its buffer cannot be read without
the tape, so that nothing happens to it unseen. What is asked of it is either noted or refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fnn.keys import Key

if TYPE_CHECKING:
    from fnn.compile.tape import Tape

Array = np.ndarray


class UntraceableError(Exception):
    """Something was done that cannot be noted; it says what."""


class Flags:
    """How a value lies in memory; it is never written to from outside, whatever is set."""

    def __init__(self, array: Array) -> None:
        """Read the flags of the array."""
        self.c_contiguous = array.flags.c_contiguous
        self.f_contiguous = array.flags.f_contiguous
        self.writeable = False


# Methods of arrays that are functions of NumPy of the same name.
_METHODS = frozenset(
    (np.argmax, np.argmin, np.argsort, np.clip, np.compress, np.conj, np.conjugate, np.cumprod,
     np.cumsum, np.diagonal, np.dot, np.max, np.mean, np.min, np.nonzero, np.prod, np.ptp,
     np.ravel, np.repeat, np.round, np.searchsorted, np.squeeze, np.std, np.sum, np.swapaxes,
     np.take, np.trace, np.var, np.all, np.any)
)  # fmt: skip


class Value(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of a step that is being noted."""

    __slots__ = ("array", "tape")

    is_traced = True
    __array_priority__ = 1000.0
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: Array, tape: Tape) -> None:
        """Wrap what the step has computed."""
        self.array, self.tape = array, tape

    # An array to `isinstance`; NumPy itself asks for the type.
    __class__ = property(lambda self: np.ndarray)

    # --- what NumPy asks ---

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return self.tape.ufunc(ufunc, method, inputs, options)

    def __array_function__(self, f: Any, types: Any, args: Any, options: Any) -> Any:
        return self.tape.function(f, args, options)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        self._check_over("an array is read by code that cannot be noted")
        return np.array(self.array, dtype, copy=copy)

    def _check_over(self, what: str) -> None:
        """Refuse a look at the numbers while the step is noted; who kept the value may look later."""
        if not self.tape.is_over:
            raise UntraceableError(what)

    # --- what is known without its numbers ---

    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: self.array.dtype)
    ndim = property(lambda self: self.array.ndim)
    size = property(lambda self: self.array.size)
    nbytes = property(lambda self: self.array.nbytes)
    itemsize = property(lambda self: self.array.itemsize)
    strides = property(lambda self: self.array.strides)
    flags = property(lambda self: Flags(self.array))
    T = property(lambda self: Value(self.array.T, self.tape))
    mT = property(lambda self: Value(self.array.mT, self.tape))  # noqa: N815 - NumPy's name
    base = None

    @property
    def real(self) -> Any:
        """The real part: the value itself, or a view."""
        return self if self.dtype.kind != "c" else Value(self.array.real, self.tape)

    def __len__(self) -> int:
        return len(self.array)

    def setflags(self, **_: bool) -> None:
        """Do nothing: nobody outside of the step writes to it."""

    def __getattr__(self, name: str) -> Any:
        if self.tape.is_over:
            return getattr(self.array, name)
        f: Any = getattr(np, name, None)
        if f in _METHODS:
            return lambda *args, **options: f(self, *args, **options)
        if hasattr(Array, name) and not name.startswith("_"):
            raise UntraceableError(f"an array is asked for its {name}")
        raise AttributeError(name)

    # --- views and copies ---

    def reshape(self, *shape: Any, **options: Any) -> Value:
        """Return the values in another shape."""
        return self.tape.moved(self.array, self.array.reshape(*shape, **options))

    def transpose(self, *axes: Any) -> Value:
        """Return the axes in another order."""
        return Value(self.array.transpose(*axes), self.tape)

    def view(self, dtype: Any = None) -> Value:
        """Return the same memory as another dtype."""
        return self if dtype in (None, np.ndarray) else Value(self.array.view(dtype), self.tape)

    def astype(self, dtype: Any, order: Any = "K", *_: Any, copy: bool = True, **__: Any) -> Value:
        """Return the values in another dtype."""
        if not copy and self.dtype == dtype:
            return self
        return self.tape.copied(self.array, np.empty_like(self.array, dtype, order))

    def copy(self, order: Any = "C") -> Value:
        """Return new memory with the same values."""
        return self.tape.copied(self.array, np.empty_like(self.array, order=order))

    def flatten(self) -> Value:
        """Return a copy along one axis."""
        return self.copy().reshape(-1)

    def fill(self, value: Any) -> None:
        """Write one number everywhere."""
        self.tape.copy(self.array, value)

    def __getitem__(self, index: Any) -> Any:
        return self.tape.taken(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tape.put(self, index, value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self.array)))

    # --- looks at its numbers ---

    def __bool__(self) -> bool:
        return bool(self.tape.looked_at(self, bool(self.array)))

    def __index__(self) -> int:
        return int(self.tape.looked_at(self, operator.index(self.array)))

    __int__ = __index__

    def __float__(self) -> float:
        self._check_over("a number is read")
        return float(self.array)

    def __reduce__(self) -> Any:
        self._check_over("an array is copied by code that cannot be noted")
        return np.array, (self.array,)

    def __repr__(self) -> str:
        return f"Value({self.dtype}{list(self.shape)})"


def _noting(f: Callable[..., Any], *, swapped: bool = False) -> Any:
    def method(self: Number, *others: Any) -> Any:
        args = (*others, self) if swapped else (self, *others)
        if any(isinstance(each, Array) for each in args):
            return NotImplemented
        return self.tape.number(f, args)

    return method


def _asking(f: Callable[..., Any]) -> Any:
    def method(self: Number, other: Any) -> Any:
        if isinstance(other, Array):
            return NotImplemented
        return bool(self.tape.asked(f, (self, other)))

    return method


class Number:
    """A number of Python's that changes from step to step: the clock, and what follows from it."""

    __slots__ = ("name", "tape", "value")

    is_traced = True
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any, name: str, tape: Tape) -> None:
        """Name the number at this step."""
        self.value, self.name, self.tape = value, name, tape

    __class__ = property(lambda self: type(self.value))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return self.tape.ufunc(ufunc, method, inputs, options)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise UntraceableError("a number of the step is read by code that cannot be noted")

    __add__, __radd__ = _noting(operator.add), _noting(operator.add, swapped=True)
    __sub__, __rsub__ = _noting(operator.sub), _noting(operator.sub, swapped=True)
    __mul__, __rmul__ = _noting(operator.mul), _noting(operator.mul, swapped=True)
    __truediv__, __rtruediv__ = _noting(operator.truediv), _noting(operator.truediv, swapped=True)
    __floordiv__, __rfloordiv__ = _noting(operator.floordiv), _noting(operator.floordiv, swapped=True)
    __mod__, __rmod__ = _noting(operator.mod), _noting(operator.mod, swapped=True)
    __pow__, __rpow__ = _noting(operator.pow), _noting(operator.pow, swapped=True)
    __neg__, __abs__ = _noting(operator.neg), _noting(operator.abs)
    __lt__, __le__ = _asking(operator.lt), _asking(operator.le)
    __gt__, __ge__ = _asking(operator.gt), _asking(operator.ge)
    __eq__, __ne__ = _asking(operator.eq), _asking(operator.ne)

    def __bool__(self) -> bool:
        return bool(self.tape.asked(bool, (self,)))

    def called(self, f: Callable[..., Any], *before: Any, after: tuple[Any, ...] = ()) -> Any:
        """Return f(*before, number, *after), to be computed anew at every step."""
        return self.tape.number(f, (*before, self, *after))

    def _refused(self, *_: Any) -> NoReturn:
        raise UntraceableError(f"the number {self.name} of a step is read")

    __float__ = __int__ = __index__ = __complex__ = _refused

    def __repr__(self) -> str:
        return f"Number({self.name} = {self.value!r})"


class DrawnFrom(Key):
    """The key of a step: what is drawn from it, or from a key that is folded of it, is noted."""

    # Slots of its own, past those of a class that is frozen.
    __slots__ = ("name", "tape")
    name: str
    tape: Tape
    is_traced = True

    def __init__(self, bits: bytes, tape: Tape, name: str) -> None:
        """Name the key in the program."""
        for field, value in (("bits", bits), ("tape", tape), ("name", name)):
            object.__setattr__(self, field, value)

    def fold(self, *names: Any) -> DrawnFrom:
        """Return the child at `names`."""
        return self.tape.folded(self, names)

    def split(self, n: Any) -> NoReturn:
        """Refuse."""
        raise UntraceableError("a key is split")

    def generator(self) -> Any:
        """Return a generator whose draws are noted."""
        return self.tape.generator(self)


class DrawnGenerator:
    """A generator of a step: each of its draws is noted, and made in the same order at every step."""

    __slots__ = ("generator", "name", "tape")

    is_traced = True

    def __init__(self, generator: np.random.Generator, name: str, tape: Tape) -> None:
        """Name the generator in the program."""
        self.generator, self.name, self.tape = generator, name, tape

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_") or method in ("bit_generator", "spawn", "shuffle"):
            raise UntraceableError(f"the generator of a key is asked for {method}")
        return lambda *args, **options: self.tape.drawn(self, method, args, options)
