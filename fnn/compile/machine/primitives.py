"""Operations on single numbers as machine code, bit for bit what NumPy's loops do.

Nothing is contracted or reordered: an instruction rounds once, as NumPy's does. The exponential is
NumPy's own rational approximation of float32. `trials` proves each at its first use, and what gives
other bits on a machine is left to NumPy's loops there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.compile.machine.types import constant, conversion, scalar, wide


class Lines:
    """Instructions in single assignment, for so many numbers at once."""

    def __init__(self, lanes: int, names: Any, into: list[str]) -> None:
        """Write to a list, with names that a counter gives."""
        self.lanes, self._names, self.lines = lanes, names, into
        self.intrinsics: set[str] = set()

    def new(self, text: str) -> str:
        """Write what gives a value, and return the value's name."""
        name = f"%v{next(self._names)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def type(self, name: str) -> str:
        """Return the type of the numbers of a kind."""
        return wide(scalar(name), self.lanes)

    def number(self, name: str, value: Any) -> str:
        """Return one number everywhere."""
        return constant(name, value, self.lanes)

    def do(self, instruction: str, name: str, *args: str) -> str:
        """Write an instruction on numbers of one kind."""
        return self.new(f"{instruction} {self.type(name)} {', '.join(args)}")

    def select(self, name: str, mask: str, yes: str, no: str) -> str:
        """Write a choice, number by number."""
        type_ = self.type(name)
        return self.new(f"select {self.type('b1')} {mask}, {type_} {yes}, {type_} {no}")

    def call(self, function: str, name: str, *args: str) -> str:
        """Write a call of an intrinsic function on numbers of one kind."""
        type_ = self.type(name)
        suffix = ("" if self.lanes == 1 else f"v{self.lanes}") + f"{name[0]}{8 * int(name[1:])}"
        given = ", ".join([type_] * len(args))
        self.intrinsics.add(f"declare {type_} @llvm.{function}.{suffix}({given})")
        return self.new(
            f"call {type_} @llvm.{function}.{suffix}({', '.join(f'{type_} {each}' for each in args)})"
        )

    def converted(self, old: str, new: str, value: str) -> str:
        """Write a conversion that `conversion` knows."""
        instruction = conversion(old, new)
        assert instruction is not None
        if not instruction:
            return value
        return self.new(f"{instruction} {self.type(old)} {value} to {self.type(new)}")


def _arithmetic(floating: str, whole: str | None = None) -> Any:
    def write(to: Lines, name: str, *args: str) -> str | None:
        instruction = floating if name[0] == "f" else whole
        return None if instruction is None or name == "b1" else to.do(instruction, name, *args)

    return write


def _comparison(floating: str, whole: str) -> Any:
    def write(to: Lines, name: str, *args: str) -> str | None:
        if name[0] == "f":
            return to.do(f"fcmp {floating}", name, *args)
        sign = "" if whole in ("eq", "ne") else "s" if name[0] == "i" else "u"
        return to.do(f"icmp {sign}{whole}", name, *args)

    return write


def _extreme(floating: str, whole: str) -> Any:
    """The first if it is NaN or is beyond the second, else the second, also of two zeros."""

    def write(to: Lines, name: str, a: str, b: str) -> str | None:
        if name == "b1":
            return to.do("or" if whole == "gt" else "and", name, a, b)
        if name[0] != "f":
            beyond = to.do(f"icmp {'s' if name[0] == 'i' else 'u'}{whole}", name, a, b)
            return to.select(name, beyond, a, b)
        taken = to.select(name, to.do(f"fcmp {floating}", name, a, b), a, b)
        return to.select(name, to.do("fcmp uno", name, a, a), a, taken)

    return write


def _logical(instruction: str) -> Any:
    def write(to: Lines, name: str, *args: str) -> str | None:
        return to.do(instruction, name, *args) if name == "b1" else None

    return write


def _negative(to: Lines, name: str, x: str) -> str | None:
    if name[0] == "f":
        return to.do("fneg", name, x)
    return None if name == "b1" else to.do("sub", name, to.number(name, 0), x)


def _invert(to: Lines, name: str, x: str) -> str | None:
    return to.do("xor", name, x, to.number(name, True)) if name == "b1" else None


def _absolute(to: Lines, name: str, x: str) -> str | None:
    return to.call("fabs", name, x) if name[0] == "f" else None


def _sqrt(to: Lines, name: str, x: str) -> str | None:
    return to.call("sqrt", name, x) if name[0] == "f" else None


def _square(to: Lines, name: str, x: str) -> str | None:
    return _arithmetic("fmul", "mul")(to, name, x, x)


def _reciprocal(to: Lines, name: str, x: str) -> str | None:
    return to.do("fdiv", name, to.number(name, 1), x) if name[0] == "f" else None


def _sign(to: Lines, name: str, x: str) -> str | None:
    if name[0] != "f":
        return None
    zero = to.number(name, 0)
    found = to.select(name, to.do("fcmp oeq", name, x, zero), zero, x)
    found = to.select(name, to.do("fcmp olt", name, x, zero), to.number(name, -1), found)
    return to.select(name, to.do("fcmp ogt", name, x, zero), to.number(name, 1), found)


def _clip(to: Lines, name: str, x: str, low: str, high: str) -> str | None:
    if name[0] != "f":
        return None
    raised = to.select(name, to.do("fcmp ogt", name, x, low), x, low)
    raised = to.select(name, to.do("fcmp uno", name, x, x), x, raised)
    cut = to.select(name, to.do("fcmp olt", name, raised, high), raised, high)
    return to.select(name, to.do("fcmp uno", name, raised, raised), raised, cut)


_ABOVE = (
    9.999999999980870924916e-01,
    7.257664613233124478488e-01,
    2.473615434895520810817e-01,
    5.114512081637298353406e-02,
    6.757896990527504603057e-03,
    5.082762527590693718096e-04,
)
_BELOW = 1.0, -2.742335390411667452936e-01, 2.159509375685829852307e-02


def _exp(to: Lines, name: str, x: str) -> str | None:
    """2^n p(r) / q(r) with x = n log 2 + r, as NumPy computes it with AVX2 and AVX-512."""
    if name != "f4":
        return None
    lowest, highest = -103.97208404541015625, 88.72283935546875

    def number(value: Any) -> str:
        return to.number("f4", np.float32(value))

    def fma(*args: str) -> str:
        return to.call("fma", "f4", *args)

    low, high = number(lowest), number(highest)
    cut = to.select(name, to.do("fcmp ogt", name, x, low), x, low)
    cut = to.select(name, to.do("fcmp olt", name, cut, high), cut, high)
    magic = number(float.fromhex("0x1.8p+23"))
    turns = to.do("fmul", name, cut, number(1.442695040888963407359924681001892137))
    turns = to.do("fsub", name, to.do("fadd", name, turns, magic), magic)
    rest = fma(turns, number(-6.93145752e-1), cut)
    rest = fma(turns, number(-1.42860677e-6), rest)
    above = number(_ABOVE[-1])
    for each in reversed(_ABOVE[:-1]):
        above = fma(above, rest, number(each))
    below = number(_BELOW[-1])
    for each in reversed(_BELOW[:-1]):
        below = fma(below, rest, number(each))
    y = to.do("fdiv", name, above, below)
    power = to.new(f"fptosi {to.type('f4')} {turns} to {to.type('i4')}")
    half = to.do("ashr", "i4", power, to.number("i4", 1))
    for n in (half, to.do("sub", "i4", power, half)):  # 2^n in two steps: it may be no number at once.
        bits = to.do("shl", "i4", to.do("add", "i4", n, to.number("i4", 127)), to.number("i4", 23))
        two = to.new(f"bitcast {to.type('i4')} {bits} to {to.type('f4')}")
        y = to.do("fmul", name, y, two)
    y = to.select(name, to.do("fcmp oge", name, x, high), number(np.inf), y)
    y = to.select(name, to.do("fcmp ole", name, x, low), number(0), y)
    return to.select(name, to.do("fcmp uno", name, x, x), x, y)


CLIP: np.ufunc = np._core.umath.clip  # type: ignore[attr-defined]

Primitive = Callable[..., str | None]

PRIMITIVES: dict[Any, Primitive] = {
    CLIP: _clip,
    np.add: _arithmetic("fadd", "add"),
    np.subtract: _arithmetic("fsub", "sub"),
    np.multiply: _arithmetic("fmul", "mul"),
    np.divide: _arithmetic("fdiv"),
    np.negative: _negative,
    np.positive: lambda to, name, x: x,
    np.absolute: _absolute,
    np.sqrt: _sqrt,
    np.square: _square,
    np.reciprocal: _reciprocal,
    np.sign: _sign,
    np.exp: _exp,
    np.maximum: _extreme("ogt", "gt"),
    np.minimum: _extreme("olt", "lt"),
    np.greater: _comparison("ogt", "gt"),
    np.greater_equal: _comparison("oge", "ge"),
    np.less: _comparison("olt", "lt"),
    np.less_equal: _comparison("ole", "le"),
    np.equal: _comparison("oeq", "eq"),
    np.not_equal: _comparison("une", "ne"),
    np.isnan: lambda to, name, x: to.do("fcmp uno", name, x, x) if name[0] == "f" else None,
    np.logical_and: _logical("and"),
    np.logical_or: _logical("or"),
    np.logical_xor: _logical("xor"),
    np.bitwise_and: _logical("and"),
    np.bitwise_or: _logical("or"),
    np.bitwise_xor: _logical("xor"),
    np.logical_not: _invert,
    np.invert: _invert,
}
"""What is written for a ufunc whose inputs all have one kind; None for kinds that it does not take."""
