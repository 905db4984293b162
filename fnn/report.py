"""Reports as scripts and the command line use them; `fnn.runs.report` says what they show.

python -m fnn.report out/mnist_cnn
"""

import sys

from fnn.runs.report import RunRecord, page_of, read, write
from fnn.runs.report.command_line import main

__all__ = ["RunRecord", "page_of", "read", "write"]

if __name__ == "__main__":
    sys.exit(main())
