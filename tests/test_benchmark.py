"""The benchmark: its peers compute the same, its report says what was measured, its check can fail."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

from fnn import experiment

FOLDER = Path(__file__).resolve().parents[1] / "experiments"
STEPS = [
    "mlp_bn_1000", "cnn_100", "sigmoid_100", "parity_32", "keras_100", "lenet_128", "swish_100",
    "resnet_128", "char_lstm", "char_transformer", "predict_1",
]  # fmt: skip
LARGE = ("lenet_128", "resnet_128", "char_lstm", "char_transformer")
NEEDS = {
    "fnn_fast": "llvmlite",
    "torch": "torch",
    "jax_jit": "jax",
    "jax_scan": "jax",
    "sklearn": "sklearn",
}


@pytest.fixture(autouse=True)
def _bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    with np.errstate(all="ignore"):
        yield


def part(name):
    return importlib.import_module(f"bench.{name}")


def make(name, peer):
    """Return a job, with a batch that is small enough for a test."""
    workload = part("workloads").WORKLOADS[name]
    if workload.kind == "step":
        workload = attrs.evolve(workload, batch=2 if name in LARGE else 32)
    return part("worker").make_job(workload, peer)


@pytest.fixture(scope="module")
def ours():
    """First losses of `fnn`, computed once per workload."""
    kept = {}

    def first(name):
        if name not in kept:
            kept[name] = make(name, "fnn").first()
        return kept[name]

    return first


@pytest.mark.parametrize(
    "peer", ["fnn_fast", "fnn_step", "bare", "numpy", "torch", "jax_jit", "jax_scan", "sklearn"]
)
@pytest.mark.parametrize("name", STEPS)
def test_every_peer_computes_what_we_compute(name, peer, ours):
    if peer in NEEDS:
        pytest.importorskip(NEEDS[peer])
    try:
        job = make(name, peer)
    except part("job").Unavailable:
        pytest.skip("no such workload")
    for _ in range(2):  # The second time from the first weights again.
        assert part("lockstep").same(job.first(), ours(name)), (job.first(), ours(name))


def test_losses_move_and_differ_from_those_of_another_network(ours):
    for name in STEPS[:-1]:
        assert len(set(ours(name))) == 3
    assert part("lockstep").same([1.0, 2.0], [1.00005, 2.0])
    assert not part("lockstep").same([1.0, 2.0], [1.001, 2.0])
    assert not part("lockstep").same([1.0], [1.0, 2.0])
    assert not part("lockstep").same([float("nan")], [1.0])


@pytest.mark.parametrize("peer", ["fnn", "numpy", "torch"])
def test_an_input_pipeline_hands_out_every_image_once(peer, ours):
    if peer in NEEDS:
        pytest.importorskip(NEEDS[peer])
    job = make("input_pipeline", peer)
    pixels, labels, count = job.first()
    assert count == job.run(1) == 10_000
    assert part("lockstep").same([pixels, labels, count], ours("input_pipeline"))


def test_a_tiny_run_writes_its_report(tmp_path, capsys):
    benchmark = importlib.import_module("benchmark")
    few = ["--peers", "fnn,numpy", "--only", "parity_32", "--rounds", "3", "--seconds", "0.01"]
    flags = [*few, "--no-picture", "--out", str(tmp_path)]
    experiment.main(benchmark.train, benchmark.Config, flags)
    about = json.loads((tmp_path / "benchmark.json").read_text("utf-8"))
    assert about["machine"]["versions"]["numpy"] == np.__version__
    row = about["workloads"]["parity_32"]
    assert set(row["medians"]) == {"fnn", "numpy"}
    assert set(row["ratios"]["fnn"]) == {"numpy"}
    for entry in row["peers"].values():
        assert len(entry["seconds"]) == 3
        assert entry["peak"] >= entry["before"] > 5
    r = row["ratios"]["fnn"]["numpy"]
    assert 0 < r["low"] <= r["median"] <= r["high"]
    lines = (tmp_path / "benchmark.md").read_text("utf-8").splitlines()
    table = [line.split("|") for line in lines if line.startswith("|")]
    assert len({len(cells) for cells in table}) == 1
    assert [cells[1].strip() for cells in table] == ["workload", "---", "parity_32"]
    assert "parity_32: fnn " in capsys.readouterr().out


def test_the_check_passes_and_with_a_bound_of_zero_fails_in_one_line(tmp_path, capsys, monkeypatch):
    benchmark = importlib.import_module("benchmark")
    flags = ["--check", "--only", "parity_32", "--out"]
    monkeypatch.setitem(part("check").BOUNDS, "parity_32", 1e9)
    experiment.main(benchmark.train, benchmark.Config, [*flags, str(tmp_path / "passes")])
    capsys.readouterr()
    monkeypatch.setitem(part("check").BOUNDS, "parity_32", 0.0)
    with pytest.raises(SystemExit) as stopped:
        experiment.main(benchmark.train, benchmark.Config, [*flags, str(tmp_path / "fails")])
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("parity_32: expected at most 0.00 of numpy's time, got ")
    assert said.count("\n") == 1


def test_a_check_needs_no_picture_and_every_workload_has_a_bound():
    worker, workloads = part("worker"), part("workloads").WORKLOADS
    in_numpy = {name for name, each in workloads.items() if worker.has("numpy", each)}
    assert set(part("check").BOUNDS) == in_numpy
    code = "import benchmark, sys; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=FOLDER, check=False).returncode == 0


def test_bars_are_against_the_best_rival_and_the_peer_that_they_name():
    workload = part("workloads").WORKLOADS["keras_100"]
    found = {
        "fnn": {"seconds": [1.0, 1.0, 4.0]},
        "torch": {"seconds": [1.2, 1.2, 1.2]},
        "jax_jit": {"seconds": [2.0, 2.0, 8.0]},
        "numpy": {"seconds": [0.1, 0.1, 0.1]},
    }
    workload = attrs.evolve(
        workload, bars={"best": 0.8, "numpy": 20.0}, fast={"best": 0.5, "jax_jit": 0.3}
    )
    row = part("summary").summarize(workload, found)
    assert row["best"] == "torch"
    assert row["ratios"]["fnn"]["jax_jit"] == {"median": 0.5, "low": 0.5, "high": 0.5}
    assert row["bars"] == [
        {"ours": "fnn", "peer": "torch", "most": 0.8, "met": False},
        {"ours": "fnn", "peer": "numpy", "most": 20.0, "met": True},
    ]
    found["jax_jit"]["seconds"] = [1.1, 1.1, 1.1]
    found["fnn_fast"] = {"seconds": [0.4, 0.4, 0.4]}
    bars = part("summary").summarize(workload, found)["bars"]
    assert [(bar["ours"], bar["peer"], bar["met"]) for bar in bars] == [
        ("fnn", "jax_jit", False),
        ("fnn", "numpy", True),
        ("fnn_fast", "jax_jit", True),
        ("fnn_fast", "jax_jit", False),
    ]


def test_what_a_program_costs_is_made_up_for_by_later_steps():
    compiling = part("compiling")
    n = compiling.FIRST
    found = {
        "fnn_step": {"first": 2.0, "together": 2.0 * n, "later": 2.0},
        "fnn": {"first": 2.0, "together": 1.0 * n + 30, "later": 1.0},
        "fnn_fast": {"first": 2.0, "together": 2.5 * n + 5, "later": 2.5},
    }
    assert compiling.even(found, "fnn") == 30
    assert compiling.row("parity_32", found)[2:5] == ["1 s", "30 s", "30"]
    assert compiling.row("parity_32", found)[-1] == "never"
    del found["fnn_fast"]
    assert compiling.row("parity_32", found)[-3:] == ["–"] * 3
    lines = compiling.table({"parity_32": found}).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


@pytest.mark.slow
def test_programs_are_timed_in_processes_of_their_own():
    found = part("compiling").measure("parity_32", 1)
    assert {"fnn_step", "fnn"} <= set(found)
    assert found["fnn"]["later"] < found["fnn_step"]["later"] < found["fnn_step"]["together"]


def test_what_a_worker_dies_of_stands_in_the_report(monkeypatch):
    lockstep = part("lockstep")
    found = lockstep.measure("input_pipeline", ["fnn", "bare"], 1, 0.01)
    assert found["bare"] == {"trouble": "–"}
    monkeypatch.setattr(lockstep, "PATIENCE", 0.01)
    found = lockstep.measure("parity_32", ["fnn"], 1, 0.01)
    assert found["fnn"]["trouble"] in ("no answer in 0 s", "the process ended")


def test_an_exponent_is_that_of_the_upper_half():
    sizes = [1, 2, 4, 8, 16, 32]
    assert part("growth").exponent(sizes, [9, 9, 9, 64, 256, 1024]) == pytest.approx(2)
    assert part("growth").exponent(sizes, [1, 1, 1, 0, 1, 1]) is None


def test_times_are_written_with_three_digits():
    written = [part("report").duration(t) for t in (1.5e-6, 0.9996e-3, 0.01234, 2.0, 1234.0)]
    assert written == ["1.5 µs", "1 ms", "12.3 ms", "2 s", "1234 s"]
