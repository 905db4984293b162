"""The tape: what a step does to memory, noted operation by operation while it runs."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from fnn.compile.functions import ANSWERS, MUTATORS, OUTS, REDUCTIONS, by_name
from fnn.compile.program import Block, Name, Op, Ref
from fnn.compile.values import DrawnFrom, DrawnGenerator, Number, UntraceableError, Value
from fnn.keys import Key

Array = np.ndarray


def root(array: Array) -> Array:
    """Return the array that owns, or first looked at, the memory of another."""
    base: Any = array
    while isinstance(base.base, Array):
        base = base.base
    return base


def plain(given: Any) -> Any:
    """Return arguments with what is noted as ordinary arrays, numbers and keys."""
    kind = type(given)
    if kind is Value:
        return given.array
    if kind is Number:
        return given.value
    if kind is tuple or kind is list:
        return kind(map(plain, given))
    if kind is dict:
        return {name: plain(each) for name, each in given.items()}
    if kind is slice:
        return slice(plain(given.start), plain(given.stop), plain(given.step))
    return given


@attrs.define(eq=False)
class Tape:
    """Operations in their order, and the blocks of memory that they read and write.

    Attributes:
        ops: What was done.
        is_over: Whether nothing is noted any more, so that values are arrays like others.
        made: Constants that could be written to, in the order in which they were met: a second
            recording tells those that the step makes from those that somebody keeps.
    """

    ops: list[Op] = attrs.field(factory=list)
    made: list[Block] = attrs.field(factory=list)
    is_over: bool = False
    _blocks: dict[int, Block] = attrs.field(factory=dict)
    _alive: dict[int, weakref.ref[Array]] = attrs.field(factory=dict)
    _numbers: int = 0

    # --- memory ---

    def leaf(self, array: Array, kind: str) -> Value:
        """Return a value for memory that the step is given: a batch, or what is carried."""
        self._block(array, kind)
        return Value(array, self)

    def _block(self, base: Array, kind: str) -> Block:
        """Remember memory for as long as somebody holds it: a temporary is let go as in the step."""
        key = id(base)

        def forget(_: Any) -> None:
            del self._blocks[key], self._alive[key]

        block = self._blocks[key] = Block(kind, base)
        self._alive[key] = weakref.ref(base, forget)
        return block

    def ref(self, array: Array) -> Ref:
        """Return where an array lies; memory that nobody wrote here is a constant."""
        base = root(array)
        block = self._blocks.get(id(base))
        if block is None:
            block = self._block(base, "const")
            if base.flags.writeable:
                self.made.append(block)
        return Ref.of(block, array)

    def _out(self, array: Array) -> Ref:
        """Return where an array lies that is about to be written to.

        It has to be one that was made by what is noted: of another, what is read later is unseen.
        """
        block = self._blocks.get(id(root(array)))
        if block is None:
            raise UntraceableError(
                "numbers are written into an array that NumPy made by itself, where nobody sees them "
                "again; make it like another, e.g. np.zeros_like(x)"
            )
        if block.kind != "temp" and not block.kind.startswith("next"):
            raise UntraceableError(f"memory is written to that is {block.says()}")
        return Ref.of(block, array)

    def _new(self, array: Array) -> Ref:
        """Return where a new result lies."""
        base = root(array)
        if id(base) not in self._blocks:
            self._block(base, "temp")
        return self._out(array)

    def _arg(self, given: Any) -> Any:
        """Return an argument as it is noted."""
        kind = type(given)
        if kind is Value:
            return self.ref(given.array)
        if kind is Number or kind is DrawnFrom:
            return Name(given.name)
        if kind is tuple or kind is list:
            return kind(map(self._arg, given))
        if kind is slice:
            return slice(*map(self._arg, (given.start, given.stop, given.step)))
        if isinstance(given, Array):
            if given.dtype.kind == "O":
                raise UntraceableError("an array of objects is read")
            return self.ref(given)
        return given

    def _note(self, kind: str, f: Any, args: Any, options: Any, out: Ref | None) -> None:
        self.ops.append(Op(kind, f, tuple(map(self._arg, args)), self._named(options), out))

    def _named(self, options: Any) -> dict[str, Any]:
        return {name: self._arg(each) for name, each in options.items()}

    def _result(self, kind: str, f: Any, args: Any, options: Any, came: Any) -> Value:
        """Note what made a new array, or look at one that it is a view of."""
        array = np.asarray(came)
        if id(root(array)) not in self._blocks:
            args, options = tuple(map(self._arg, args)), self._named(options)
            self.ops.append(Op(kind, f, args, options, self._new(array)))
        return Value(array, self)

    # --- what NumPy is asked for ---

    def ufunc(self, ufunc: np.ufunc, method: str, inputs: Any, options: dict[str, Any]) -> Any:
        """Do and note a call of a ufunc or of one of its methods."""
        if self.is_over:
            return getattr(ufunc, method)(*plain(inputs), **plain(options))
        options = dict(options)
        given = options.pop("out", None)
        if options.get("where", True) is True:
            options.pop("where", None)
        if method == "at":
            return self.written(ufunc.at, inputs, options)
        f = ufunc if method == "__call__" else getattr(ufunc, method)
        if method == "__call__" and ufunc.nout != 1:
            if given is not None:
                raise UntraceableError(f"{ufunc.__name__} writes several results")
            return self._several(f, inputs, options)
        if given is None:
            if method == "__call__" and "where" in options:
                raise UntraceableError(f"{ufunc.__name__} leaves numbers undefined")
            came = f(*plain(inputs), **plain(options))
            return self._result("out", f, inputs, options, came)
        out = given[0]
        target = plain(out)
        at = self._out(target)
        f(*plain(inputs), out=target, **plain(options))
        self._note("out", f, inputs, options, at)
        return out

    def function(self, f: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
        """Do and note a call of another function of NumPy."""
        if self.is_over:
            return f(*plain(args), **plain(options))
        name = f.__name__
        if f in ANSWERS:
            return f(*plain(args), **plain(options))
        if f is np.copyto:
            return self._copyto(*args, **options)
        if f in MUTATORS:
            return self.written(f, args, options)
        if f in REDUCTIONS:
            return REDUCTIONS[f](self, *args, **options)
        if f is np.empty_like:
            array = f(*plain(args), **plain(options))
            self._new(array)
            return Value(array, self)
        if f is np.reshape:
            a, *rest = args
            return a.reshape(*rest, **options)
        args, options = by_name(f, args, options)
        if options.get("out") is not None:
            out = options.pop("out")
            at = self._out(plain(out))
            f(*plain(args), out=plain(out), **plain(options))
            self._note("out" if f in OUTS else "into", f, args, options, at)
            return out
        came = f(*plain(args), **plain(options))
        if isinstance(came, tuple | list):
            return self._parts(f, args, options, came)
        if not isinstance(came, Array | np.generic):
            raise UntraceableError(f"np.{name} answers {type(came).__name__}")
        return self._result("out" if f in OUTS else "into", f, args, options, came)

    def _several(self, f: Any, inputs: Any, options: Any) -> Any:
        return self._parts(f, inputs, options, f(*plain(inputs), **plain(options)))

    def _parts(self, f: Any, args: Any, options: Any, came: Any) -> Any:
        """Note a function that gives several arrays, or None in some places."""
        if not all(each is None or isinstance(each, Array | np.generic) for each in came):
            raise UntraceableError(f"{f.__name__} answers {type(came).__name__}")
        arrays = [None if each is None else np.asarray(each) for each in came]
        noted = tuple(map(self._arg, args)), self._named(options)
        outs = tuple(
            None if each is None or id(root(each)) in self._blocks else self._new(each)
            for each in arrays
        )
        if any(outs):
            self.ops.append(Op("several", f, *noted, None, outs=outs))
        return tuple(None if each is None else Value(each, self) for each in arrays)

    def whole(self, f: Callable[..., Any], args: Any, options: Any) -> Any:
        """Do and note a kernel as one operation."""
        came = f(*plain(args), **plain(options))
        if came is None:  # A check, which raises.
            self._note("do", f, args, options, None)
            return None
        if isinstance(came, tuple):
            return self._parts(f, args, options, came)
        return self._result("into", f, args, options, came)

    def written(self, f: Callable[..., Any], args: Any, options: Any) -> None:
        """Do and note a function that writes into its first argument."""
        at = self._out(plain(args[0]))
        f(*plain(args), **plain(options))
        self._note("do", f, args, options, at)

    # --- copies, places ---

    def _copyto(self, dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
        target = plain(dst)
        options = {} if casting == "same_kind" else {"casting": casting}
        if where is True:
            at = self._out(target)
            np.copyto(target, plain(src), **options)
            self._note("copy", None, (src,), options, at)
            return
        at = self._out(target)
        np.copyto(target, plain(src), where=plain(where), **options)
        self._note("do", np.copyto, (Value(target, self), src), {**options, "where": where}, at)

    def copy(self, target: Array, value: Any) -> None:
        """Write a value over an array."""
        self._copyto(target, value, casting="unsafe")

    def copied(self, source: Array, target: Array) -> Value:
        """Return new memory with the values of an array."""
        self._new(target)
        self._copyto(target, Value(source, self), casting="unsafe")
        return Value(target, self)

    def moved(self, source: Array, shaped: Array) -> Value:
        """Return an array of another shape; note the copy where its memory is new."""
        if root(shaped) is not root(source):
            out = self._new(shaped.reshape(source.shape))
            self._note("copy", None, (Value(source, self),), {}, out)
        return Value(shaped, self)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Value:
        """Return new memory, its values undefined."""
        array = np.empty(shape, dtype)
        self._new(array)
        return Value(array, self)

    def taken(self, value: Value, index: Any) -> Value:
        """Return what an index takes: a view where it can be one."""
        if self.is_over:
            return value.array[plain(index)]
        at = plain(index)
        came = value.array[at]
        if not isinstance(came, Array):
            wide = (*at, ...) if isinstance(at, tuple) else (at, ...)
            came = value.array[wide]
        return self._result("into", operator.getitem, (value, index), {}, came)

    def put(self, value: Value, index: Any, new: Any) -> None:
        """Write where an index says."""
        if self.is_over:
            raise ValueError("assignment destination is read-only")
        at = plain(index)
        parts = at if isinstance(at, tuple) else (at,)
        if any(isinstance(each, Array | list) for each in parts):
            self.written(operator.setitem, (value, index, new), {})
        else:
            target = value.array[at]
            self.copy(target if isinstance(target, Array) else value.array[(*parts, ...)], new)

    def strided(self, value: Value, shape: Any, dtype: Any, offset: int, strides: Any) -> Value:
        """Return the memory of a value as another array, as `np.ndarray` with a buffer."""
        return Value(np.ndarray(shape, dtype, value.array, offset, strides), self)

    # --- numbers, questions, draws ---

    def number(self, f: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Return a number that follows from others."""
        came = f(*plain(args))
        if type(came) not in (int, float, bool):
            raise UntraceableError(f"a number of a step becomes {type(came).__name__}")
        return Number(came, self._named_anew("n_", f, args), self)

    def asked(self, f: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Return the answer to a question about numbers; it has to be the same at every step."""
        answer = f(*plain(args))
        self.ops.append(Op("guard", f, tuple(map(self._arg, args)), {"expected": answer}, None))
        return answer

    def looked_at(self, value: Value, answer: Any) -> Any:
        """Return what is asked of one value; it has to be the same at every step."""
        if self.is_over:
            return answer
        self.ops.append(Op("guard", type(answer), (self.ref(value.array),), {"expected": answer}, None))
        return answer

    def folded(self, key: Key, names: tuple[Any, ...]) -> DrawnFrom:
        """Return a key that follows from another, to be folded anew at every step."""
        child = Key(key.bits).fold(*plain(names))
        return DrawnFrom(child.bits, self, self._named_anew("k_", _folded, (key, *names)))

    def generator(self, key: DrawnFrom) -> DrawnGenerator:
        """Return a generator that is made anew at every step."""
        name = self._named_anew("g_", Key.generator, (key,))
        return DrawnGenerator(Key(key.bits).generator(), name, self)

    def _named_anew(self, kind: str, f: Callable[..., Any], args: tuple[Any, ...]) -> str:
        self._numbers += 1
        name = f"{kind}{self._numbers}"
        self.ops.append(Op("number", f, tuple(map(self._arg, args)), {}, None, name))
        return name

    def drawn(self, given: DrawnGenerator, method: str, args: Any, options: Any) -> Value:
        """Return what a generator draws, to be drawn anew at every step."""
        if any(isinstance(each, Value | Number) for each in (*args, *options.values())):
            raise UntraceableError("what is drawn depends on numbers of the step")
        array = np.asarray(_draw(given.generator, method, *args, **options))
        noted = (Name(given.name), method, *args)
        self.ops.append(Op("into", _draw, noted, options, self._new(array)))
        return Value(array, self)


def _folded(key: Key, *names: Any) -> Key:
    return key.fold(*names)


def _draw(generator: np.random.Generator, method: str, *args: Any, **options: Any) -> Any:
    return getattr(generator, method)(*args, **options)
