"""Checkpoints: exact, all or nothing, and safe to open whoever wrote them."""

import hashlib
import io
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fnn import tree
from fnn.errors import DataError, TreeError
from fnn.files import replacing
from fnn.runs.checkpoint import load_tree, save_tree
from fnn.runs.checkpoint import trees as npz

TREE = {
    "dense_0": {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.zeros(4, np.float32)},
    "relu_0": {},
    "norm_0": {"mean": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "count": np.array(7)},
    "nothing": np.zeros((0, 5)),
    "last": {"inner": {}},
}


def seal(content: bytes) -> bytes:
    """Give any zip archive the comment that a saved tree has: what a hostile author would do."""
    mark = b"fnn-tree 1 sha256 "
    content = content[:-2] + struct.pack("<H", len(mark) + 64) + mark
    return content + hashlib.sha256(content).hexdigest().encode()


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=allow_pickle)
    return file.getvalue()


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in members:
            made.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


leaves = hnp.arrays(
    st.sampled_from(["<f4", "<f8", "<i8", "|u1", "<c8", "|b1", ">f8"]), hnp.array_shapes(min_dims=0)
)
names = st.text(st.characters(exclude_characters="/\\", exclude_categories=["C", "Z"]), min_size=1)
trees = st.recursive(leaves, lambda child: st.dictionaries(names, child, max_size=3)).filter(
    lambda value: isinstance(value, dict)
)


@settings(deadline=None, max_examples=60)
@given(trees)
def test_what_was_saved_comes_back_bit_for_bit(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("trees") / "tree.npz"
    save_tree(path, value)
    loaded = load_tree(path, like=value)
    assert tree.digest(loaded) == tree.digest(value)
    assert [str(leaf.dtype) for leaf in tree.leaves(loaded)] == [
        str(leaf.dtype) for leaf in tree.leaves(value)
    ]


def test_empty_branches_and_memory_layouts_survive(tmp_path):
    save_tree(tmp_path / "t.npz", TREE)
    loaded = load_tree(tmp_path / "t.npz")
    assert loaded == TREE
    assert loaded["norm_0"]["mean"].flags.f_contiguous
    assert loaded["last"] == {"inner": {}}


def test_a_loaded_tree_is_immutable(tmp_path):
    save_tree(tmp_path / "t.npz", TREE)
    loaded = load_tree(tmp_path / "t.npz")
    with pytest.raises(TypeError, match="immutable"):
        loaded["dense_0"]["w"] = np.zeros(3)
    with pytest.raises(ValueError, match="read-only"):
        loaded["dense_0"]["w"][0] = 1


def test_equal_trees_give_equal_bytes_whatever_the_order_of_their_keys(tmp_path):
    save_tree(tmp_path / "a.npz", TREE)
    save_tree(tmp_path / "b.npz", dict(reversed(TREE.items())))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_file_tells_neither_when_nor_on_which_system_it_was_written(tmp_path):
    save_tree(tmp_path / "t.npz", TREE)
    with zipfile.ZipFile(tmp_path / "t.npz") as archive:
        about = {(member.create_system, member.date_time) for member in archive.infolist()}
    assert about == {(3, (1980, 1, 1, 0, 0, 0))}


def test_numpy_reads_what_was_saved(tmp_path):
    save_tree(tmp_path / "t.npz", TREE)
    with np.load(tmp_path / "t.npz") as members:
        assert np.array_equal(members["dense_0/w"], TREE["dense_0"]["w"])


def refused(path):
    try:
        load_tree(path)
    except DataError as error:
        return str(path) in str(error)
    return False


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    save_tree(path, TREE)
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        assert refused(path), length


def test_every_flipped_byte_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    save_tree(path, TREE)
    bits = random.Random(0)
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(path.read_bytes()):
            file.seek(position)
            file.write(bytes([byte ^ 1 << bits.randrange(8)]))
            assert refused(path), position
            file.seek(position)
            file.write(bytes([byte]))
    assert load_tree(path) == TREE, "as it was"


def test_bytes_after_the_end_are_refused(tmp_path):
    save_tree(tmp_path / "t.npz", TREE)
    with (tmp_path / "t.npz").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DataError):
        load_tree(tmp_path / "t.npz")


def _touch(path):
    Path(path).write_text("executed")


class _Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return _touch, (self.path,)


def test_pickled_objects_are_refused_and_never_run(tmp_path):
    bomb = npy(np.array([_Bomb(tmp_path / "ran")], object), allow_pickle=True)
    pickle.loads(bomb[bomb.index(b"\n") + 1 :])
    assert (tmp_path / "ran").exists(), "the bomb works"
    (tmp_path / "ran").unlink()
    (tmp_path / "t.npz").write_bytes(seal(archive(("w.npy", bomb))))
    with pytest.raises(DataError, match=r"t\.npz: 'w\.npy': expected an array of numbers"):
        load_tree(tmp_path / "t.npz")
    assert not (tmp_path / "ran").exists()


ONE = npy(np.ones(3))
LYING = ONE.replace(b"(3,)", b"(9,)")
HOSTILE = {
    "the same path twice": ([("w.npy", ONE), ("w.npy", ONE)], "every path once"),
    "a leaf below a leaf": ([("w.npy", ONE), ("w/b.npy", ONE)], "below a leaf"),
    "a leaf below an empty branch": ([("w/", b""), ("w/b.npy", ONE)], "below a leaf"),
    "a leaf in a branch's place": ([("w/b.npy", ONE), ("w.npy", ONE)], "every path once"),
    "an empty name": ([("a//b.npy", ONE)], "expected a path"),
    "an absolute name": ([("/b.npy", ONE)], "expected a path"),
    "another kind of member": ([("readme.txt", b"hello")], "ending in .npy"),
    "a shape that lies": ([("w.npy", LYING)], "does not fill"),
    "a shape beyond any memory": (
        [("w.npy", ONE.replace(b"(3,), }         ", b"(9999999999,), }"))],
        "does not fill",
    ),
    "a header cut short": ([("w.npy", ONE[:40])], "npy format"),
    "a header that is code": ([("w.npy", ONE.replace(b"(3,)", b"f()"))], "npy format"),
    "too deep a path": ([("/".join("a" * 100) + ".npy", ONE)], "up to 64 names"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_archives_are_refused_though_their_digest_is_right(tmp_path, what):
    members, message = HOSTILE[what]
    with pytest.MonkeyPatch.context() as patch:
        # zipfile warns of duplicate names when it writes them.
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)
        content = archive(*members)
    (tmp_path / "t.npz").write_bytes(seal(content))
    with pytest.raises(DataError, match=message):
        load_tree(tmp_path / "t.npz")


def test_a_member_that_calls_itself_compressed_is_refused(tmp_path):
    content = bytearray(archive(("w.npy", ONE)))
    content[8] = zipfile.ZIP_DEFLATED
    (tmp_path / "t.npz").write_bytes(seal(bytes(content)))
    with pytest.raises(DataError, match="expected a stored member"):
        load_tree(tmp_path / "t.npz")


def _peak(path):
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            load_tree(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_compressed_bomb_is_refused_before_it_unfolds(tmp_path):
    bomb = archive(("w.npy", npy(np.zeros(1 << 23))), method=zipfile.ZIP_DEFLATED)
    (tmp_path / "t.npz").write_bytes(seal(bomb))
    assert _peak(tmp_path / "t.npz") < 2 << 20


def test_a_forest_of_branches_takes_no_more_than_a_few_times_its_file(tmp_path):
    tail = "/" + "/".join("a" * 60) + "/"
    forest = seal(archive(*((f"{i}{tail}", b"") for i in range(5000))))
    (tmp_path / "t.npz").write_bytes(forest)
    assert _peak(tmp_path / "t.npz") < 4 * len(forest) + (2 << 20)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>" * 20, bytes(1000)])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"t\.npz: expected a"):
        load_tree(tmp_path / "t.npz")


def test_archives_without_a_digest_and_newer_formats_are_refused(tmp_path):
    np.savez(tmp_path / "t.npz", w=np.ones(3))
    with pytest.raises(DataError, match="written by save_tree"):
        load_tree(tmp_path / "t.npz")
    save_tree(tmp_path / "t.npz", TREE)
    newer = (tmp_path / "t.npz").read_bytes().replace(b"fnn-tree 1", b"fnn-tree 2")
    (tmp_path / "t.npz").write_bytes(newer)
    with pytest.raises(DataError, match="expected format 1"):
        load_tree(tmp_path / "t.npz")


def test_a_missing_file_and_a_folder_are_typed_errors(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_tree(tmp_path / "none.npz")
    with pytest.raises(DataError, match=str(tmp_path.name)):
        load_tree(tmp_path)


def test_like_lists_every_difference_at_once(tmp_path):
    save_tree(tmp_path / "t.npz", {"a": {"w": np.ones(3)}, "b": np.ones(2), "c": {}})
    like = {"a": {"w": np.ones(4), "x": np.ones(1)}, "b": np.ones(2, np.float32)}
    with pytest.raises(DataError) as caught:
        load_tree(tmp_path / "t.npz", like=like)
    assert str(caught.value).splitlines()[1:] == [
        "  a/w: expected float64[4], got float64[3]",
        "  a/x: expected float64[1], got no such path",
        "  b: expected float32[2], got float64[2]",
        "  c/: expected no such path, got nothing",
    ]


@pytest.mark.parametrize(
    "value", [np.ones(3), {"a\\b": np.ones(1)}, {"a\0b": np.ones(1)}, {"a\nb": {}}, {"": np.ones(1)}]
)
def test_what_no_file_can_hold_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(TreeError):
        save_tree(tmp_path / "t.npz", value)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_writing_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "t.npz"
    save_tree(path, TREE)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"t\.npz: cannot be written \(No space left"):
        save_tree(path, {"w": np.ones(5)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_synced_before_it_takes_the_name_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append("sync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("rename"), replace(*a)))
    with replacing(tmp_path / "new" / "file") as file:
        file.write(b"content")
    assert calls == (["sync", "rename"] if os.name == "nt" else ["sync", "rename", "sync"])
    assert (tmp_path / "new" / "file").read_bytes() == b"content"


def test_a_leaf_too_large_for_the_format_is_refused_by_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "_MAX_LEAF", 100)
    with pytest.raises(TreeError, match="below 2 GiB"):
        save_tree(tmp_path / "t.npz", {"w": np.ones(20)})
