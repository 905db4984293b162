"""Tables as values, and the codec that makes examples of them, against loops and scikit-learn."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnn
from fnn.errors import DataError, DTypeError, OptionError, ShapeError

KEY = fnn.Key.of(1)
NONE = float("nan")


def table(**columns):
    given = {"age": [1.0, 4.0, 7.0], "city": ["Rome", "Oslo", "Rome"], "y": ["no", "yes", "no"]}
    return fnn.Table.of({**given, **columns})


# --- Table ----------------------------------------------------------------------------------------


def test_a_table_of_columns_has_numbers_and_categories():
    made = fnn.Table.of(
        {
            "ints": np.array([3, 1, 2], np.uint8),
            "flags": [True, False, True],
            "texts": np.array(["b", "a", "b"]),
            "mixed": [None, 2, 3.5],
            "holes": ["x", None, NONE],
        }
    )
    assert [column.type for column in made.columns.values()] == [
        "number", "number", "category", "number", "category"
    ]  # fmt: skip
    np.testing.assert_array_equal(made["mixed"].values, [np.nan, 2, 3.5])
    assert made["ints"].values.dtype == np.float64
    assert made["holes"].categories == ("x",)
    np.testing.assert_array_equal(made["holes"].values, [0, -1, -1])
    as_texts = fnn.Table.of({"n": [10, 9]}, types={"n": "category"})
    assert as_texts["n"].categories == ("9", "10")


class Frame:
    """What a data frame answers, as far as it is asked."""

    def __init__(self, **columns):
        self._columns = columns

    @property
    def columns(self):
        return list(self._columns)

    def __getitem__(self, name):
        return self._columns[name]


def test_a_data_frame_is_taken_column_by_column():
    frame = Frame(age=np.array([1.0, 4.0, 7.0]), city=np.array(["Rome", None, "Rome"], object))
    made = fnn.Table.of(frame)
    assert repr(made) == "Table(3 rows; age: number, city: 1 categories)"
    np.testing.assert_array_equal(made["city"].values, [0, -1, 0])


def test_a_frame_of_pandas_is_taken():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": pandas.Categorical(["x", None]), "c": ["u", pandas.NA]})
    made = fnn.Table.of(frame)
    np.testing.assert_array_equal(made["b"].missing, [False, True])
    np.testing.assert_array_equal(made["c"].missing, [False, True])
    np.testing.assert_array_equal(fnn.Dataset(frame[["a"]], [0, 1]).x, [[1], [2]])


def test_rows_are_selected_and_categories_keep_their_codes():
    chosen = table().select([2, 2, 1])
    np.testing.assert_array_equal(chosen["age"].values, [7, 7, 4])
    assert chosen["city"].categories == ("Oslo", "Rome")
    only_rome = table().select([0, 2])
    assert only_rome["city"].categories == ("Oslo", "Rome")
    with pytest.raises(DataError, match=r"Table.select: indices\[0\] = 3 is not in \[0, 3\)"):
        table().select([3])


def test_a_table_is_a_value_that_pickles_read_only():
    flats = fnn.flats()
    for other in (pickle.loads(pickle.dumps(flats)), copy.deepcopy(flats)):
        assert repr(other) == repr(flats)
        assert other.place(3, "rooms") == flats.place(3, "rooms")
        for name, column in other.columns.items():
            np.testing.assert_array_equal(column.values, flats[name].values)
            assert not column.values.flags.writeable
    ages = np.arange(3.0)
    made = table(age=ages)
    ages[:] = 9
    assert made["age"].values[0] == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: table(age=[1.0, 2.0]), DataError, "as many in all columns, got {'age': 2, 'city': 3"),
        (lambda: fnn.Table.of({"a": []}), DataError, "Table.of: expected rows"),
        (lambda: fnn.Table.of({}), DataError, "Table.of: expected columns that have texts as names"),
        (lambda: fnn.Table.of(3), DataError, "Table.of: expected columns"),
        (lambda: fnn.Table.of({1: [1]}), DataError, "Table.of: expected columns that have texts"),
        (lambda: table(age=[1.0, np.inf, 0]), DataError,
         r"row 1, column 1 \('age'\): .*finite .*got inf"),
        (lambda: table(age=[1.0, None, "x"]), DataError,
         r"row 2, column 1 \('age'\): expected a number"),
        (lambda: table(age=[[1.0], [2.0], [3.0]]), DataError, r"on one axis, got shape \(3, 1\)"),
        (lambda: table(age=[1j, 2j, 3j]), DataError, "numbers or texts, got dtype complex128"),
        (lambda: table(age=np.zeros(3, "M8[s]")), DataError, "numbers or texts, got dtype datetime64"),
        (lambda: fnn.Table.of({"a": [1]}, types={"b": "number"}), OptionError, "Table.of: types: "),
        (lambda: table()["size"], OptionError, r"Table: expected one of \['age', 'city', 'y'\]"),
        (lambda: table(city=["a", "b", "c"], age=["1", "2", "3"]).dataset(target="q"), OptionError,
         "expected columns among"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- the codec ------------------------------------------------------------------------------------


def test_numbers_are_standardised_and_categories_one_hot():
    codec = fnn.TableCodec.fit(table(), target="y")
    data = codec.dataset(table())
    assert codec.names == ("age", "city=Oslo", "city=Rome")
    assert codec.classes == ("no", "yes")
    assert repr(codec) == "TableCodec(2 columns as 3 numbers to predict 'y')"
    r = np.sqrt(1.5)
    np.testing.assert_allclose(data.x, [[-r, 0, 1], [0, 1, 0], [r, 0, 1]], rtol=1e-6)
    assert (data.x.dtype, data.y.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(data.y, [0, 1, 0])
    assert table().dataset(target="y").digest() == data.digest()


def test_what_was_learnt_holds_for_new_data_in_any_order_of_columns():
    codec = fnn.TableCodec.fit(table(), target="y", dtype="float64")
    new = fnn.Table.of({"more": [0.0], "city": ["Oslo"], "age": [10.0]})
    np.testing.assert_allclose(codec.encode(new), [[(10 - 4) / np.sqrt(6), 1, 0]])
    again = pickle.loads(pickle.dumps(codec))
    assert again == codec
    np.testing.assert_array_equal(again.encode(new), codec.encode(new))
    assert codec.types == {"age": "number", "city": "category", "y": "category"}


def test_numbers_may_stay_as_they_are_and_targets_be_numbers():
    data = table().dataset(target="age", standardize=False, features=["y", "city"])
    np.testing.assert_array_equal(data.x, [[1, 0, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1]])
    np.testing.assert_array_equal(data.y, [[1], [4], [7]])
    assert data.y.dtype == np.float32
    plain = table().dataset(target="y", features="age", standardize=False)
    np.testing.assert_array_equal(plain.x, [[1], [4], [7]])


def test_numbers_to_predict_are_scaled_and_taken_back():
    table = fnn.Table.of({"a": [1.0, 2.0, 4.0], "price": [100.0, 300.0, 800.0]})
    codec = fnn.TableCodec.fit(table, target="price", standardize_target=True, dtype="float64")
    data, plain = codec.dataset(table), table.dataset(target="price", dtype="float64")
    np.testing.assert_array_equal(data.x, plain.x)
    mean, std = np.mean(plain.y), np.std(plain.y)
    np.testing.assert_allclose(data.y, (plain.y - mean) / std, rtol=1e-14)
    np.testing.assert_allclose(codec.decode(data.y), plain.y, rtol=1e-14)
    # By what was learnt, whatever other tables hold; and of any shape and precision.
    other = fnn.Table.of({"a": [0.0], "price": [5.0]})
    np.testing.assert_allclose(codec.dataset(other).y, [[(5 - mean) / std]], rtol=1e-14)
    decoded = codec.decode(data.y[:, 0].astype("float32"))
    assert (decoded.dtype, decoded.shape) == (np.float64, (3,))
    assert pickle.loads(pickle.dumps(codec)) == codec
    np.testing.assert_array_equal(fnn.TableCodec.fit(table, target="price").decode(plain.y), plain.y)


def test_codes_to_predict_are_taken_back_to_names():
    table = fnn.Table.of({"a": [1.0, 2.0, 4.0], "city": ["Rome", "Bonn", "Rome"]})
    codec = fnn.TableCodec.fit(table, target="city", standardize_target=True)
    assert codec == fnn.TableCodec.fit(table, target="city")
    assert codec.decode(codec.dataset(table).y).tolist() == ["Rome", "Bonn", "Rome"]
    for y, error, message in (
        ([0, 2], DataError, r"TableCodec.decode: indices\[1\] = 2 is not in \[0, 2\)"),
        ([0.5], ShapeError, "TableCodec.decode: indices: expected integers on one axis"),
    ):
        with pytest.raises(error, match=message):
            codec.decode(y)
    with pytest.raises(OptionError, match="target: expected a column, got None"):
        fnn.TableCodec.fit(table).decode([0])
    numbers = fnn.TableCodec.fit(table, target="a")
    with pytest.raises(fnn.DTypeError, match="y: expected real numbers, got complex128"):
        numbers.decode([1j])


def test_categories_may_stay_integers_for_an_embedding():
    data = table().dataset(target="y", one_hot=False)
    assert data.in_shape == ((1,), (1,))
    np.testing.assert_array_equal(data.x[1], [[1], [0], [1]])
    assert data.x[1].dtype == np.int64
    codes = table().dataset(target="y", features=["city"], one_hot=False)
    np.testing.assert_array_equal(codes.x, [[1], [0], [1]])
    numbers = table().dataset(target="y", features=["age"], one_hot=False)
    assert numbers.x.shape == (3, 1)
    assert fnn.TableCodec.fit(table(), one_hot=False).names == ("age", "city", "y")


HOLES = {"age": [1.0, None, 7.0], "city": ["Rome", "Oslo", None], "y": ["no", "yes", "no"]}


def test_a_row_in_which_something_is_missing_is_refused_left_out_or_filled():
    holes = fnn.Table.of(HOLES)
    with pytest.raises(
        DataError, match=r"row 1, column 1 \('age'\): expected a value, got none \(missing="
    ):
        holes.dataset(target="y")
    dropped = fnn.TableCodec.fit(holes, target="y", missing="drop")
    data = dropped.dataset(holes, weight=[2, 3, 4])
    assert len(data) == 1
    np.testing.assert_array_equal(data.weight, [2])
    np.testing.assert_array_equal(data.x[0, 0], 0)
    filled = fnn.TableCodec.fit(holes, target="y", missing="fill")
    np.testing.assert_allclose(filled.encode(holes), [[-1, 0, 1], [0, 1, 0], [1, 0, 0]])
    codes = fnn.TableCodec.fit(holes, target="y", missing="fill", one_hot=False, standardize=False)
    numbers, integers = codes.encode(holes)
    np.testing.assert_array_equal(numbers, [[1], [4], [7]])
    np.testing.assert_array_equal(integers, [[1], [0], [2]])


def test_a_missing_target_is_refused_or_left_out_but_never_filled():
    holes = table(y=["no", None, "no"])
    with pytest.raises(
        DataError, match=r"row 1, column 3 \('y'\): expected a value, .*missing='drop'\)"
    ):
        holes.dataset(target="y", missing="fill")
    assert len(holes.dataset(target="y", missing="drop")) == 2
    with pytest.raises(DataError, match="expected a value"):
        table(age=[1, None, 2]).dataset(target="age", missing="fill")


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8),
    shift=st.sampled_from([0.0, 1e9]),
    scale=st.sampled_from([1.0, 1e-200, 1e150, 1e290]),
)
def test_scaling_is_the_two_pass_formula_at_any_scale(values, shift, scale):
    numbers = (np.array(values) + shift) * scale
    got = fnn.TableCodec.fit(fnn.Table.of({"a": numbers}), dtype="float64").encode(
        fnn.Table.of({"a": numbers})
    )[:, 0]
    spread = np.ptp(numbers) or 1.0
    parts = (numbers - numbers[0]) / spread
    std = parts.std() if np.ptp(numbers) else 1.0
    np.testing.assert_allclose(got, (parts - parts.mean()) / std, rtol=1e-6, atol=1e-4)


def test_it_agrees_with_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rng = np.random.default_rng(0)
    a, b = rng.normal(5, 3, 60), rng.exponential(2, 60)
    c = rng.choice(["x", "yy", "z"], 60)
    made = fnn.Table.of({"a": a, "c": c, "b": b})
    x = fnn.TableCodec.fit(made, dtype="float64").encode(made)
    want = preprocessing.StandardScaler().fit_transform(np.stack([a, b], 1))
    np.testing.assert_allclose(x[:, :2], want, rtol=1e-12, atol=1e-12)
    one_hot = preprocessing.OneHotEncoder(sparse_output=False).fit_transform(c[:, None])
    np.testing.assert_array_equal(x[:, 2:], one_hot)


def test_a_constant_column_becomes_zeros():
    np.testing.assert_array_equal(table(age=[0.1] * 3).dataset(target="y", features="age").x, 0)


CODEC = fnn.TableCodec.fit(table(), target="y")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: CODEC.encode(table(city=["Rome", "Bonn", "Rome"])), DataError,
         r"row 1, column 2 \('city'\): expected one of \['Oslo', 'Rome'\], got 'Bonn'"),
        (lambda: CODEC.encode(table(city=[1, 2, 3])), DataError,
         r"row 0, column 2 \('city'\): expected a category, got a number \(types=codec.types"),
        (lambda: CODEC.encode(table(age=["1", "2", "3"])), DataError,
         "expected a number, got a category"),
        (lambda: CODEC.encode(fnn.Table.of({"age": [1.0]})), OptionError,
         "expected one of .*got 'city'"),
        (lambda: CODEC.dataset(table(y=["no", "maybe", "no"])), DataError,
         r"column 3 \('y'\): expected one of \['no', 'yes'\], got 'maybe'"),
        (lambda: fnn.TableCodec.fit(table()).dataset(table()), OptionError,
         "target: expected a column"),
        (lambda: fnn.TableCodec.fit(table(age=[None] * 3)), DataError,
         "values in column 'age', got none"),
        (lambda: fnn.TableCodec.fit(table(y=[None] * 3), target="y"), DataError,
         "in column 'y', got none"),
        (lambda: fnn.TableCodec.fit(table(y=[None] * 3), target="y", missing="drop"), DataError,
         "TableCodec: expected a row in which nothing is missing"),
        (lambda: fnn.TableCodec.fit(table(age=[1e308, -1e308, 0])), DataError, "within float64"),
        (lambda: table(age=[1e300, 0, 1]).dataset(target="y", standardize=False), DataError,
         r"x\[0, 0\] = 1e\+300 is beyond float32"),
        (lambda: fnn.TableCodec.fit(table(), target="z"), OptionError,
         "expected columns among .*got 'z'"),
        (lambda: fnn.TableCodec.fit(table(), features=["q"]), OptionError, "columns among"),
        (lambda: fnn.TableCodec.fit(table(), features=[]), OptionError, "features: expected distinct"),
        (lambda: fnn.TableCodec.fit(table(), target="y", features=["y"]), OptionError, "features: "),
        (lambda: fnn.TableCodec.fit(table(), features=["age", "age"]), OptionError, "features: "),
        (lambda: fnn.TableCodec.fit(table(), missing="mean"), OptionError, "missing: expected one of"),
        (lambda: fnn.TableCodec.fit(table(), one_hot=1), OptionError,
         "one_hot: expected True or False"),
        (lambda: fnn.TableCodec.fit(table(), dtype="int8"), OptionError, "dtype: expected 'float32'"),
        (lambda: CODEC.dataset(table(), weight=[1, 2]), ShapeError, r"weight: .*shape \(3,\)"),
    ],
)  # fmt: skip
def test_what_the_codec_cannot_make_examples_of_is_refused_with_its_place(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_places_are_lines_of_the_file(tmp_path):
    (tmp_path / "new.csv").write_text('age,city,y\n1,"Ro\nme",no\n\n2,Bonn,yes\n', "utf-8")
    new = fnn.read_csv(tmp_path / "new.csv", types=CODEC.types).select([1])
    with pytest.raises(DataError, match=r"new\.csv: line 5, column 2 \('city'\): .*got 'Bonn'"):
        CODEC.encode(new)


def test_a_frame_goes_to_fit_and_predict_by_its_codec():
    rng = np.random.default_rng(0)
    frame = Frame(a=rng.normal(size=40), b=np.where(rng.random(40) < 0.5, "u", "v").astype(object))
    frame._columns["y"] = np.where(frame["a"] > 0, "pos", "neg").astype(object)
    made = fnn.Table.of(frame)
    codec = fnn.TableCodec.fit(made, target="y")
    net = fnn.serial(fnn.Dense(8), fnn.Relu(), fnn.Dense(2))
    options = {"epochs": 60, "batch_size": 10, "key": KEY, "progress": False}
    result = fnn.fit(net, fnn.softmax_cross_entropy, fnn.adam(0.05), codec.dataset(made), **options)
    predicted = fnn.predict(net, result.best, codec.encode(made)).argmax(axis=1)
    assert (np.array(codec.classes)[predicted] == frame["y"]).mean() > 0.95


def test_a_frame_of_numbers_is_predicted_as_the_array_that_it_holds():
    class Numbers(Frame):
        def __array__(self, dtype=None, copy=None):
            return np.stack(list(self._columns.values()), axis=1)

    net = fnn.serial(fnn.Dense(2))
    now = fnn.init_train_state(net, fnn.sgd(0.1), (2,), KEY)
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    frame = Numbers(a=x[:, 0], b=x[:, 1])
    np.testing.assert_array_equal(fnn.predict(net, now, frame), fnn.predict(net, now, x))
    assert fnn.Dataset(frame, [0] * 5).digest() == fnn.Dataset(x, [0] * 5).digest()
    with pytest.raises(DTypeError, match="predict: x: expected numbers, got dtype"):
        fnn.predict(net, now, Numbers(a=np.array(["u"])))


def test_a_frame_with_texts_says_how_to_code_them():
    with pytest.raises(DTypeError, match="x: expected numbers"):
        fnn.Dataset(np.array([["a"], ["b"]], object), [0, 1])
