"""How much a file of each kind may ask for, unless somebody says otherwise."""

from __future__ import annotations

import os

from fnn.errors import OptionError

LIMITS = {
    "run": 4 << 20,  # Bytes of run.json, which take up to 50 times as many once they are Python's.
    "sweep": 32 << 20,  # Bytes of sweep.json, which holds the config of every member.
    "line": 1 << 20,  # Bytes of one line of metrics.jsonl.
    "metrics": 64 << 20,  # Bytes of metrics.jsonl that are read; a run may write more.
    "tree": 8 << 30,  # Bytes of a saved tree: a model, an evaluation, a checkpoint.
    "idx": 4 << 30,  # Bytes of numbers in an IDX file.
    "csv": 64 << 20,  # Bytes of a CSV file, which take up to 30 times as many once they are fields.
    "field": 1 << 17,  # Characters of one of its fields.
    "pixels": 1 << 25,  # Pixels of a picture.
}
"""The limit of each kind of file. Functions take another as an argument, programs from $FNN_LIMITS,
e.g. "run=10000000,pixels=100000000"."""

VARIABLE = "FNN_LIMITS"


def limit(kind: str, given: int | None = None) -> int:
    """Return what holds for a kind of file: what is given, or else $FNN_LIMITS, or else `LIMITS`.

    Raises:
        OptionError: If $FNN_LIMITS does not read "kind=number,...", or the limit is below 1.
    """
    if given is None:
        given = _named().get(kind, LIMITS[kind])
    if type(given) is not int or given < 1:
        raise OptionError(f"{kind}: expected a limit of 1 or more, got {given!r:.80}", path=("limit",))
    return given


def _named() -> dict[str, int]:
    found = {}
    for word in filter(None, os.environ.get(VARIABLE, "").split(",")):
        kind, _, number = word.strip().partition("=")
        if kind not in LIMITS or not (number.isascii() and number.isdecimal()) or len(number) > 18:
            form = f"KIND=NUMBER,... with a kind among {', '.join(LIMITS)}"
            raise OptionError(f"${VARIABLE}: expected {form}, got {word!r:.80}")
        found[kind] = int(number)
    return found
