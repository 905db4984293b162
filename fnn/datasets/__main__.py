"""The command line `python -m fnn.datasets fetch mnist [--out FOLDER]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fnn.datasets.fetch import MIRRORS, SHA256, fetch_mnist
from fnn.errors import DataError
from fnn.files import lenient_output, write_line


@lenient_output()
def main(
    arguments: Sequence[str] | None = None,
    *,
    mirrors: Sequence[str] = MIRRORS,
    sha256: dict[str, str] = SHA256,
) -> int:
    """Run the command and return its exit status: 0, or 1 with the reason on standard error."""
    # Here, because only a command line needs it.
    import argparse

    parser = argparse.ArgumentParser("python -m fnn.datasets", description="Fetch data sets.")
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="download a data set, checked against its sha256")
    fetch.add_argument("name", choices=["mnist"], help="the data set")
    fetch.add_argument("--out", default="data/mnist", help="the folder to put it in (%(default)s)")
    options = parser.parse_args(arguments)

    try:
        folder = fetch_mnist(options.out, mirrors=mirrors, sha256=sha256, say=write_line)
    except (DataError, ImportError, OSError) as error:
        write_line(error, sys.stderr)
        return 1
    except KeyboardInterrupt:
        write_line("interrupted: what was fetched whole stays, the rest is not there", sys.stderr)
        return 130
    write_line(f"MNIST is in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
