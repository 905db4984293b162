"""The network of a run and how it stood at different times, read once and within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from fnn import tree
from fnn.datasets.bundled import coriolanus
from fnn.datasets.sequences import Characters
from fnn.datasets.tables.encoding import Scale, TableCodec
from fnn.demo.moments import Moment, moments_of
from fnn.demo.watching import takes_one_array, watched
from fnn.errors import DataError
from fnn.files import PathLike, shown
from fnn.kernels.values import is_tuple_of_shapes
from fnn.layers.chains import asked
from fnn.layers.contract import Layer
from fnn.layers.summaries import summary
from fnn.runs.checkpoint import load_model
from fnn.runs.experiment.codecs import read_codec
from fnn.runs.experiment.folders import read_run
from fnn.runs.experiment.runs import MODEL

Kind = Literal["drawing", "text", "numbers"]

MOST_VALUES = 1 << 20
"""How many numbers an example may become in a layer, whoever trained the network."""
MOST_OPERATIONS = 1 << 30
"""How many operations the network may take for an example."""
MOST_NUMBERS = 200
"""How many fields the form of numbers may have."""
SIDES = range(4, 65)
"""How many pixels a side of the images may have on which one draws."""
_VALUES = ("squared", "absolute", "huber", "cosh", "quantile", "gaussian", "poisson", "charbonnier")


@attrs.frozen
class Field:
    """One entry of the form of numbers.

    Attributes:
        name: What it is called.
        mean, std: A number v becomes (v - mean) / std for the network.
        choices: The categories of a column that has some; each is a number of its own, 0 or 1.
    """

    name: str
    mean: float = 0.0
    std: float = 1.0
    choices: tuple[str, ...] = ()


@attrs.frozen
class Subject:
    """A trained network and all that the page has to know of its run.

    Attributes:
        title: The experiment's name.
        source: The line about its data, or "".
        kind: How one tries it.
        net: The network.
        seeing: The same, `watched`.
        in_shape, out_shape: Of one example.
        moments: How it stood, in the order of training, the one that the run kept last.
        outputs: What the outputs are: "logits", "sigmoid", "probabilities", "values" or "picture".
        style: How drawings are centred and scaled.
        brightness: What ink counts, 1 or 255.
        codec: The characters of a text network.
        fields: The entries of the form.
        classes: The names of the outputs, as far as they are known.
        parameters: How many numbers were trained.
        target: The name, mean and std of what is predicted, where that is one number.
    """

    title: str
    source: str
    kind: Kind
    net: Layer
    seeing: Layer
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    moments: tuple[Moment, ...]
    outputs: str
    style: Literal["mnist", "small"] = "mnist"
    brightness: float = 1.0
    codec: Characters | None = None
    fields: tuple[Field, ...] = ()
    classes: tuple[str, ...] = ()
    parameters: int = 0
    target: tuple[str, float, float] = ("", 0.0, 1.0)

    @property
    def side(self) -> int:
        """Pixels along a side of the image that is drawn."""
        return round(_size(self.in_shape) ** 0.5)


def read_subject(run: PathLike, layers: Mapping[str, Any] = {}) -> Subject:
    """Return what is in a run's folder, ready to be tried.

    Args:
        run: The folder.
        layers: Layers of one's own, by name, as for `load_model`.

    Raises:
        DataError: If there is no run, none that kept a model, or one whose network no page can try;
            says why.
    """
    folder = Path(run)
    about = read_run(folder)
    net, params, state, in_shape = load_model(folder / MODEL, layers, within=folder)
    who = f"{folder}"
    # Before anything of a stranger's sizes is computed.
    cost = summary(net, in_shape, most=MOST_VALUES).flops
    if cost > MOST_OPERATIONS:
        raise DataError(f"{who}: expected at most {MOST_OPERATIONS:,} operations, got {cost:,}")
    fits = about.get("fits")
    n_fits = len(fits) if isinstance(fits, list) and fits else 1
    out_shape = asked(net.name, net, in_shape).out_shape
    found: dict[str, Any] = {
        "title": shown(about.get("experiment", folder.name))[:80],
        "source": shown(about.get("source") or "")[:200],
        "net": net,
        "seeing": watched(net),
        "in_shape": in_shape,
        "out_shape": out_shape,
        "moments": moments_of(folder, params, state, n_fits),
        "parameters": tree.size(params),
    }
    noted = read_codec(folder)
    codec = _characters(about, noted, in_shape, out_shape) if net.traits.takes_integers else None
    if codec is not None:
        return Subject(kind="text", outputs="logits", codec=codec, **found)
    if not takes_one_array(net, in_shape) or is_tuple_of_shapes(out_shape):
        expected = "a network of one array to one array, or of characters to the next"
        raise DataError(f"{who}: expected {expected}, got {in_shape} to {out_shape}")
    side = round(_size(in_shape) ** 0.5)
    square = side in SIDES and in_shape in ((1, side, side), (side * side,))
    known = "digits" in found["source"] or "MNIST" in found["source"]
    if square and (len(in_shape) == 3 or side == 28 or (side == 8 and out_shape == (10,)) or known):
        small = side == 8 or "bundled digits" in found["source"]
        raw = about["config"].get("raw") is True  # Trained on pixels from 0 to 255.
        more: dict[str, Any] = {
            "style": "small" if small else "mnist",
            "brightness": 255.0 if raw else 1.0,
        }
        if _size(out_shape) == side * side:
            return Subject(kind="drawing", outputs="picture", **more, **found)
        if len(out_shape) == 1 and 2 <= out_shape[0] <= MOST_NUMBERS:
            return Subject(kind="drawing", outputs=_outputs(net, about), **more, **found)
    if len(in_shape) == 1 and len(out_shape) == 1 and max(in_shape + out_shape) <= MOST_NUMBERS:
        form = _form(noted, in_shape[0], out_shape[0])
        return Subject(kind="numbers", outputs=_outputs(net, about), **form, **found)
    expected = f"images of one channel and {SIDES[0]} to {SIDES[-1]} pixels a side, {MOST_NUMBERS}"
    expected += " numbers at most, or characters of a text that the run names"
    raise DataError(f"{who}: expected a network of {expected}, got one of {in_shape} to {out_shape}")


def _size(shape: Any) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _characters(about: dict[str, Any], noted: Any, in_shape: Any, out_shape: Any) -> Characters | None:
    """Return the characters of a network that gives a score for each after each."""
    if len(in_shape) != 1 or len(out_shape) != 2 or out_shape[0] != in_shape[0]:
        return None
    if noted is None and about["config"].get("text", "") is None:
        noted = Characters.fit(coriolanus())  # A run on the play that did not keep its codec yet.
    return noted if isinstance(noted, Characters) and len(noted) == out_shape[1] else None


def _outputs(net: Layer, about: dict[str, Any]) -> str:
    """Return what the outputs of a network are, by the loss that it was trained with."""
    fits = about.get("fits")
    fit = fits[-1] if isinstance(fits, list) and fits else {}
    loss = str(fit.get("loss", "")) if isinstance(fit, dict) else ""
    last = net
    while last.children:
        last = last.children[-1][1]
    if last.name in ("softmax", "sigmoid"):
        return "probabilities"
    if "sigmoid" in loss:
        return "sigmoid"
    return "values" if any(word in loss for word in _VALUES) else "logits"


def _form(noted: Any, n: int, n_out: int) -> dict[str, Any]:
    """Return the fields of a form, the classes and the target, as far as the run says what they are."""
    if isinstance(noted, TableCodec) and noted.one_hot and len(noted.names) == n:
        # Numbers come first in what the codec makes of a row.
        each = sorted(noted.features, key=lambda feature: not isinstance(feature[1], Scale))
        fields = tuple(
            Field(name, of.mean, of.std) if isinstance(of, Scale) else Field(name, choices=of)
            for name, of in each
        )
        classes, scale = noted.classes or (), noted.target_scale or Scale(0.0)
        if len(classes) in (0, n_out):
            target = (noted.target or "", scale.mean, scale.std)
            return {"fields": fields, "classes": classes, "target": target}
    return {"fields": tuple(Field(f"input {i + 1}") for i in range(n))}
