"""A signal ends a run whenever it comes, also while an object is finalised."""

import json
import signal
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import attrs
from fnn.experiment import main

class Last:
    def __del__(self):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        for _ in range(1000):  # The handler runs between two of these.
            pass

@attrs.frozen
class Config:
    out: Path = Path("run")

def train(config, run):
    Last()
    for _ in range(300):
        time.sleep(0.1)
    return {"went": "on"}

if __name__ == "__main__":
    main(train, Config, [])
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_that_comes_within_a_finaliser_ends_the_run(tmp_path, name, code):
    assert hasattr(signal, name)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, "utf-8")
    done = subprocess.run(
        [sys.executable, str(script), name], cwd=tmp_path, capture_output=True, text=True, timeout=25
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["status"] == "interrupted"
