"""Check a layer against every law, and say of each broken one where, what came and what should have."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.keys import Key
from fnn.layers.contract import Layer
from fnn.options import integer
from fnn.testing.children import children_of
from fnn.testing.drawing import Inputs, check_inputs, inputs_of
from fnn.testing.laws import behaviour as behaviour_laws
from fnn.testing.laws import contract as contract_laws
from fnn.testing.laws import derivatives as derivative_laws
from fnn.testing.laws import kinks as kink_law
from fnn.testing.laws.functions import checked_rtol
from fnn.testing.probe import Probe, Setting
from fnn.testing.report import Report, Violation, concluded
from fnn.testing.values import BrokenError, described

Law: TypeAlias = Callable[[Probe], Iterator[Violation]]

LAWS: dict[str, Law] = {
    "contract": contract_laws.contract,
    "shapes": contract_laws.shapes,
    "dtype": contract_laws.dtype,
    "finite": contract_laws.finite,
    "apply_is_vjp": contract_laws.apply_is_vjp,
    "pure": contract_laws.pure,
    "pullback_linear": derivative_laws.pullback_linear,
    "adjoint": derivative_laws.adjoint,
    "entries": derivative_laws.entries,
    "batch_independent": behaviour_laws.batch_independent,
    "state": behaviour_laws.state,
    "stochastic": behaviour_laws.stochastic,
    "kinks": kink_law.kinks,
    "complex_safe": derivative_laws.complex_safe,
    "insertion_stable": behaviour_laws.insertion_stable,
}
ALL = tuple(LAWS)
"""Names of all laws of layers."""

KEY = Key.of(0)
MODES = {False: "eval", True: "train"}
SEEDED = ("adjoint", "entries", "pullback_linear", "kinks", "complex_safe")
SHRINK_SECONDS = 0.5
BLAME_SECONDS = 5.0


def _broken(
    law: str, layer: Layer, in_shape: Any, setting: Setting, train: bool
) -> tuple[list[Violation], list[str]]:
    """Return what breaks a law in one mode, and notes; nothing gets out but interrupts."""
    notes: list[str] = []
    probe = None
    try:
        probe = Probe(layer, in_shape, setting, train)
        notes = probe.notes
        found = list(LAWS[law](probe))
    except BrokenError as broken:
        message = broken.message
        if layer.traits.takes_integers and setting.inputs is None:
            message += "; it takes integers: draw them, inputs=lambda key, n: ... here"
            message += " or inputs=lambda key, n, in_shape: ... in make_layer"
        found = [Violation(broken.law, message, leaf=broken.leaf)]
    except Exception as error:  # What a layer returned led a law astray.
        found = [Violation(law, f"what came could not be checked: {described(error)}")]
    seed = probe.seed if probe is not None and law in SEEDED else None
    place: dict[str, Any] = {"path": layer.name, "mode": MODES[train]}
    return [attrs.evolve(each, seed=each.seed or seed, **place) for each in found], notes


def _blamed(
    law: str,
    layer: Layer,
    in_shape: Any,
    setting: Setting,
    train: bool,
    found: list[Violation],
    until: float,
) -> list[tuple[Layer, Any, Setting, Violation]]:
    """Return what breaks a law with the deepest children that break it alone, or the layer itself."""
    deeper = []
    for name, child, own_shape, alone in children_of(layer, in_shape, setting, train):
        if time.monotonic() > until:
            break
        own, _ = _broken(law, child, own_shape, alone, train)
        for inner, shape, given, each in _blamed(law, child, own_shape, alone, train, own, until):
            _, _, rest = each.path.partition("/")
            path = "/".join(filter(None, (layer.name, name, rest)))
            deeper.append((inner, shape, given, attrs.evolve(each, path=path)))
    return deeper or [(layer, in_shape, setting, each) for each in found]


def _smaller(batch: int, in_shape: Any, *, fixed: bool = False) -> Iterator[tuple[int, Any]]:
    """Yield smaller batches and, unless it is fixed, shapes, the smallest first."""
    for n in dict.fromkeys((1, 2, batch // 2, batch - 1)):
        if 0 < n < batch:
            yield n, in_shape
    if fixed:
        return
    for axis, size in enumerate(in_shape):
        if isinstance(size, tuple):
            for _, inner in _smaller(1, size):
                yield batch, (*in_shape[:axis], inner, *in_shape[axis + 1 :])
            continue
        for n in dict.fromkeys((1, 2, size // 2, size - 1)):
            if 0 < n < size:
                yield batch, (*in_shape[:axis], n, *in_shape[axis + 1 :])


def _shrunk(
    law: str, layer: Layer, in_shape: Any, setting: Setting, train: bool, shown: Violation, until: float
) -> Violation:
    """Return the violation at the smallest batch and in_shape that still show it."""
    batch, shape, best, going = setting.batch, in_shape, shown, True
    while going:
        going = False
        for smaller in _smaller(batch, shape, fixed=setting.inputs is not None):
            if time.monotonic() > until:
                break
            small = attrs.evolve(setting, batch=smaller[0])
            found, _ = _broken(law, layer, smaller[1], small, train)
            same = [each for each in found if (each.law, each.leaf) == (shown.law, shown.leaf)]
            if same:
                batch, shape, best, going = *smaller, same[0], True
                break
    flat = any(isinstance(part, tuple) for part in shape)
    return attrs.evolve(best, path=shown.path, shape=(batch, *(() if flat else shape)))


_FEW, _MANY = 3, 8


def _check(
    layer: Any, in_shape: Any, key: Any, dtype: Any, train: Any, batch: Any, laws: Any, rtol: Any,
    directions: Any, inputs: Any, shrink: bool,
) -> Report:  # fmt: skip
    if not isinstance(layer, Layer):
        raise OptionError(f"check_layer: expected a Layer, got {layer!r:.200}")
    if not isinstance(key, Key):
        raise OptionError(f"check_layer: key: expected a Key, got {key!r}; write Key.of(seed)")
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in ("float32", "float64"):
        raise OptionError(f"check_layer: dtype: expected float32 or float64, got {name}")
    laws = (laws,) if isinstance(laws, str) else tuple(laws)
    unknown = [law for law in laws if law not in LAWS]
    if unknown:
        raise OptionError(f"check_layer: laws: expected some of {ALL}, got {unknown}")
    modes = tuple(dict.fromkeys((train,) if isinstance(train, bool) else train))
    if not all(isinstance(mode, bool) for mode in modes):
        raise OptionError(f"check_layer: train: expected some of (False, True), got {train!r}")
    if batch is None:
        batch = _MANY if layer.traits.stochastic or layer.traits.takes_integers else _FEW
    batch, directions = (
        integer("check_layer", "batch", batch),
        integer("check_layer", "directions", directions),
    )
    in_shape = _as_shape(in_shape)
    inputs = inputs_of(layer, in_shape, inputs)
    check_inputs("check_layer", inputs, key, batch)
    tolerance = checked_rtol(rtol, np.dtype(name).char)
    setting = Setting(key, name, batch, tolerance, directions, inputs)
    notes: list[str] = []
    found: dict[tuple[str, bool], list[Violation]] = {}
    said: set[Any] = set()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for mode in modes:
            for law in laws:
                broken, more = _broken(law, layer, in_shape, setting, mode)
                notes += more
                # A call that fails breaks every law; it is told once.
                new = [each for each in broken if _as_said(each) not in said]
                said.update(map(_as_said, new))
                if new:
                    found[law, mode] = new
                if new and law == "contract":
                    break  # Nothing else can be told.
        violations = list(_explained(layer, in_shape, setting, found, shrink))
    return concluded(repr(layer), laws, violations, notes)


def _as_said(each: Violation) -> tuple[str, ...]:
    return (each.law, each.path, each.mode, each.leaf, each.message)


def _explained(
    layer: Layer,
    in_shape: Any,
    setting: Setting,
    found: dict[tuple[str, bool], list[Violation]],
    shrink: bool,
) -> Iterable[Violation]:
    """Return the violations with their deepest place and smallest shape, each once."""
    seen: dict[Any, Violation] = {}

    until = time.monotonic() + BLAME_SECONDS
    for (law, train), broken in found.items():
        blamed = _blamed(law, layer, in_shape, setting, train, broken, until)
        for inner, shape, given, each in blamed:
            same = _as_said(each)
            if same in seen:
                continue
            seen[same] = each
            if shrink:
                soon = time.monotonic() + SHRINK_SECONDS / len(found)
                seen[same] = _shrunk(law, inner, shape, given, train, each, soon)
            else:
                seen[same] = attrs.evolve(each, shape=(setting.batch, *shape))
    return seen.values()


def _as_shape(in_shape: Any) -> Any:
    try:
        return tuple(_as_shape(n) if isinstance(n, tuple | list) else int(n) for n in in_shape)
    except (TypeError, ValueError):
        raise ShapeError(
            f"check_layer: in_shape: expected a tuple such as (784,), got {in_shape!r}"
        ) from None


def check_layer(
    layer: Layer,
    in_shape: Any,
    *,
    key: Key = KEY,
    dtype: Any = "float64",
    train: bool | Iterable[bool] = (False, True),
    batch: int | None = None,
    laws: str | Iterable[str] = ALL,
    rtol: float | None = None,
    directions: int = 3,
    inputs: Inputs = None,
    shrink: bool = True,
) -> Report:
    """Check that a layer obeys the laws of the contract (see `fnn.layers.contract`), in both modes.

    Params are init's with noise added, for biases of 0 and scales of 1 hide errors; a state that is
    positive stays so. Inputs are distinct and away from 0, so that no kink is near.

    Args:
        layer: Any layer or network.
        in_shape: Shape of one example; a tuple of shapes if x is a tuple.
        key: Determines every draw.
        dtype: "float64", or "float32" at a tolerance that it can keep.
        train: Modes to check.
        batch: Number of examples; by default 3, and 8 where it draws or takes integers: few masks
            or tokens are soon the same.
        laws: Names of laws, of `ALL`.
        rtol: Of gradients, relative to ‖dy‖ ‖J v‖; by default 1e-12 in float64, 1e-5 in float32. For
            what is solved to a tolerance (an implicit layer), some ten times that tolerance.
        directions: Number of random directions over params and x jointly, beside one along each leaf.
        inputs: (key, n) to x with n examples, an array or a tuple of them: where the shape does not
            say enough, such as tokens in a range or lengths; by default what the layer declares
            (`Layer.inputs`). Floats are cast to `dtype`, integers stay.
        shrink: Whether to look for the smallest shape that shows a broken law.

    Returns:
        The report, with notes.

    Raises:
        LawError: If any law is broken; it lists all of them.
        OptionError: If an option is out of range, or rtol is below what the dtype can keep.
    """
    return _check(layer, in_shape, key, dtype, train, batch, laws, rtol, directions, inputs, shrink)


# --- one law at a time ---


def _single(law: str, says: str) -> Callable[..., Report]:
    def check(
        layer: Layer,
        in_shape: Any,
        *,
        key: Key = KEY,
        dtype: Any = "float64",
        train: bool | Iterable[bool] = (False, True),
        batch: int | None = None,
        rtol: float | None = None,
        directions: int = 3,
        inputs: Inputs = None,
        shrink: bool = True,
    ) -> Report:
        return _check(layer, in_shape, key, dtype, train, batch, law, rtol, directions, inputs, shrink)

    check.__name__ = check.__qualname__ = f"check_{law}"
    check.__doc__ = f"Check that {says}; arguments are those of `check_layer`."
    return check


check_adjoint = _single(
    "adjoint",
    "⟨dy, J v⟩ = ⟨J* dy, v⟩ over params and x, jointly and along each leaf",
)
check_entries = _single(
    "entries",
    "every entry of the gradient is right (of large layers, some of each leaf)",
)
check_pullback_linear = _single(
    "pullback_linear",
    "the pullback is linear, repeatable, zero at zero, and keeps dparams if dx is not needed",
)
check_pure = _single(
    "pure",
    "no argument is written to, equal arguments give equal bits (to rounding if they lie otherwise "
    "in memory), earlier results stay as they are",
)
check_shapes = _single(
    "shapes",
    "y, dparams, dx and state have the shapes and the structure they should have",
)
check_apply_is_vjp = _single("apply_is_vjp", "apply and vjp give the same bits")
check_batch_independent = _single(
    "batch_independent",
    "an example's results are its own unless mixes_batch is declared, and then not",
)
check_state = _single(
    "state",
    "evaluation moves no state and needs no key; training moves it, alike in apply and vjp",
)
check_insertion_stable = _single(
    "insertion_stable",
    "init depends on key and in_shape alone, and on no other kind of layer beside",
)
check_dtype = _single("dtype", "float32 stays float32 and float64 float64; integers are refused")
check_complex_safe = _single(
    "complex_safe",
    "where declared, complex steps agree with differences and are linear in the step",
)
check_stochastic = _single("stochastic", "keys matter exactly where declared, in training")
check_kinks = _single("kinks", "where none are declared, no derivative jumps along random lines")
check_finite = _single(
    "finite",
    "values are finite, and float32 loses no more digits than rounding explains",
)
