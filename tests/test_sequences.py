"""Texts as tokens, windows and streams over them, padding, masks and buckets, against plain loops."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnn
from fnn.errors import DataError, DTypeError, OptionError, ShapeError

KEY = fnn.Key.of(2)
TEXT = "To be, or not to be:\nthat is the question.\n"

# --- codecs ---------------------------------------------------------------------------------------


@given(text=st.text(st.characters(exclude_categories=()), min_size=1))
def test_characters_are_encoded_and_decoded_without_loss(text):
    codec = fnn.Characters.fit(text)
    tokens = codec.encode(text)
    assert (tokens.dtype, tokens.shape) == (np.int64, (len(text),))
    assert [codec.characters[token] for token in tokens] == list(text)
    assert codec.decode(tokens) == text
    assert len(codec) == len(set(text)) == tokens.max() + 1


@given(text=st.text())
def test_bytes_are_encoded_and_decoded_without_loss(text):
    codec = fnn.Bytes()
    tokens = codec.encode(text)
    assert tokens.tolist() == list(text.encode())
    assert codec.encode(text.encode()).tolist() == tokens.tolist()
    assert codec.decode(tokens) == text
    assert len(codec) == 256


def test_characters_are_a_value_that_prints_compares_and_pickles():
    codec = fnn.Characters.fit("ba\nab")
    assert repr(codec) == r"Characters('\nab')"
    assert codec == fnn.Characters("\nab") != fnn.Characters("ab")
    for other in (pickle.loads(pickle.dumps(codec)), copy.deepcopy(codec)):
        assert other == codec
        assert hash(other) == hash(codec)


def test_an_empty_text_is_encoded_as_no_tokens_by_a_codec_that_knows_some():
    assert fnn.Characters("ab").encode("").shape == (0,)
    assert fnn.Characters("ab").decode([]) == ""
    assert fnn.Bytes().decode(np.zeros(0, np.int64)) == ""


def test_bytes_that_are_no_utf_8_are_replaced():
    assert fnn.Bytes().decode([65, 0xFF, 66]) == "A\ufffdB"


CODEC = fnn.Characters.fit("abc\n")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fnn.Characters.fit(""), DataError, "Characters.fit: .* got an empty text"),
        (lambda: fnn.Characters.fit(b"ab"), DTypeError, "Characters.fit: expected a text, got bytes"),
        (lambda: fnn.Characters("ba"), OptionError, "Characters: expected distinct characters in"),
        (lambda: fnn.Characters(""), OptionError, "Characters: expected distinct characters"),
        (lambda: CODEC.encode("ab\nbcx"), DataError, r"text\[5\] = 'x' \(line 2, column 3\)"),
        (lambda: CODEC.encode("é"), DataError,
         r"expected one of 4 .* text\[0\] = 'é' \(line 1, column 1\)"),
        (lambda: CODEC.encode("\nx"), DataError, r"text\[1\] = 'x' \(line 2, column 1\)"),
        (lambda: CODEC.encode(["a"]), DTypeError, "Characters.encode: expected a text, got list"),
        (lambda: CODEC.decode([0, 4]), DataError,
         r"Characters.decode: tokens\[1\] = 4 is not in \[0, 4\)"),
        (lambda: CODEC.decode([-1]), DataError, r"tokens\[0\] = -1"),
        (lambda: CODEC.decode([0.5]), DTypeError, "tokens of an integer dtype, got float64"),
        (lambda: CODEC.decode([[0]]), ShapeError, r"tokens on one axis, got shape \(1, 1\)"),
        (lambda: fnn.Bytes().encode(3), DTypeError, "Bytes.encode: expected a text, got int"),
        (lambda: fnn.Bytes().encode("a\n\ud800"), DataError, r"text\[2\] = .*\(line 2, column 1\)"),
        (lambda: fnn.Bytes().decode([256]), DataError, r"tokens\[0\] = 256 is not in \[0, 256\)"),
    ],
)  # fmt: skip
def test_what_no_codec_knows_is_refused_with_its_place(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- windows --------------------------------------------------------------------------------------


@given(n=st.integers(2, 40), length=st.integers(1, 8), stride=st.none() | st.integers(1, 9))
def test_windows_are_all_that_fit_with_their_next_tokens(n, length, stride):
    if n < length + 1:
        return
    tokens, step = np.arange(n) * 3, stride or length
    data = fnn.text_windows(tokens, length, stride=stride)
    starts = [at for at in range(0, n, step) if at + length + 1 <= n]
    np.testing.assert_array_equal(data.x, [tokens[at : at + length] for at in starts])
    np.testing.assert_array_equal(data.y, [tokens[at + 1 : at + 1 + length] for at in starts])


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, ">i4"])
def test_windows_copy_the_tokens_once_and_nothing_else(dtype):
    tokens = (np.arange(100_000) % 100).astype(dtype)
    tracemalloc.start()
    data = fnn.text_windows(tokens, 64, stride=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * tokens.nbytes
    assert np.shares_memory(data.x, data.y)
    assert not data.x.flags.writeable
    tokens[:] = 0
    assert data.x[5, 0] == 5
    frozen = np.arange(20)
    frozen.setflags(write=False)
    assert np.shares_memory(fnn.text_windows(frozen, 4).x, frozen)


def test_windows_are_batched_split_and_pickled_as_any_data():
    data = fnn.text_windows(fnn.Characters.fit(TEXT).encode(TEXT), 5, stride=2)
    copied = pickle.loads(pickle.dumps(data))
    assert copied.digest() == data.digest()
    for (x, y), (x_copied, _) in zip(
        fnn.batches(data, 4, key=KEY), fnn.batches(copied, 4, key=KEY), strict=True
    ):
        np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
        np.testing.assert_array_equal(x, x_copied)


@given(n=st.integers(2, 60), length=st.integers(1, 5), batch_size=st.integers(1, 4))
def test_each_row_of_a_batch_of_streams_goes_on_where_it_ended(n, length, batch_size):
    tokens = np.arange(n)
    if n < length * batch_size + 1:
        return
    data = fnn.text_streams(tokens, length, batch_size=batch_size)
    found = list(fnn.batches(data, batch_size))
    steps = (n - 1) // (length * batch_size)
    assert len(found) == steps
    x = np.concatenate([x for x, _ in found], axis=1)
    y = np.concatenate([y for _, y in found], axis=1)
    assert x.shape == (batch_size, steps * length)
    np.testing.assert_array_equal(x.reshape(-1), np.arange(x.size))
    np.testing.assert_array_equal(y, x + 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fnn.text_windows([], 4), DataError, r"text_windows: .* 5 tokens .* got none"),
        (lambda: fnn.text_windows(CODEC.encode(""), 4), DataError, "got none"),
        (lambda: fnn.text_windows([1, 2, 3], 3), DataError, "expected at least 4 tokens .* got 3"),
        (lambda: fnn.text_windows(TEXT, 3), DTypeError, r"got a text; Characters.fit\(text\).encode"),
        (lambda: fnn.text_windows([1.0, 2], 1), DTypeError, "integer dtype, got float64"),
        (lambda: fnn.text_windows([[1, 2]], 1), ShapeError, r"on one axis, got shape \(1, 2\)"),
        (lambda: fnn.text_windows([1, 2], 0), OptionError, "length: expected 1 or more"),
        (lambda: fnn.text_windows([1, 2], 1, stride=0), OptionError, "stride: expected 1 or more"),
        (lambda: fnn.text_streams([1, 2, 3, 4], 2, batch_size=2), DataError,
         "at least 5 tokens .* got 4"),
        (lambda: fnn.text_streams([], 2, batch_size=2), DataError, "text_streams: .* got none"),
        (lambda: fnn.text_streams([1, 2], 1, batch_size=0), OptionError, "batch_size: expected 1 or"),
    ],
)  # fmt: skip
def test_tokens_that_give_no_window_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- padding --------------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=8), more=st.none() | st.integers(0, 3))
def test_padding_puts_the_value_after_each_sequence(lengths, more):
    if not any(lengths):
        return
    sequences = [list(range(1, n + 1)) for n in lengths]
    length = None if more is None else max(lengths) + more
    array, found = fnn.pad_sequences(sequences, value=-1, length=length)
    time = max(lengths) if length is None else length
    assert array.tolist() == [each + [-1] * (time - len(each)) for each in sequences]
    assert (found.tolist(), found.dtype) == (lengths, np.int64)
    np.testing.assert_array_equal(fnn.length_mask(found, time), array != -1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.bool_])
def test_padding_keeps_dtype_and_features(dtype):
    sequences = [np.ones((n, 3), dtype) for n in (2, 5, 1)]
    array, _ = fnn.pad_sequences(sequences)
    assert (array.shape, array.dtype) == ((3, 5, 3), dtype)
    assert array.sum() == 3 * 8


def test_padding_agrees_with_torch():
    torch = pytest.importorskip("torch")
    sequences = [np.random.default_rng(n).normal(size=(n, 2)) for n in (3, 1, 4)]
    want = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(each) for each in sequences], batch_first=True, padding_value=0.5
    )
    np.testing.assert_array_equal(fnn.pad_sequences(sequences, value=0.5)[0], want.numpy())


SEQUENCES = [[1, 2, 3], [4], [5, 6]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fnn.pad_sequences([]), DataError, "pad_sequences: expected at least one sequence"),
        (lambda: fnn.pad_sequences("abc"), DTypeError, "expected a list of sequences, got str"),
        (lambda: fnn.pad_sequences(3), DTypeError, "expected a list of sequences, got int"),
        (lambda: fnn.pad_sequences([[1], 2]), ShapeError, r"sequences\[1\]: expected an axis of time"),
        (lambda: fnn.pad_sequences([[1], [2.0]]), DTypeError,
         r"sequences\[1\]: .*int64 as in the first"),
        (lambda: fnn.pad_sequences([[1], ["a"]]), DTypeError, r"sequences\[1\]: expected numbers"),
        (lambda: fnn.pad_sequences([np.ones((2, 3)), np.ones((2, 4))]), ShapeError,
         r"\(3,\) .* \(4,\)"),
        (lambda: fnn.pad_sequences(SEQUENCES, length=2), DataError,
         r"sequences\[0\]: .* 2 steps, got 3"),
        (lambda: fnn.pad_sequences(SEQUENCES, value=0.5), OptionError,
         "number that int64 holds, got 0.5"),
        (lambda: fnn.pad_sequences(SEQUENCES, value="x"), OptionError, "value: .* got 'x'"),
        (lambda: fnn.pad_sequences(SEQUENCES, value=[0, 1]), OptionError, "value: .* got"),
        (lambda: fnn.pad_sequences([np.ones(2, np.uint8)], value=-1), OptionError,
         "uint8 holds, got -1"),
        (lambda: fnn.length_mask([1, 4], 3), DataError,
         r"length_mask: lengths\[1\] = 4 is not in \[0, 3\]"),
        (lambda: fnn.length_mask([-1], 3), DataError, r"lengths\[0\] = -1"),
        (lambda: fnn.length_mask([1.0], 3), DTypeError, "integer dtype, got float64"),
        (lambda: fnn.length_mask(1, 3), ShapeError, "lengths on one axis"),
        (lambda: fnn.length_mask([1], -1), OptionError, "time: expected 0 or more"),
        (lambda: fnn.bucket_batches(SEQUENCES, [0, 1], 2), DataError, "got 2 for 3"),
        (lambda: fnn.bucket_batches([], [], 2), DataError, "at least one sequence"),
        (lambda: fnn.bucket_batches(SEQUENCES, ["a"] * 3, 2), DTypeError, "bucket_batches: targets"),
        (lambda: fnn.bucket_batches(SEQUENCES, [0] * 3, 0), OptionError, "size: expected 1 or more"),
        (lambda: fnn.bucket_batches(SEQUENCES, [0] * 3, 1, width=0), OptionError, "width: expected 1"),
        (lambda: fnn.bucket_batches(SEQUENCES, [0] * 3, 1, key=1), OptionError, "key: expected a Key"),
        (lambda: fnn.bucket_batches(SEQUENCES, [0] * 3, 4, drop_last=True), DataError,
         "whole batch of 4"),
    ],
)  # fmt: skip
def test_what_cannot_be_padded_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- buckets --------------------------------------------------------------------------------------


def ramp(lengths):
    return [np.arange(n) + 100 * (i + 1) for i, n in enumerate(lengths)]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=30),
    size=st.integers(1, 5),
    width=st.integers(1, 6),
    seed=st.none() | st.integers(0, 5),
)
def test_every_sequence_comes_once_with_its_target_and_less_than_a_width_of_padding(
    lengths, size, width, seed
):
    key = None if seed is None else fnn.Key.of(seed)
    made = fnn.bucket_batches(
        ramp(lengths), np.arange(len(lengths)), size, width=width, value=-1, key=key
    )
    seen, partial = [], {}
    found = list(made)
    assert len(found) == len(made)
    for (x, n), y in found:
        assert x.shape[0] == len(n) == len(y) <= size
        assert x.shape[1] % width == 0
        for row, each, target in zip(x, n, y, strict=True):
            assert (max(1, each) + width - 1) // width * width == x.shape[1]
            want = ramp(lengths)[target]
            assert row.tolist() == want.tolist() + [-1] * (x.shape[1] - each)
        bucket = -(-int(n[0]) // width)
        partial[bucket] = partial.get(bucket, 0) + (len(y) < size)
        seen += y.tolist()
        assert not x.flags.writeable
    assert sorted(seen) == list(range(len(lengths)))
    assert set(partial.values()) <= {0, 1}, "one smaller batch per bucket"


def test_buckets_are_a_function_of_their_key_and_go_on_from_any_batch():
    sequences = ramp(np.random.default_rng(0).integers(1, 30, 50))

    def order(key, first=0):
        made = fnn.bucket_batches(sequences, np.arange(50), 4, key=key)
        return [y.tolist() for _, y in made.since(first)]

    whole = order(KEY)
    assert order(KEY) == whole
    assert order(fnn.Key.of(9)) != whole
    for first in range(len(whole) + 1):
        assert order(KEY, first) == whole[first:]
    lengths = [len(sequences[at]) for batch in order(None) for at in batch]
    buckets = [-(-n // 8) for n in lengths]
    assert buckets == sorted(buckets)


def test_smaller_batches_are_left_out_when_asked():
    made = fnn.bucket_batches(ramp([1, 2, 3, 4, 5]), np.arange(5), 2, drop_last=True, key=KEY)
    assert [len(y) for _, y in made] == [2, 2]
    assert len(made) == 2
