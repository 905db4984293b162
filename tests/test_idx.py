"""The IDX reader and writer: what is read is what was written, and everything else is refused whole."""

from __future__ import annotations

import errno
import gzip
import math
import os
import tracemalloc

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnn.datasets import read_idx, write_idx
from fnn.errors import DataError, DTypeError, OptionError, ShapeError

DTYPES = ["u1", "i1", "i2", "i4", "f4", "f8"]
SMALL = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 7


def header(code: int, *sizes: int) -> bytes:
    return bytes([0, 0, code, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


@given(
    array=hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(max_dims=4, min_side=0, max_side=5)),
    packed=st.booleans(),
    swapped=st.booleans(),
)
def test_what_is_written_is_read_again(folder, array, packed, swapped):
    path = folder / ("a.idx.gz" if packed else "a.idx")
    write_idx(path, array.astype(array.dtype.newbyteorder()) if swapped else array)
    again = read_idx(path)
    assert again.dtype == array.dtype
    assert again.dtype.isnative
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()
    assert not again.flags.writeable


def test_an_array_in_any_memory_layout_is_written_in_row_major_order(folder):
    for array in (SMALL.T, SMALL[:, ::-1, ::2], np.asfortranarray(SMALL)):
        write_idx(folder / "layout", array)
        np.testing.assert_array_equal(read_idx(folder / "layout"), array)


def test_the_bytes_are_those_of_the_format(folder):
    write_idx(folder / "plain", np.array([[1, -2]], np.int32))
    assert (folder / "plain").read_bytes() == bytes.fromhex(
        "00000c02 00000001 00000002 00000001 fffffffe"
    )


def test_gzip_is_told_by_the_first_bytes_and_not_by_the_name(folder):
    write_idx(folder / "a.gz", SMALL)
    os.replace(folder / "a.gz", folder / "packed")
    np.testing.assert_array_equal(read_idx(folder / "packed"), SMALL)
    write_idx(folder / "plain", SMALL)
    os.replace(folder / "plain", folder / "plain.gz")
    np.testing.assert_array_equal(read_idx(str(folder / "plain.gz")), SMALL)


def test_the_same_array_gives_the_same_bytes_at_any_time_under_any_name(folder, monkeypatch):
    write_idx(folder / "one.gz", SMALL)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_idx(folder / "two.gz", SMALL)
    assert (folder / "one.gz").read_bytes() == (folder / "two.gz").read_bytes()


@pytest.mark.parametrize("name", ["cut", "cut.gz"])
def test_a_truncated_file_is_refused_whole(tmp_path, name):
    write_idx(tmp_path / name, SMALL)
    whole = (tmp_path / name).read_bytes()
    for length in range(len(whole)):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"{name}: expected .*, got "):
            read_idx(tmp_path / name)


@pytest.mark.parametrize("name", ["long", "long.gz"])
def test_a_file_with_more_than_it_declares_is_refused(tmp_path, name):
    write_idx(tmp_path / name, SMALL)
    with (tmp_path / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=f"{name}: expected .*, got "):
        read_idx(tmp_path / name)
    (tmp_path / "inside.gz").write_bytes(gzip.compress(header(8, 3) + b"1234"))
    with pytest.raises(DataError, match="expected 3 bytes of data, got more"):
        read_idx(tmp_path / "inside.gz")


@given(data=st.data())
@settings(max_examples=200)
def test_a_flipped_bit_in_a_gzip_file_is_refused_or_harmless(folder, data):
    write_idx(folder / "flip.gz", SMALL)
    bits = bytearray((folder / "flip.gz").read_bytes())
    place = data.draw(st.integers(0, 8 * len(bits) - 1))
    bits[place // 8] ^= 1 << place % 8
    (folder / "flip.gz").write_bytes(bits)
    try:
        array = read_idx(folder / "flip.gz")
    except DataError:
        return
    np.testing.assert_array_equal(array, SMALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file, got an empty file"),
        (b"<!DOCTYPE html><html>404</html>", "got what looks like an HTML page"),
        (b"\xef\xbb\xbf\r\n <html>", "got what looks like an HTML page"),
        (b"\x89PNG\r\n\x1a\n....", "expected an IDX file, got a file that starts with 89 50 4e 47"),
        (b"\x01\x00\x08\x01\x00\x00\x00\x01x", "expected an IDX file, got a file that starts with 01"),
        (header(0x0A, 1) + b"x", "expected one of the type codes 0x08, .*, got 0x0a"),
        (header(0x08), "expected 1 to 32 axes, got 0"),
        (header(0x08, *[1] * 33) + b"x", "expected 1 to 32 axes, got 33"),
        (header(0x08, 4, 4)[:-1], "expected 12 bytes of header, got 11"),
        (header(0x0D, 2) + b"1234567", r"expected 16 bytes for shape \(2,\), got 15"),
        (
            header(0x08, 2**32 - 1, 2**32 - 1, 2**32 - 1),
            "expected at most 67108864 bytes of data, got 7",
        ),
        (header(0x08, 0, 2**32 - 1, 2**32 - 1, 2**32 - 1), "expected at most 67108864 bytes of data"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_idx_file_is_refused_by_name_and_reason(tmp_path, content, message, packed):
    if packed:
        message = message.replace(r"16 bytes for shape \(2,\), got 15", "8 bytes of data, got 7")
    path = tmp_path / "train-images"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=f"train-images: .*{message}"):
        read_idx(path)


def test_a_gzip_bomb_is_refused_by_its_declared_size_before_it_is_unpacked(tmp_path):
    declared = 10**9
    parts = [header(8, declared), bytes(2**20)]
    with gzip.open(tmp_path / "bomb.gz", "wb") as file:
        for part in parts:
            file.write(part)
    tracemalloc.start()
    try:
        with pytest.raises(
            DataError, match="at most 67108864 bytes of data, got 1000000000 in its header"
        ):
            read_idx(tmp_path / "bomb.gz")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_that_declares_little_is_left_after_that_little(tmp_path):
    with gzip.open(tmp_path / "bomb.gz", "wb") as file:
        file.write(header(8, 10))
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="expected 10 bytes of data, got more"):
            read_idx(tmp_path / "bomb.gz")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_limit_can_be_set_and_holds_to_the_byte(tmp_path):
    write_idx(tmp_path / "a.gz", SMALL)
    assert read_idx(tmp_path / "a.gz", max_bytes=SMALL.nbytes).shape == SMALL.shape
    with pytest.raises(
        DataError, match=f"at most {SMALL.nbytes - 1} bytes of data, got {SMALL.nbytes}"
    ):
        read_idx(tmp_path / "a.gz", max_bytes=SMALL.nbytes - 1)
    with pytest.raises(OptionError, match="max_bytes"):
        read_idx(tmp_path / "a.gz", max_bytes=0)


def test_the_default_limit_grows_with_the_file(tmp_path):
    # Noise of 1 MiB beside 95 MiB of zeros: above 64 MiB, yet below 100 times the file.
    noise = np.random.Generator(np.random.Philox(key=0)).bytes(2**20)
    n = 96 * 2**20
    with gzip.open(tmp_path / "large.gz", "wb", compresslevel=1) as file:
        file.write(header(8, n))
        file.write(noise)
        for _ in range(95):
            file.write(bytes(2**20))
    assert read_idx(tmp_path / "large.gz").size == n


def test_a_folder_a_pipe_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="expected an IDX file, got something that is not a file"):
        read_idx(tmp_path)
    with pytest.raises(DataError, match="nowhere: expected an IDX file, got No such file"):
        read_idx(tmp_path / "nowhere")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DataError, match="pipe: expected an IDX file"):
            read_idx(tmp_path / "pipe")


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_zeros_as_large_as_a_disk_is_refused_unread(tmp_path, packed, monkeypatch):
    path = tmp_path / "a"
    data = header(8, 1 << 30, 1 << 10)
    with path.open("wb") as file:
        # A gzip file may go on in zeros, which would all be read to be passed over.
        file.write(gzip.compress(data) if packed else data)
        file.truncate(len(data) + (1 << 40))
    with pytest.raises(DataError, match=r"a: expected at most \d+ bytes of data"):
        read_idx(path)
    monkeypatch.setenv("FNN_LIMITS", "idx=10")
    write_idx(tmp_path / "b", SMALL)
    with pytest.raises(DataError, match=f"at most 10 bytes of data, got {SMALL.nbytes}"):
        read_idx(tmp_path / "b")
    assert read_idx(tmp_path / "b", max_bytes=SMALL.nbytes).shape == SMALL.shape


@pytest.mark.parametrize("dtype", ["i8", "u2", "f2", "c8", "?", "U1", "O"])
def test_a_dtype_without_a_code_is_not_written(tmp_path, dtype):
    with pytest.raises(DTypeError, match=r"write_idx: expected one of uint8, .*, got "):
        write_idx(tmp_path / "a", np.zeros(3, dtype))
    assert not list(tmp_path.iterdir())


def test_a_scalar_is_not_written(tmp_path):
    with pytest.raises(ShapeError, match="expected 1 to 32 axes"):
        write_idx(tmp_path / "a", np.float32(1))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_idx(tmp_path / "a", SMALL)

    def fail(*_):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DataError, match="disk full"):
        write_idx(tmp_path / "a", SMALL + 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), SMALL)


@given(
    content=st.binary(max_size=64),
    lead=st.sampled_from([b"", b"\0\0", header(8, 2, 2), b"\x1f\x8b\x08"]),
)
def test_any_bytes_at_all_are_read_exactly_or_refused(folder, content, lead):
    path = folder / "any"
    path.write_bytes(lead + content)
    try:
        array = read_idx(path)
    except DataError:
        return
    whole = lead + content
    assert len(whole) == 4 + 4 * array.ndim + array.itemsize * math.prod(array.shape)
