"""The command line `python -m fnn.demo RUN [--port N] [--host H] [--open/--no-open]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fnn.demo.serving import PORT, serve
from fnn.errors import FnnError
from fnn.files import lenient_output, write_line

_DESCRIPTION = """Serve a page on which to try the network of a run: draw a digit, or type a text, and
see what the network says of it and what its layers make of it. Ctrl-C ends it."""


@lenient_output()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its status: 0 after Ctrl-C, 1 with the reason on standard error."""
    parser = argparse.ArgumentParser("python -m fnn.demo", description=_DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="folder of a run, with its model.npz")
    parser.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"0 takes any free one (default: {PORT})"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to listen at; others than that of this machine let everybody in who reaches it "
        "(default: 127.0.0.1)",
    )
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="open the page in the browser (default: yes)",
    )
    options = parser.parse_args(arguments)
    try:
        serve(options.run, host=options.host, port=options.port, show=options.open)
    except (FnnError, OSError) as error:
        write_line(f"error: {' '.join(str(error).split())}", sys.stderr)
        return 1
    except KeyboardInterrupt:  # Before anything was served.
        pass
    return 0
