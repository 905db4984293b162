"""The command line `python -m fnn.report RUN [RUN ...] [--out FILE_OR_FOLDER]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fnn.errors import FnnError
from fnn.files import lenient_output, write_line
from fnn.runs.report.writing import DEFAULT, write

_DESCRIPTION = """Write what a run was told and reached as one HTML page, which needs no other file, and
as Markdown. Several runs are compared: what differs in config and in result, mean and standard error
over the runs that differ in nothing but the seed, and their curves with the spread. A sweep is compared
by its members, with its own table before."""


@lenient_output()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser("python -m fnn.report", description=_DESCRIPTION)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run or of a sweep")
    parser.add_argument(
        "--out",
        metavar="FILE_OR_FOLDER",
        help="the HTML file to write, or the folder to write report.html and report.md into "
        f"(default: the own folder of a run or a sweep, {DEFAULT.as_posix()} for several)",
    )
    options = parser.parse_args(arguments)
    try:
        written = write(options.runs, options.out)
    except (FnnError, OSError) as error:
        line = " ".join(str(error).split())
        write_line(f"error: {line}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        write_line("interrupted", sys.stderr)
        return 130
    for path in written:
        write_line(path)
    return 0
