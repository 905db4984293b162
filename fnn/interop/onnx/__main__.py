"""The command line `python -m fnn.interop.onnx RUN [-o FILE]`: a run's network as a model of ONNX."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fnn.errors import FnnError
from fnn.files import lenient_output, replacing, write_line
from fnn.interop.onnx.exporting import OPSET, to_onnx
from fnn.layers.describing import shape_text
from fnn.runs.checkpoint.models import load_model

MODEL = "model.npz"
"""What a run calls its network."""


@lenient_output()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 1 with the reason on standard error."""
    # Here, because only a command line needs it.
    import argparse

    parser = argparse.ArgumentParser(
        "python -m fnn.interop.onnx",
        description="Write a run's network as a model of ONNX. Layers of one's own are not known here: "
        "call to_onnx where they are.",
    )
    parser.add_argument("run", help="the folder of a run, or a file of save_model")
    parser.add_argument("-o", "--out", help="the file to write (model.onnx beside the network)")
    options = parser.parse_args(arguments)
    source = Path(options.run, MODEL) if os.path.isdir(options.run) else Path(options.run)
    target = Path(options.out) if options.out else source.with_suffix(".onnx")
    try:
        net, params, state, in_shape = load_model(source)
        content = to_onnx(net, params, state, in_shape).SerializeToString()
        with replacing(target) as file:
            file.write(content)
    except (FnnError, OSError) as error:
        write_line(error, sys.stderr)
        return 1
    write_line(
        f"{target}: {net.name} for examples of {shape_text(in_shape)}, opset {OPSET}, "
        f"{len(content):,} bytes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
