"""How layers are written, the library's own and those of its users: `make_layer` and `elementwise`.

A layer is two functions: which shapes its arrays have, and one that runs forward and returns the way
back. Its `init`, its checks and their messages, its `apply` and its `vjp` follow from these.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from fnn.errors import OptionError, TreeError
from fnn.kernels.checks import check_cotangent, check_like, check_precisions, check_shaped, check_value
from fnn.kernels.noting import as_array
from fnn.kernels.values import count_numbers, map_arrays
from fnn.keys import Key
from fnn.layers.calls import Init, Pullback, Shape, check_functions, check_name
from fnn.layers.contract import Flops, Inputs, Keeps, Layer, Shapes, Traits
from fnn.layers.leaves import Leaf, Leaves, Spec, Unknown
from fnn.options import integer, returned
from fnn.recipe import constructor
from fnn.tree import EMPTY, TreeLike, freeze

__all__ = ["Fwd", "Leaf", "elementwise", "fwd_of", "keeps_shape", "make_layer", "need_key"]

Fwd: TypeAlias = Callable[..., tuple[Any, Any, Callable[..., tuple[Any, Any]]]]
"""fwd(params, state, x, train, key) -> (y, state, pullback)."""

_PLAIN = Traits()


def need_key(key: Key | None) -> Key:
    """Return the key, or refuse to go on without one."""
    if key is None:
        raise OptionError("expected a key when train=True, got None; pass e.g. key=Key.of(0)")
    return key


def keeps_shape(in_shape: Shape) -> tuple[Shape, dict[str, Leaf], dict[str, Leaf]]:
    """Return the shapes of a layer without params or state whose y has the shape of x."""
    return in_shape, {}, {}


class FwdOf:
    """The `fwd` of a layer without params or state, that of `fwd_of`: `apply` calls f alone."""

    __slots__ = ("f", "fwd")

    def __init__(self, f: Callable[[Any], Any], f_vjp: Callable[[Any, Any, Any], Any]) -> None:
        """Write `fwd` around the two functions."""

        def fwd(params: Any, state: Any, x: Any, train: bool, key: Key | None) -> Any:
            y = f(x)

            def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
                return EMPTY, f_vjp(x, y, dy) if need_dx else None

            return y, state, pullback

        self.f, self.fwd = f, fwd

    def __call__(self, params: Any, state: Any, x: Any, train: bool, key: Key | None) -> Any:
        """Return y, state and the pullback."""
        return self.fwd(params, state, x, train, key)


def fwd_of(f: Callable[[Any], Any], f_vjp: Callable[[Any, Any, Any], Any]) -> Fwd:
    """Return the `fwd` of a layer without params or state: y = f(x), dx = f_vjp(x, y, dy)."""
    return FwdOf(f, f_vjp)


@constructor
def make_layer(
    name: str,
    shapes: Shapes | Init,
    fwd: Fwd,
    *,
    traits: Traits = _PLAIN,
    flops: Flops | int | None = None,
    keeps: Keeps | int | None = None,
    members: str | Fwd = "each",
    inputs: Inputs | None = None,
) -> Layer:
    """Make a layer of the shapes of its arrays and one function that runs forward.

    Args:
        name: Kind of layer, as it will stand in paths ("scale").
        shapes: From in_shape to out_shape, and the leaves of params and of state by name, each a
            `Leaf(shape, init, fans)`, `{}` where there are none. Then every leaf is drawn from the key
            folded with its name, and every call is checked: the entries of params and state, their
            shapes and precision, and those of y and dx. What `shapes` raises for an in_shape that the
            layer cannot take is raised for such an x too. A function of two arguments is taken for
            `init(key, in_shape) -> out_shape, params, state`, for layers whose params are nested, or
            which draw in another way; then x, y and dx are checked, and the rest is up to `fwd`.
        fwd: From (params, state, x, train, key) to (y, state, pullback), where pullback(dy) returns
            (dparams, dx). One that has an argument `need_dx` is told by it whether anybody looks at
            dx, and may return None if not; `need_dparams` likewise. Arrays that are new in dparams
            and belong to nobody else need not be copied if it returns `Tree.own({...})`.
        traits: What the laws should know; by default it is smooth, treats examples alone and
            refuses integers and tuples.
        flops: Operations per example in evaluation, for `summary`: a function of in_shape, out_shape
            and params, or how many there are for each number of x.
        keeps: Numbers of one example that a training step keeps of it for the way back, for `summary`:
            a function of in_shape and out_shape, or how many there are for each number of y. That is 1,
            for y itself, unless the layer keeps more (masks, what it has standardised), or 0, where y
            is the memory of x seen in another way.
        members: How `stacked` computes many of it at once, as in `Layer`: "each" alone, "fold" their
            examples into one batch, or a function like `fwd` over params, x and y that have the
            members on axis 0; x has 1 there if they share it.
        inputs: From (key, n, in_shape) to n valid examples, for the laws, where a shape does not say
            enough: tokens in a range, lengths, masks.
    """
    if keeps is not None and not callable(keeps):
        keeps = _per_output(integer("make_layer", "keeps", keeps, least=0))
    return _made("make_layer", name, shapes, fwd, traits, flops, members, inputs, keeps=keeps)


@constructor
def elementwise(
    name: str,
    f: Callable[[Any], Any],
    f_vjp: Callable[[Any, Any, Any], Any],
    *,
    has_kinks: bool = False,
    complex_safe: bool = True,
    flops: int = 1,
) -> Layer:
    """Make a layer of a function of single numbers: y = f(x), dx = f_vjp(x, y, dy).

    Of a tuple it takes every array by itself.

    Args:
        name: Kind of layer, as it will stand in paths ("swish").
        f: Array to array of the same shape and dtype.
        f_vjp: From x, y = f(x) and dy to dx = f'(x) dy.
        has_kinks: Whether f' jumps somewhere.
        complex_safe: Whether f continues analytically to complex arrays.
        flops: Operations for each number, for `summary`.
    """
    check_functions("elementwise", f=f, f_vjp=f_vjp)

    fwd = fwd_of(
        lambda x: f(x) if type(x) is np.ndarray else map_arrays(f, x),
        lambda x, y, dy: f_vjp(x, y, dy) if type(x) is np.ndarray else map_arrays(f_vjp, x, y, dy),
    )
    traits = Traits(has_kinks=has_kinks, complex_safe=complex_safe, takes_tuples=True)
    says = "f(x)", "f_vjp(x, y, dy)"
    return _made("elementwise", name, keeps_shape, fwd, traits, flops, "fold", None, says)


def _made(
    who: str,
    name: str,
    shapes: Any,
    fwd: Fwd,
    traits: Traits,
    flops: Flops | int | None,
    members: str | Fwd,
    inputs: Inputs | None,
    says: tuple[str, str] = ("y", "dx"),
    keeps: Keeps | None = None,
) -> Layer:
    """Make a layer; `says` is what errors call what `fwd` and its pullback return."""
    check_name(who, name)
    check_functions(who, shapes=shapes, fwd=fwd, **({} if inputs is None else {"inputs": inputs}))
    if not isinstance(traits, Traits):
        raise OptionError(f"traits: expected Traits, got {traits!r}", path=(who,))
    if flops is not None and not callable(flops):
        flops = integer(who, "flops", flops, least=0)
    leaves: Any = Unknown(shapes, traits) if _takes_a_key(shapes) else Leaves(shapes, traits)
    says_y, says_dx = says

    fitting, specs, draws = leaves.fitting, leaves.specs, traits.stochastic
    f, fwd = (fwd.f, fwd.fwd) if isinstance(fwd, FwdOf) else (None, fwd)

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        # What is as it was before passes by a few comparisons, here and in vjp.
        spec = specs.get(x.shape) if type(x) is np.ndarray else None
        if (
            spec is None
            or (x.dtype is not spec.dtype and x.dtype != spec.dtype)
            or (params or state if spec.is_plain else not spec.fits_again(params, state))
        ):
            spec = fitting(params, state, x)
        if draws and train:
            need_key(key)
        if f is not None:
            y, moved = f(x), state
        else:
            try:
                came = fwd(params, state, x, train, key)
            except KeyError as error:
                raise _no_entry(error, spec) from error
            try:
                y, moved, _ = came
            except (TypeError, ValueError):
                raise _misfit("fwd", came, _FROM_FWD) from None
        if train not in spec.modes:
            _check_y(says_y, y, spec, x, params, traits)
            _check_moved(moved, state, spec)
            spec.modes.add(train)
        return y, state if moved is state else freeze(moved)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        spec = specs.get(x.shape) if type(x) is np.ndarray else None
        if (
            spec is None
            or (x.dtype is not spec.dtype and x.dtype != spec.dtype)
            or (params or state if spec.is_plain else not spec.fits(params, state))
        ):
            spec = fitting(params, state, x)
        if draws and train:
            need_key(key)
        try:
            came = fwd(params, state, x, train, key)
        except KeyError as error:
            raise _no_entry(error, spec) from error
        try:
            y, moved, back = came
        except (TypeError, ValueError):
            raise _misfit("fwd", came, _FROM_FWD) from None
        if train not in spec.modes:
            _check_y(says_y, y, spec, x, params, traits)
            _check_moved(moved, state, spec)
            spec.modes.add(train)
        state = state if moved is state else freeze(moved)
        # Of the code alone: another callable would hold what it was made of.
        code = getattr(back, "__code__", None)
        if code is spec.trusted:
            return y, state, back

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            if code is spec.seen and not need_dx and need_dparams:
                return back(dy, need_dx=False)[0], None
            dparams, dx, takes_need_dx = _called(back, dy, need_dx, need_dparams)
            if need_dparams:
                _check_dparams(dparams, params, spec)
                spec.seen = code or False if takes_need_dx else False
            if not need_dx:
                return dparams, None
            check_cotangent(says_dx, dx, x)
            if need_dparams and takes_need_dx:
                spec.trusted = code or False
            return dparams, dx

        return y, state, pullback

    return Layer(
        name,
        leaves.init,
        apply,
        vjp,
        traits=traits,
        shapes=leaves.shapes,
        flops=_per_number(flops) if isinstance(flops, int) else flops,
        keeps=keeps,
        members=members,
        inputs=inputs,
    )


def _takes_a_key(shapes: Any) -> bool:
    """Return whether that is `init(key, in_shape)`, told by the number of arguments it requires."""
    required = [
        each
        for each in inspect.signature(shapes).parameters.values()
        if each.default is each.empty
        and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) > 1


def _per_number(flops: int) -> Flops:
    return lambda in_shape, out_shape, params: flops * count_numbers(in_shape)


def _per_output(keeps: int) -> Keeps:
    return lambda in_shape, out_shape: keeps * count_numbers(out_shape)


def _called(back: Any, dy: Any, need_dx: bool, need_dparams: bool) -> tuple[Any, Any, bool]:
    """Call a pullback with what it takes of `need_dx` and `need_dparams`; say whether of the first."""
    if not callable(back):
        raise OptionError(f"expected the pullback to be a function, got {type(back).__name__}")
    names = inspect.signature(back).parameters
    given = {"need_dx": need_dx, "need_dparams": need_dparams}
    came = back(dy, **{name: value for name, value in given.items() if name in names})
    dparams, dx = returned("the pullback", came, ("dparams", "dx"))
    return dparams, dx, "need_dx" in names


def _check_y(what: str, y: Any, spec: Spec, x: Any, params: Any, traits: Traits) -> None:
    """Refuse a y of another shape or precision than the layer announced."""
    if what != "y":  # Of a function of single numbers: it is like x.
        check_cotangent(what, y, x)
        return
    if spec.y_shape is not None:
        check_shaped(what, y, spec.y_shape)
    elif not isinstance(y, np.ndarray | tuple):
        return
    check_value(y, integers=traits.takes_integers)
    check_precisions(y, x, params)


_FROM_FWD = "y", "state", "pullback"


def _misfit(what: str, came: Any, parts: tuple[str, ...]) -> Exception:
    """Return the error for what a function of a layer's author returned in place of `parts`."""
    try:
        returned(what, came, parts)
    except OptionError as error:
        return error
    raise AssertionError(came)


def _no_entry(error: KeyError, spec: Spec) -> Exception:
    """Return what to raise where `fwd` did not find something: params and state were right."""
    if spec.y_shape is None:
        return error
    params, state = (sorted(name for name, _ in own) for own in (spec.params, spec.state))
    return TreeError(f"fwd looks for {error}, expected an entry of params {params} or state {state}")


def _check_moved(moved: Any, state: Any, spec: Spec) -> None:
    """Refuse a state of other leaves than the layer announced: the next call would not take it."""
    if moved is state or spec.y_shape is None:
        return
    names = {name for name, _ in spec.state}
    if not isinstance(moved, Mapping) or moved.keys() != names:
        got = sorted(moved) if isinstance(moved, Mapping) else type(moved).__name__
        raise TreeError(f"expected fwd to return the state {sorted(names)}, got {got}")
    for name in names:
        check_like(f"the new state in {name}", as_array(moved[name]), state[name])


def _check_dparams(dparams: Any, params: Any, spec: Spec) -> None:
    """Refuse derivatives that are not those of all params, and of them alone."""
    if not isinstance(dparams, Mapping) or dparams.keys() != params.keys():
        got = sorted(dparams) if isinstance(dparams, Mapping) else type(dparams).__name__
        raise TreeError(f"expected dparams {sorted(params)}, got {got}")
    for name, _ in spec.params:
        check_like(f"the derivative in {name}", dparams[name], params[name])
