"""Reports as scripts and the command line import them; `fnn.runs.report` says what they show.

python -m fnn.report out/mnist_cnn
"""

import sys

from fnn.runs.report import *  # noqa: F403
from fnn.runs.report import __all__ as __all__
from fnn.runs.report.command_line import main

if __name__ == "__main__":
    sys.exit(main())
