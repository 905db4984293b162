"""Which operations of a program are the same small work for every element, and on what."""

from __future__ import annotations

import operator
from typing import Any

import attrs
import numpy as np

from fnn.compile.listing import constant_of
from fnn.compile.machine.primitives import CLIP, PRIMITIVES
from fnn.compile.machine.spaces import Dims, broadcast, in_order
from fnn.compile.machine.types import conversion, is_known, kind
from fnn.compile.program import Name, Op, Ref


@attrs.frozen(eq=False)
class Place:
    """An array as a work reads or writes it: strides along its loops, and the kind of its numbers."""

    ref: Ref
    strides: Dims

    @property
    def kind(self) -> str:
        """The kind of its numbers."""
        return kind(self.ref.dtype)


@attrs.frozen
class Constant:
    """One number."""

    value: Any
    kind: str


Arg = Place | Name | Constant


@attrs.define(eq=False)
class Work:
    """An elementwise operation.

    Attributes:
        f: A ufunc, or "copy" or "where" (a mask, what is taken where it holds, what elsewhere).
        kind: What the inputs are before f sees them (of "where": all but the mask).
        args: The inputs.
        result: What f gives, before it becomes what `out` holds.
        out: What is written.
        dims: The loops over it.
    """

    f: Any
    kind: str
    args: list[Arg]
    result: str
    out: Place
    dims: Dims

    def reads(self) -> list[Place]:
        """Return the arrays that are read."""
        return [each for each in self.args if isinstance(each, Place)]


def uniform(ref: Ref) -> Any:
    """Return the number that all elements of a constant are; None if they are not."""
    if ref.block.kind != "const" or not is_known(ref.dtype) or 0 in ref.shape:
        return None
    values = constant_of(ref)
    first = values[(0,) * values.ndim]
    return first if values.tobytes() == first.tobytes() * values.size else None


def _called(op: Op) -> tuple[Any, tuple[Any, ...]] | None:
    """Return f and its arguments of an operation that may be elementwise."""
    if op.kind == "copy" and not op.options.keys() - {"casting"}:
        return "copy", op.args
    if op.kind == "out" and isinstance(op.f, np.ufunc) and op.f in PRIMITIVES:
        return (op.f, op.args) if not op.options.keys() - {"dtype"} else None
    if op.kind == "out" and op.f is np.clip and not op.options and len(op.args) == 3:
        x, low, high = op.args
        if low is None:
            return np.minimum, (x, high)
        return (np.maximum, (x, low)) if high is None else (CLIP, op.args)
    if op.kind == "into" and op.f is np.copy and len(op.args) == 1:
        return "copy", op.args
    if op.kind == "into" and op.f is np.where and len(op.args) == 3 and not op.options:
        return "where", op.args
    if op.kind == "do" and op.f is np.copyto and op.options.keys() == {"where"}:
        target, source = op.args
        return "where", (op.options["where"], source, target)
    if op.kind == "do" and op.f is operator.setitem and not op.options:
        target, mask, new = op.args
        if not isinstance(mask, Ref) or mask.dtype != bool or type(new) not in (int, float):
            return None
        n = len(mask.shape)
        if mask.shape != target.shape[:n]:
            return None
        ones = (1,) * (len(target.shape) - n)
        rows = attrs.evolve(mask, shape=(*mask.shape, *ones), strides=(*mask.strides, *ones))
        return "where", (rows, new, target)
    return None


def _dtype_of(given: Any) -> Any:
    """Return what decides about the dtype of a result."""
    if isinstance(given, Ref):
        return given.dtype
    if isinstance(given, Name):
        return float
    if isinstance(given, np.generic):
        return given.dtype
    return type(given) if type(given) in (int, float) else np.dtype(type(given))


def work_of(op: Op) -> Work | None:
    """Return an operation as work on elements; None for any other."""
    called = _called(op)
    if called is None or op.out is None or not is_known(op.out.dtype) or 0 in op.out.shape:
        return None
    f, given = called
    out = op.out
    if not all(isinstance(each, Ref | Name | np.generic | int | float) for each in given):
        return None
    if any(isinstance(each, Ref | np.generic) and not is_known(each.dtype) for each in given):
        return None
    if isinstance(f, str):
        inner = result = kind(out.dtype)
    else:
        try:
            wanted = op.options.get("dtype")
            form = {"signature": (None,) * len(given) + (np.dtype(wanted),)} if wanted else {}
            *ins, last = f.resolve_dtypes((*map(_dtype_of, given), None), **form)
        except TypeError:
            return None
        kinds = {kind(each) for each in ins if is_known(each)}
        if len(kinds) != 1 or not is_known(last) or not all(map(is_known, ins)):
            return None
        (inner,), result = kinds, kind(last)
    given = tuple(_number_of(each) for each in given)
    spread = [broadcast(each, out.shape) if isinstance(each, Ref) else () for each in given]
    if any(each is None for each in spread) or not _aligned(out, *given):
        return None
    found = in_order(out.shape, out.strides, [s or (0,) * len(out.shape) for s in spread])
    if found is None:
        return None
    dims, (own, *strides) = found
    args: list[Arg] = []
    for i, (each, along) in enumerate(zip(given, strides, strict=True)):
        wanted = "b1" if f == "where" and i == 0 else inner
        arg = _arg(each, along, wanted)
        if arg is None:
            return None
        args.append(arg)
    if conversion(result, kind(out.dtype)) is None:
        return None
    return Work(f, inner, args, result, Place(out, own), dims)


def _number_of(given: Any) -> Any:
    """Return the number that a constant is everywhere, if it is."""
    value = uniform(given) if isinstance(given, Ref) else None
    return given if value is None else value


def _aligned(*given: Any) -> bool:
    """Return whether all arrays lie at whole elements."""
    refs = [each for each in given if isinstance(each, Ref)]
    return not any(n % ref.dtype.itemsize for ref in refs for n in (ref.offset, *ref.strides))


def _arg(given: Any, strides: Dims, wanted: str) -> Arg | None:
    """Return an argument as it is read; None if it does not become what is wanted as in NumPy."""
    if isinstance(given, Name):
        return given if wanted in ("f4", "f8") else None
    if isinstance(given, Ref):
        return Place(given, strides) if conversion(kind(given.dtype), wanted) is not None else None
    if isinstance(given, np.generic) and conversion(kind(given.dtype), wanted) is None:
        return None
    with np.errstate(all="ignore"):
        try:
            return Constant(np.asarray(given).astype(wanted)[()], wanted)
        except (OverflowError, ValueError):
            return None
