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
"optimizer": {"rate": 0.1}, ...} in run.json. `fnn/config/kinds.py` has the table of what a field may
be; anything else is refused by name when a run, a sweep or the help begins. `config_from` and `entries`
are inverse to each other, and so are `parse` and `words`.
"""

from fnn.config.building import C, changed, config_from, entries, flat, placed, settled
from fnn.config.flags import parse, words
from fnn.config.options import option
from fnn.config.records import plain

__all__ = [
    "C",
    "changed",
    "config_from",
    "entries",
    "flat",
    "option",
    "parse",
    "placed",
    "plain",
    "settled",
    "words",
]
