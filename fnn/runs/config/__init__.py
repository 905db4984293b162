"""Configs: a frozen attrs class, or a dataclass, whose fields are flags and entries of run.json.

@attrs.frozen
class Optimizer:
    rate: float = option(0.1, "step size", least=0)

@attrs.frozen
class Config:
    widths: tuple[int, ...] = option((20, 10), "units per layer", least=1)
    optimizer: Optimizer = option(Optimizer(), "how it is trained")
    out: Path = option(Path("out/demo"), "folder")

is `--widths 20,10 --optimizer.rate 0.1` on a command line and {"widths": [20, 10],
"optimizer": {"rate": 0.1}, ...} in run.json. `kinds.py` here has the table of what a field may
be; anything else is refused by name when a run, a sweep or the help begins. `config_from` and `entries`
are inverse to each other, and so are `parse` and `words`.
"""

from fnn.runs.config.building import (
    C,
    built,
    changed,
    config_from,
    entries,
    flat,
    is_default,
    nested,
    placed,
    settled,
)
from fnn.runs.config.fields import flags_of, leaves
from fnn.runs.config.flags import given_by, parse, words
from fnn.runs.config.options import option
from fnn.runs.config.records import plain, recordable
from fnn.runs.config.spelling import split

__all__ = [
    "C",
    "built",
    "changed",
    "config_from",
    "entries",
    "flags_of",
    "flat",
    "given_by",
    "is_default",
    "leaves",
    "nested",
    "option",
    "parse",
    "placed",
    "plain",
    "recordable",
    "settled",
    "split",
    "words",
]
