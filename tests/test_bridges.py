"""The programs on the page of bridges run, where the peer is installed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import fnn

PAGE = (Path(__file__).resolve().parents[1] / "experiments/BRIDGES.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
PEERS = {
    "JAX": "jax",
    "ONNX": "onnx",
    "PyTorch": "torch",
    "TensorBoard": "tensorboardX",
    "safetensors": "safetensors",
    "scikit-learn": "sklearn",
}


@pytest.mark.parametrize("title", SECTIONS)
def test_the_programs_of_a_section_run(title, tmp_path, monkeypatch, capsys):
    pytest.importorskip(PEERS[title])
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", SECTIONS[title], re.DOTALL)
    assert blocks
    space = {}
    for block in blocks:
        exec(compile(block, f"BRIDGES.md, {title}", "exec"), space)


@pytest.mark.parametrize(("name", "log"), [("mlflow", "log_metrics"), ("wandb", "log")])
def test_a_tracker_is_told_every_epoch(name, log, monkeypatch):
    told, space = [], {}
    fake = SimpleNamespace(**{log: lambda metrics, step: told.append((step, metrics))})
    monkeypatch.setitem(sys.modules, name, fake)
    exec(re.findall(r"```python\n(.*?)```", SECTIONS["TensorBoard"], re.DOTALL)[1], space)
    data = fnn.digits("train").take(60)
    fit = fnn.fit(
        fnn.Dense(10), fnn.softmax_cross_entropy, fnn.sgd(0.1), data, epochs=2, batch_size=20,
        key=fnn.Key.of(0), callbacks=space[f"to_{name}"], progress=False,
    )  # fmt: skip
    assert told == [(1, fit.history[0]), (2, fit.history[1])]
