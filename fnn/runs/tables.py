"""What tables of many runs share: mean and standard error, and the Markdown of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error, s / √n with s over n - 1; NaN for a single value.

    Computed in whole numbers and rounded once, so that neither 1e-200 nor 1e200 is lost.
    """
    n = len(values)
    # Of whole numbers those beyond a float's range are finite too.
    endless = [each for each in values if isinstance(each, float) and not math.isfinite(each)]
    if endless:
        return sum(endless), math.nan  # Of ∞ and 1 it is ∞, of ∞ and -∞ there is none.
    ratios = [value.as_integer_ratio() for value in values]
    # Denominators of floats are powers of two: the largest is a multiple of all.
    common = max(below for _, below in ratios)
    counts = [above * (common // below) for above, below in ratios]
    total = sum(counts)
    mean = _quotient(total, n * common)
    if n < 2:
        return mean, math.nan
    # Σ(n·x - Σx)² is n²(n - 1) times the variance; 128 bits more make the root exact to a float's.
    squares = sum((n * count - total) ** 2 for count in counts)
    root = math.isqrt((squares << 256) // (n * (n - 1)))
    return mean, _quotient(root, n * common << 128)


def _quotient(above: int, below: int) -> float:
    try:
        return above / below
    except OverflowError:
        return math.inf if above > 0 else -math.inf


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, aligned: bool = False) -> str:
    """Return a table in Markdown; what a cell must not be taken for is the caller's to escape.

    Args:
        head: Titles of the columns.
        rows: Texts of the cells.
        aligned: Whether columns are padded to one width, so that the text is a table itself.
    """
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) if aligned else 0 for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    text = [f"| {' | '.join(line)} |" for line in padded]
    rule = [" --- " if not aligned else "-" * (width + 2) for width in widths]
    return "\n".join([text[0], f"|{'|'.join(rule)}|", *text[1:]])
