"""The codec of a run's network in a file of its folder: what its tokens or its columns stand for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeAlias

from fnn.datasets.sequences import Characters
from fnn.datasets.tables.encoding import Scale, TableCodec
from fnn.errors import DataError, FnnError, OptionError
from fnn.files import PathLike, content, limit, parse_json, replacing

CODEC = "codec.json"
"""The file of a run's folder that holds it."""
Codec: TypeAlias = Characters | TableCodec


def write_codec(folder: Path, codec: Codec) -> None:
    """Write the codec of a run's network; equal codecs give equal bytes.

    Raises:
        OptionError: If it is neither `Characters` nor a `TableCodec`, or its numbers are not finite.
        DataError: If the file system refuses.
    """
    if isinstance(codec, Characters):
        found: dict[str, Any] = {"characters": codec.characters}
    elif isinstance(codec, TableCodec):
        scale = codec.target_scale
        found = {
            "features": [
                [name, _numbers(of) if isinstance(of, Scale) else {"categories": list(of)}]
                for name, of in codec.features
            ],
            "target": codec.target,
            "classes": None if codec.classes is None else list(codec.classes),
            "one_hot": codec.one_hot,
            "missing": codec.missing,
            "dtype": codec.dtype,
            "target_scale": None if scale is None else _numbers(scale),
        }
    else:
        message = f"codec: expected Characters or a TableCodec, got {codec!r:.80}"
        raise OptionError(message, path=("Run.keep",))
    try:
        text = json.dumps(found, indent=1, allow_nan=False)
    except ValueError:
        raise OptionError("codec: expected finite numbers", path=("Run.keep",)) from None
    with replacing(folder / CODEC, within=folder) as file:
        file.write(text.encode() + b"\n")


def _numbers(scale: Scale) -> dict[str, float]:
    return {"fill": scale.fill, "mean": scale.mean, "std": scale.std}


def read_codec(folder: PathLike) -> Codec | None:
    """Return the codec that a run's folder holds, None if there is none.

    Raises:
        DataError: If there is one that is damaged or no codec; names the file.
    """
    path = Path(folder) / CODEC
    try:
        found = parse_json(content(path, within=folder, most=limit("run")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError:
        raise DataError(f"{path}: expected JSON") from None
    try:
        if list(found) == ["characters"]:
            return Characters(found["characters"])
        scale = found["target_scale"]
        return TableCodec(
            tuple((_text(name), _feature(of)) for name, of in found["features"]),
            None if found["target"] is None else _text(found["target"]),
            None if found["classes"] is None else _texts(found["classes"]),
            found["one_hot"] is True,
            _text(found["missing"]),
            _text(found["dtype"]),
            None if scale is None else _scale(scale),
        )
    except (FnnError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise DataError(f"{path}: expected a codec") from None


def _feature(of: Any) -> Scale | tuple[str, ...]:
    return _texts(of["categories"]) if "categories" in of else _scale(of)


def _scale(of: Any) -> Scale:
    fill, mean, std = (of[name] for name in ("fill", "mean", "std"))
    for each in (fill, mean, std):
        if type(each) not in (int, float) or not math.isfinite(each):
            raise ValueError(each)
    if not std > 0:
        raise ValueError(std)
    return Scale(float(fill), float(mean), float(std))


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(values)
    return tuple(_text(each) for each in values)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
