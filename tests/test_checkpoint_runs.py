"""Checkpoints of runs: exact to the bit, strict about everything, refused when damaged."""

import json
import math
import os
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from test_loop import examples, fit

import fnn
from fnn import tree
from fnn.errors import DataError, OptionError
from fnn.runs.checkpoint import load_checkpoint, load_tree, read_about, save_checkpoint, save_tree
from fnn.training.history import Record
from fnn.training.progress import Progress

NET = fnn.serial(fnn.Dense(8), fnn.BatchNorm(), fnn.Dense(3))


def start(net=NET, optimizer=None, seed=0):
    return fnn.init_train_state(net, optimizer or fnn.adam(0.01), (4,), fnn.Key.of(seed))


def trained():
    """Return where a short run stands in the middle of its third epoch."""
    kept = []
    fit(net=NET, save=kept.append, save_every=1, validation=examples(33, seed=1))
    return kept[-3]


# A NaN with a payload, as arithmetic of another machine might leave it.
ODD_NAN = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000001234))[0]
ODD_NUMBERS = [ODD_NAN, math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1, 1.7976931348623157e308]


def odd():
    now = start()
    state = {"a": {"b": np.asfortranarray(np.arange(6.0).reshape(2, 3))}, "empty": {"inner": {}}}
    now = fnn.TrainState((1 << 40) + 1, fnn.Key(bytes(range(16))), now.params, state, {})
    names = ["loss", "top/5", "Genauigkeit ½", "a\nb", "", "..", "\\"]
    records = [
        {"epoch": i + 1, "step": (1 << 53) + i, **dict.fromkeys(names, value)}
        for i, value in enumerate(ODD_NUMBERS)
    ]
    sums = dict(zip(names, ODD_NUMBERS, strict=False))
    return Progress(now, start(seed=1), ODD_NAN, len(records), 3, 48, sums, records, True)


def raw(value):
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


@pytest.mark.parametrize("best", ["another", "now", "none"])
@pytest.mark.parametrize("made", [odd, trained], ids=["odd numbers", "a run"])
def test_what_was_saved_comes_back_to_the_bit(tmp_path, made, best):
    given = made()
    now = given.now
    states = {"another": given.best or now, "now": now, "none": None}
    value = given.best_value if best != "none" else math.nan
    given = Progress(
        now, states[best], value, given.epoch, given.batch, given.count, given.sums, given.records,
        given.stopped,
    )  # fmt: skip
    save_checkpoint(tmp_path / "c.npz", given)
    got = load_checkpoint(tmp_path / "c.npz")
    assert got == given
    assert (got.best is None, got.best is got.now) == (best == "none", best == "now")
    for one, other in zip((got.now, got.best), (given.now, given.best), strict=True):
        if one is not None:
            assert (one.step, one.key, type(one.step)) == (other.step, other.key, int)
            for part in ("params", "state", "opt_state"):
                assert tree.digest(getattr(one, part)) == tree.digest(getattr(other, part))
    assert raw(got.best_value) == raw(given.best_value)
    for one, other in zip((got.sums, *got.records), (given.sums, *given.records), strict=True):
        assert type(one) is Record
        assert [(k, raw(v)) for k, v in one.items()] == [(k, raw(v)) for k, v in other.items()]
    assert {type(x) for x in (got.epoch, got.batch, got.count)} == {int}
    assert got.stopped is given.stopped


def test_empty_branches_and_memory_layouts_come_back_too(tmp_path):
    save_checkpoint(tmp_path / "c.npz", odd())
    state = load_checkpoint(tmp_path / "c.npz").now.state
    assert state["empty"] == {"inner": {}}
    assert state["a"]["b"].flags.f_contiguous
    with pytest.raises(ValueError, match="read-only"):
        state["a"]["b"][0] = 1


def test_equal_progress_gives_equal_bytes(tmp_path):
    for name in "ab":
        save_checkpoint(tmp_path / name, trained(), about={"x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_numpy_and_load_tree_read_a_checkpoint(tmp_path):
    given = trained()
    save_checkpoint(tmp_path / "c.npz", given, about={"lr": 0.1})
    with np.load(tmp_path / "c.npz", allow_pickle=False) as members:
        assert json.loads(members["about"].tobytes()) == {"lr": 0.1}
        assert np.array_equal(
            members["now/params/dense_0/w"], given.now.params["dense_0"]["w"], equal_nan=False
        )
        assert all(members[name].dtype.kind in "biuf" for name in members.files if name[-1] != "/")
    assert load_tree(tmp_path / "c.npz")["now"]["params"] == given.now.params


def test_it_says_what_its_writer_said_about_it(tmp_path):
    about = {"config": {"epochs": 3, "note": "½"}, "seeds": [1, 2]}
    save_checkpoint(tmp_path / "c.npz", trained(), about=about)
    assert read_about(tmp_path / "c.npz") == about
    save_checkpoint(tmp_path / "c.npz", trained())
    assert read_about(tmp_path / "c.npz") == {}
    with pytest.raises(DataError, match=r"none\.npz: cannot be read"):
        read_about(tmp_path / "none.npz")


# --- damage -------------------------------------------------------------------------------------


def refused(path):
    try:
        load_checkpoint(path)
    except DataError as error:
        return str(path) in str(error)
    return False


def test_every_truncation_of_a_small_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c.npz"
    save_checkpoint(path, Progress(start(fnn.serial(fnn.Dense(4), fnn.BatchNorm()))))
    size = path.stat().st_size
    assert 6_000 < size < 12_000
    for length in reversed(range(size)):
        os.truncate(path, length)
        assert refused(path), length


def test_random_truncations_and_flipped_bits_of_a_larger_one_are_refused(tmp_path):
    net = fnn.serial(fnn.Dense(300), fnn.Dense(100))
    path = tmp_path / "c.npz"
    save_checkpoint(path, Progress(start(net)))
    content = path.read_bytes()
    assert len(content) > 300_000
    draw = random.Random(5)
    for _ in range(250):
        path.write_bytes(content[: draw.randrange(len(content))])
        assert refused(path)
        changed = bytearray(content)
        changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        assert refused(path)


def test_other_files_are_no_checkpoints(tmp_path):
    save_tree(tmp_path / "t.npz", {"params": {"w": np.ones(3)}})
    with pytest.raises(DataError, match=r"t\.npz: expected a checkpoint, got a tree of \['params'\]"):
        load_checkpoint(tmp_path / "t.npz")
    np.savez(tmp_path / "s.npz", w=np.ones(3))
    with pytest.raises(DataError, match=r"s\.npz: expected a tree written by save_tree"):
        load_checkpoint(tmp_path / "s.npz")
    with pytest.raises(DataError, match="cannot be read"):
        load_checkpoint(tmp_path / "none.npz")


TEXT = np.frombuffer(b'["loss"]', np.uint8)
I8 = np.int64
CHANGES = {
    "a newer layout": (
        {"checkpoint": I8(2)},
        "expected a checkpoint of layout 1, got 2; of a newer fnn",
    ),
    "a version of another type": ({"checkpoint": np.ones(1)}, "checkpoint: expected int64 of 0 axes"),
    "a missing state": ({"now": None}, "expected the paths .'now'., which are missing"),
    "a missing optimizer": ({"now/opt_state": None}, "'now/opt_state'., which are missing"),
    "a missing step": ({"now/step": None}, "'now/step'"),
    "a missing place": ({"place/batch": None}, "'place/batch'"),
    "a missing column": ({"records/1": None}, "expected a column per name, got 3 columns for 4"),
    "another column": ({"records/1": None, "records/7": I8([1, 2])}, "'records/1'"),
    "missing names": ({"records/names": None}, "'records/names'"),
    "a strange path": ({"code": I8(1)}, "expected no paths .'code'"),
    "a strange path in a state": ({"now/code": I8(1)}, "expected no paths .'now/code'"),
    "a short key": ({"now/key": np.zeros(8, np.uint8)}, "Key: expected 16 bytes"),
    "a step of floats": (
        {"now/step": np.array(3.0)},
        "now/step: expected int64 of 0 axes, got float64",
    ),
    "a step below 0": ({"now/step": I8(-1)}, "step: expected 0 or more"),
    "a leaf for params": ({"now/params": np.ones(3)}, "now/params: expected a branch, got a leaf"),
    "a leaf for a state": ({"now": np.ones(3)}, "now/: expected .*, got a leaf"),
    "a leaf for the best state": ({"best": np.zeros(1)}, "best/: expected .*, got a leaf"),
    "a branch for a number": ({"place/epoch": {}}, "place/epoch: expected int64 .*, got a branch"),
    "a branch for a column": ({"records/0": {}}, "records/0: expected a leaf"),
    "columns of two lengths": ({"records/1": I8([1])}, "shorter|longer"),
    "a column of bytes": ({"records/1": np.ones(2, np.uint8)}, "records/1: expected float64"),
    "a column of rows": ({"records/1": np.ones((2, 2))}, "records/1: expected float64 of 1 axes"),
    "fewer sums than names": ({"sums/values": np.ones(0)}, "shorter"),
    "names that are no JSON": ({"sums/names": TEXT[:3]}, "Unterminated string"),
    "names that are no text": ({"sums/names": np.frombuffer(b"[3]", np.uint8)}, "distinct names"),
    "names that are no list": ({"sums/names": np.frombuffer(b"{}", np.uint8)}, "expected a list"),
    "the same name twice": ({"sums/names": np.frombuffer(b'["a","a"]', np.uint8)}, "distinct names"),
    "no UTF-8": ({"sums/names": np.frombuffer(b'"\xff"', np.uint8)}, "utf-8"),
    "brackets without end": ({"sums/names": np.full(9999, ord("["), np.uint8)}, "recursion|Expecting"),
    "endless names": ({"sums/names": np.full(99999, ord("["), np.uint8)}, "16384 bytes together"),
    "more epochs than records": ({"place/epoch": I8(9)}, "expected one per finished epoch, got 2 of 9"),
    "a batch without sums": ({"place/count": I8(0)}, "of a running epoch"),
}


def changed(members, changes):
    members = dict(members)
    for path, value in changes.items():
        head, _, rest = path.partition("/")
        if rest:
            members[head] = changed(members[head], {rest: value})
        elif value is None:
            del members[head]
        else:
            members[head] = value
    return members


@pytest.mark.parametrize("what", CHANGES)
def test_a_checkpoint_that_lacks_something_or_holds_something_else_is_refused(tmp_path, what):
    changes, message = CHANGES[what]
    path = tmp_path / "c.npz"
    save_checkpoint(path, trained())
    save_tree(path, changed(load_tree(path), {}))
    assert load_checkpoint(path) == trained(), "unchanged it loads"
    save_tree(path, changed(load_tree(path), changes))
    with pytest.raises(DataError, match=message) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(str(path))


def test_like_lists_every_difference_key_included(tmp_path):
    save_checkpoint(tmp_path / "c.npz", trained())
    assert load_checkpoint(tmp_path / "c.npz", like=start()) == trained()
    other = start(fnn.serial(fnn.Dense(8), fnn.Dense(4)), fnn.momentum(0.1), seed=1)
    with pytest.raises(DataError) as caught:
        load_checkpoint(tmp_path / "c.npz", like=other)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{tmp_path / 'c.npz'}: does not fit:"
    assert lines[0] == f"  now/key: expected {fnn.Key.of(1)!r}, got {fnn.Key.of(0)!r}"
    assert "  now/params/dense_1/w: expected float32[8, 4], got float32[8, 3]" in lines
    assert "  best/params/dense_1/b: expected float32[4], got float32[3]" in lines
    assert any(line.startswith("  now/state/batch_norm_0/") for line in lines)
    assert any(line.startswith("  now/opt_state/") and "no such path" in line for line in lines)
    assert not any("dense_0/w: expected float32" in line and "params" in line for line in lines)


# --- what cannot be saved -----------------------------------------------------------------------


HUGE = fnn.TrainState(1 << 70, fnn.Key.of(0), {}, {}, {})


def recorded(*records):
    return Progress(start(), epoch=len(records), records=records)


@pytest.mark.parametrize(
    ("given", "about", "message"),
    [
        (start(), {}, "save_checkpoint: expected a Progress, got TrainState"),
        (Progress(start()), {"x": object()}, "about: expected what JSON can hold"),
        (Progress(start()), {"x": math.nan}, "about: expected what JSON can hold"),
        (recorded({"a": "x"}), {}, "all int or all float in 'a', got .'str'"),
        (recorded({"a": 1}, {"a": 0.5}), {}, "all int or all float in 'a', got .'float', 'int'"),
        (recorded({"a": 1}, {"b": 1}), {}, "expected the columns .'a'. in each, got .'b'"),
        (recorded({"a": 1 << 70}), {}, "numbers of 63 bits in 'a'"),
        (recorded({"a" * 20000: 1}), {}, "16384 bytes together"),
        (Progress(HUGE), {}, "step: expected a number of 63 bits"),
    ],
)
def test_what_no_checkpoint_can_hold_is_refused_and_nothing_is_written(tmp_path, given, about, message):
    with pytest.raises(OptionError, match=message):
        save_checkpoint(tmp_path / "c.npz", given, about=about)
    assert list(tmp_path.iterdir()) == []


def test_archives_whose_places_need_wider_numbers_are_read_too(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 4_000)
    save_checkpoint(tmp_path / "c.npz", trained())
    content = (tmp_path / "c.npz").read_bytes()
    assert b"PK\6\6" in content
    assert load_checkpoint(tmp_path / "c.npz") == trained()
    with np.load(tmp_path / "c.npz") as members:
        assert members["now/step"] == trained().now.step


def test_a_long_history_loads_within_four_times_its_file(tmp_path):
    records = [{"epoch": i, "step": i, "loss": i / 7} for i in range(20_000)]
    given = Progress(start(), epoch=len(records), records=records)
    save_checkpoint(tmp_path / "c.npz", given)
    size = (tmp_path / "c.npz").stat().st_size
    tracemalloc.start()
    try:
        got = load_checkpoint(tmp_path / "c.npz")
        assert tracemalloc.get_traced_memory()[1] < 4 * size + (1 << 20)
    finally:
        tracemalloc.stop()
    assert got == given
    bare = {name: leaf for name, leaf in load_tree(tmp_path / "c.npz").items() if name != "filling"}
    save_tree(tmp_path / "c.npz", bare)
    with pytest.raises(DataError, match="as large as a third of what it asks for"):
        load_checkpoint(tmp_path / "c.npz")
