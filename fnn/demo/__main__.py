"""The command `python -m fnn.demo RUN`."""

import sys

from fnn.demo.command_line import main

if __name__ == "__main__":
    sys.exit(main())
