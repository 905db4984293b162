"""Run folders to report on, written by hand so that nothing has to be trained."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np

import fnn
from fnn.runs.checkpoint import save_tree

NET = fnn.serial(fnn.Conv(4, 5), fnn.MaxPool(2), fnn.Relu(), fnn.Flatten(), fnn.Dense(10))
VOID = {"meta", "img", "br", "link", "input", "hr"}


def make_run(
    folder, *, seed=0, rate=0.1, epochs=6, result=None, about=None, lines=None, model=True, seen=True
):
    """Write the folder of a run and return it."""
    folder.mkdir(parents=True)
    config = {"epochs": epochs, "learning_rate": rate, "seed": seed, "data": None, "out": str(folder)}
    reached = {"test_accuracy": 0.9 + rate / 10 + seed / 1000, "parameters": 5874, "network": repr(NET)}
    content = {
        "format": 1, "experiment": "mnist_cnn", "config": config, "seed": seed, "status": "finished",
        "versions": {"python": "3.11.7", "numpy": "2.4.6"}, "cpu": "a processor", "minutes": 0.5,
        "started": "2026-01-02T03:04:05+00:00",
        "result": reached if result is None else result, **(about or {}),
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(content), "utf-8")
    if lines is None:
        lines = [json.dumps(record(i, seed)) + "\n" for i in range(1, epochs + 1)]
    (folder / "metrics.jsonl").write_text("".join(lines), "utf-8")
    _, params, state = NET.init(fnn.Key.of(seed), (1, 28, 28))
    if model:
        leaves = {"params": params, "state": state, "in_shape": np.array([1, 28, 28])}
        save_tree(folder / "model.npz", leaves)
    if seen:
        save_tree(folder / "evaluation.npz", evaluation())
    return folder


def record(epoch, seed):
    return {
        "epoch": epoch, "step": 20 * epoch, "loss": 2 / epoch + seed / 10, "accuracy": 1 - 0.5 / epoch,
        "validation_loss": 2.2 / epoch, "validation_accuracy": 1 - 0.6 / epoch,
    }  # fmt: skip


def evaluation(n=60):
    """Return what a network made of n examples: every seventh is wrong, twenty are kept."""
    target = np.arange(n) % 10
    predicted = np.where(np.arange(n) % 7 == 0, (target + 1) % 10, target)
    images = np.linspace(0, 1, 20 * 784, dtype=np.float32).reshape(20, 1, 28, 28)
    return {"predicted": predicted, "target": target, "x": images, "index": np.arange(20)}


class Parsed(HTMLParser):
    """An HTML page taken apart: every tag closed, every attribute and text at hand."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.faults = [], [], [], []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes another")

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def words(self, tag):
        return [text for within, text in self.texts if within == tag]
