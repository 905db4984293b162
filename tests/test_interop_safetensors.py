"""Trees as safetensors files: to the byte, beside the real library, and against hostile ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fnn
from fnn import tree

library = pytest.importorskip("safetensors.numpy")
room = pytest.importorskip("fnn.interop.safetensors")
save_tree, load_tree, load_metadata = room.save_tree, room.load_tree, room.load_metadata

TREE = {
    "params": {"dense_0": {"w": np.arange(6, dtype="f4").reshape(2, 3), "b": np.zeros(3)}},
    "state": {"steps": np.array(7), "seen": np.array([True, False]), "none": np.zeros((0, 2), "i2")},
}
SHAPES = hnp.array_shapes(min_dims=0, max_side=3)
DTYPES = ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


def same(a, b):
    ours, theirs = dict(tree.items(a)), dict(tree.items(b))
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        assert (leaf.dtype, leaf.shape) == (theirs[path].dtype, theirs[path].shape)
        assert leaf.tobytes() == theirs[path].tobytes()


def test_a_tree_comes_back_to_the_bit_with_its_texts(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    save_tree(path, TREE, metadata={"net": "serial()", "a": "löwe"})
    same(load_tree(path), TREE)
    assert type(load_tree(path)) is fnn.Tree
    assert load_metadata(path) == {"net": "serial()", "a": "löwe"}


def test_the_real_library_reads_what_we_write_and_we_what_it_writes(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    save_tree(ours, TREE)
    flat = library.load_file(ours)
    assert {name: array.tobytes() for name, array in flat.items()} == {
        name: array.tobytes() for name, array in tree.items(TREE)
    }
    library.save_file({name: np.asarray(each, order="C") for name, each in tree.items(TREE)}, theirs)
    same(load_tree(theirs), TREE)


def test_equal_trees_give_equal_bytes_in_whatever_order_and_memory_they_come(tmp_path):
    w = np.arange(12, dtype="f4").reshape(3, 4)
    texts = {str(i): str(i) for i in range(20)}
    save_tree(tmp_path / "a", {"w": w, "b": np.ones(2)}, metadata=texts)
    turned = dict(reversed(texts.items()))
    save_tree(tmp_path / "b", {"b": np.ones(2), "w": np.asfortranarray(w)}, metadata=turned)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text('abcå_ "\\', min_size=1, max_size=5),
        st.sampled_from(DTYPES).flatmap(
            lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_side=3))
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_tree_of_these_dtypes_comes_back(tmp_path_factory, given):
    path = tmp_path_factory.mktemp("any") / "file"
    save_tree(path, {"some": given})
    same(load_tree(path), {"some": given})


def test_a_state_dict_of_torch_opens_by_its_dots(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    save_file(module.state_dict(), tmp_path / "module")
    found = load_tree(tmp_path / "module", separator=".")
    assert np.array_equal(found["0"]["weight"], module[0].weight.detach().numpy())
    assert found["1"]["num_batches_tracked"] == 0
    save_tree(tmp_path / "back", found, separator=".")
    back = load_file(tmp_path / "back")
    assert all(torch.equal(back[name], value) for name, value in module.state_dict().items())
    halves = {"a": torch.tensor([1.5, -2.25]).bfloat16(), "b": torch.tensor([0.1]).half()}
    save_file(halves, tmp_path / "halves")
    with pytest.raises(fnn.DataError, match=r"a: expected a dtype .*, got BF16; widen=True"):
        load_tree(tmp_path / "halves")
    wide = load_tree(tmp_path / "halves", widen=True)
    assert wide["a"].dtype == np.float32
    assert wide["a"].tolist() == [1.5, -2.25]
    assert wide["b"].tolist() == halves["b"].float().tolist()


# --- what is refused -----------------------------------------------------------------------------


def file_of(header, body=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def one(dtype="F32", shape=(2,), at=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(at)}


HOSTILE = {
    "empty": b"",
    "seven bytes": b"1234567",
    "a header that is not there": (100).to_bytes(8, "little"),
    "a huge header": (1 << 62).to_bytes(8, "little") + b"{}",
    "no JSON": file_of(b"{nonsense"),
    "no object": file_of([1, 2]),
    "deep": file_of(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "cut off": file_of({"a": one(at=(0, 16), shape=(4,))}),
    "too long": file_of({"a": one()}, b"\0" * 80),
    "overlapping": file_of({"a": one(), "b": one()}),
    "a gap": file_of({"a": one(), "b": one(at=(12, 20))}, b"\0" * 20),
    "before the start": file_of({"a": one(at=(-8, 0))}),
    "another size": file_of({"a": one(shape=(3,))}),
    "a shape that overflows": file_of({"a": one(shape=(1 << 40, 1 << 40))}),
    "a shape below zero": file_of({"a": one(shape=(-2,))}),
    "an unknown dtype": file_of({"a": one("F31")}),
    "twice": file_of(b'{"a":%s,"a":%s}' % ((json.dumps(one()).encode(),) * 2)),
    "texts that are none": file_of({"__metadata__": {"a": 1}, "a": one()}),
    "array and dict": file_of({"a": one(), "a/b": one(at=(8, 16))}, b"\0" * 16),
    "no name": file_of({"": one()}),
    "half a name": file_of({"a//b": one()}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_name(name, tmp_path):
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(fnn.DataError, match="hostile") as caught:
        load_tree(path)
    assert len(str(caught.value)) < 600


def test_files_that_are_too_large_or_missing_are_refused(tmp_path):
    save_tree(tmp_path / "file", TREE)
    with pytest.raises(fnn.DataError, match="Larger than 10 bytes"):
        load_tree(tmp_path / "file", most=10)
    with pytest.raises(fnn.DataError, match="missing"):
        load_tree(tmp_path / "missing")


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        (
            {"a": np.zeros(2, "c16")},
            {},
            fnn.DataError,
            "expected dtypes .*complex128",
        ),
        ({"a": {}}, {}, fnn.TreeError, "expected no empty dict, got one at 'a'"),
        ({"a": np.zeros(1)}, {"metadata": {"a": 1}}, fnn.OptionError, "texts by name"),
        (
            {"a.b": np.zeros(1)},
            {"separator": "."},
            fnn.OptionError,
            "in no name, got 'a.b'",
        ),
        ({"a": np.zeros(1)}, {"separator": ""}, fnn.OptionError, "expected a text"),
        (3, {}, fnn.TreeError, "got"),
    ],
)
def test_what_cannot_be_said_is_refused_and_nothing_is_written(
    given, options, error, message, tmp_path
):
    with pytest.raises(error, match=message):
        save_tree(tmp_path / "file", given, **options)
    assert not list(tmp_path.iterdir())
