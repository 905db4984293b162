"""Keys: the same draws anywhere, any time, and no randomness but theirs."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn.errors import OptionError
from fnn.keys import Key

NAMES = st.lists(st.text(max_size=4) | st.integers(-3, 12), max_size=4)

# --- golden vectors


@pytest.mark.parametrize(
    ("make", "bits"),
    [
        (lambda: Key.of(0), "941bffd05edb35ce133a823c971f35c9"),
        (lambda: Key.of(1), "24e28a9de42a8c6297ff1a5bd71ddb3a"),
        (lambda: Key.of(-1), "000c645932a0ae7ed4a30188c53fc261"),
        (lambda: Key.of(2**200), "cf3f1c6541607ea841dacab13eb46abe"),
        (lambda: Key.of(0).fold("w"), "e329ed64f2ff42f7e1cd3e7194f080a3"),
        (lambda: Key.of(0).fold("dense_0", "w"), "76159c5e918bec215830ef93268a43d7"),
        (lambda: Key.of(0).fold("step", 7), "d2e903d054b82ea627113d3c241691d0"),
        (lambda: Key.of(0).fold("é"), "535c51a387894ee0a35dcddfd7e7e6b4"),
        (lambda: Key.of(0).split(2)[0], "4e1f6c153428ab7f89f2cdefdabda121"),
        (lambda: Key.of(0).split(2)[1], "3d84acc8d69ca38d4827209ec701b00f"),
    ],
)
def test_the_bits_of_keys_are_pinned(make, bits):
    assert make().bits.hex() == bits


def test_the_raw_bits_of_generators_are_pinned():
    assert [hex(word) for word in Key.of(0).generator().bit_generator.random_raw(4)] == [
        "0x71c8723bb486e677",
        "0x1296aadeaa182342",
        "0x37a035cdebb8c81e",
        "0x72c1fe6ca877d601",
    ]
    assert [hex(word) for word in Key.of(7).generator().bit_generator.random_raw(2)] == [
        "0xcb1e2c42b2388352",
        "0xadd2bd2c0ac9f7e9",
    ]


def test_numpys_distributions_still_draw_what_they_drew():
    assert [float(v).hex() for v in Key.of(0).generator().standard_normal(3)] == [
        "0x1.a396ae6c9950ep-1",
        "-0x1.4a695b0d92796p-1",
        "0x1.2fe550f417157p-1",
    ]
    assert [float(v).hex() for v in Key.of(0).generator().standard_normal(3, "float32")] == [
        "0x1.0a385a0000000p+0",
        "0x1.e1aa1e0000000p-2",
        "-0x1.79edac0000000p-1",
    ]
    assert [float(v).hex() for v in Key.of(0).generator().random(3, "float32")] == [
        "0x1.690dcc0000000p-1",
        "0x1.c721c80000000p-2",
        "0x1.5430460000000p-1",
    ]
    assert Key.of(0).generator().permutation(10).tolist() == [4, 3, 8, 0, 1, 5, 9, 6, 2, 7]


def test_another_process_draws_the_same():
    code = (
        "import sys; from fnn import Key; "
        "sys.stdout.write(Key.of(3).fold('a', 1).generator().standard_normal(9).tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == Key.of(3).fold("a", 1).generator().standard_normal(9).tobytes().hex()


# --- fold and split


@given(NAMES, NAMES)
def test_different_paths_give_different_keys_and_equal_ones_equal_keys(a, b):
    typed = [[(type(name), name) for name in names] for names in (a, b)]
    assert (Key.of(0).fold(*a) == Key.of(0).fold(*b)) == (typed[0] == typed[1])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("a", "b"), ("ab",)),
        (("a", "b"), ("b", "a")),
        ((1,), ("1",)),
        ((1, 2), (12,)),
        (("",), ()),
        (("", ""), ("",)),
        ((-1,), (1,)),
        ((0,), ("",)),
        (("a/b",), ("a", "b")),
        (("str:1:a",), ("a",)),
        ((0,), (2**64,)),
    ],
)
def test_paths_that_look_alike_are_different(a, b):
    assert Key.of(0).fold(*a) != Key.of(0).fold(*b)


@given(NAMES, NAMES)
def test_folding_a_path_is_folding_name_by_name(a, b):
    assert Key.of(5).fold(*a, *b) == Key.of(5).fold(*a).fold(*b)


@pytest.mark.parametrize("three", [np.int64(3), np.uint8(3), np.int16(3), np.array(3)])
def test_equal_integers_fold_alike_whatever_their_type(three):
    assert Key.of(0).fold(three) == Key.of(0).fold(3)
    assert Key.of(three) == Key.of(3)
    assert Key.of(0).fold(True) == Key.of(0).fold(1)
    assert Key.of(0).fold(np.str_("a")) == Key.of(0).fold("a")


@pytest.mark.parametrize("name", [1.0, np.float64(1), None, b"a", ("a",), 1j])
def test_other_names_and_seeds_are_type_errors(name):
    with pytest.raises(TypeError):
        Key.of(0).fold(name)
    with pytest.raises(TypeError):
        Key.of(name)


def test_a_string_is_no_seed():
    with pytest.raises(TypeError):
        Key.of("0")


def test_different_seeds_give_different_keys():
    assert len({Key.of(seed) for seed in range(-500, 500)}) == 1000


def test_split_keys_are_distinct_from_each_other_and_from_every_fold():
    key = Key.of(0)
    split = key.split(50)
    folds = [key.fold(name) for i in range(50) for name in (i, str(i), f"split:1:{i}", "split")]
    folds += [key.fold("split", i) for i in range(50)]
    assert len({key, *split, *folds}) == 1 + 50 + 4 * 50 - 49 + 50


def test_split_keys_do_not_depend_on_their_number():
    assert Key.of(0).split(5)[:3] == Key.of(0).split(3) == Key.of(0).split(np.int64(3))
    assert Key.of(0).split(0) == ()


def test_split_refuses_what_is_no_count():
    with pytest.raises(OptionError, match=r"Key.split: expected a count of 0 or more, got -1"):
        Key.of(0).split(-1)
    with pytest.raises(TypeError):
        Key.of(0).split(2.0)


# --- values


def test_keys_are_values_that_pickle_copy_hash_and_print():
    key = Key.of(0).fold("a")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(key, protocol)) == key
    assert copy.deepcopy(key) == copy.copy(key) == key
    assert hash(copy.deepcopy(key)) == hash(key)
    assert repr(key) == f"Key({key.bits.hex()})"
    assert key != Key.of(0)
    assert key != key.bits
    with pytest.raises(AttributeError):
        key.bits = bytes(16)


@pytest.mark.parametrize("bits", [0, "seed", b"short", bytearray(16), None])
def test_the_constructor_says_how_to_get_a_key(bits):
    with pytest.raises(OptionError, match=r"Key: expected 16 bytes, got .*; write Key.of\(seed\)"):
        Key(bits)


def test_every_generator_starts_anew():
    key = Key.of(0)
    first = key.generator()
    first.random(100)
    assert key.generator().random() == key.generator().random()
    assert key.generator() is not key.generator()


# --- no global state


def global_state():
    name, words, *rest = np.random.get_state()  # noqa: NPY002 - to see that it stays as it is
    return name, words.tobytes(), *rest


def train_a_little():
    net = fnn.serial(fnn.Dense(4), fnn.BatchNorm(), fnn.Relu(), fnn.Dropout(0.5), fnn.Dense(2))
    x = Key.of(1).generator().standard_normal((12, 3), "float32")
    data = fnn.Dataset(x, np.arange(12) % 2)
    return fnn.fit(
        net, fnn.softmax_cross_entropy, fnn.adam(0.1), data, epochs=2, batch_size=5, key=Key.of(0)
    ).last


def test_training_neither_reads_nor_moves_numpys_global_state():
    kept = np.random.get_state()  # noqa: NPY002 - to put it back
    try:
        before = global_state()
        first = train_a_little()
        assert global_state() == before
        np.random.seed(1)  # noqa: NPY002 - another state, that must make no difference
        before = global_state()
        second = train_a_little()
        assert fnn.tree.digest(first.params) == fnn.tree.digest(second.params)
        for name in fnn.INITIALIZERS:
            fnn.INITIALIZERS[name](Key.of(0).split(2)[1], (3, 4))
        assert global_state() == before
    finally:
        np.random.set_state(kept)  # noqa: NPY002
