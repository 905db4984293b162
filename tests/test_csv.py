"""CSV files as RFC 4180 has them, and files that are none: what is refused says line and column."""

from __future__ import annotations

import csv
import io
import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnn
from fnn.datasets.tables.records import records
from fnn.errors import DataError, OptionError


@pytest.fixture
def read(tmp_path):
    """Return a function that reads bytes or a text as a CSV file."""

    def call(data, **options):
        path = tmp_path / "t.csv"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return fnn.read_csv(path, **options)

    return call


def texts(column):
    return [None if code < 0 else column.categories[code] for code in column.values]


# --- what a file says -----------------------------------------------------------------------------


def test_columns_are_numbers_or_categories_as_their_first_field_says(read):
    table = read("age,city,id\n1,Rome,a1\n-2.5e1,Oslo,17\n.5,Rome,a1\n 7 ,,b\n")
    assert list(table.columns) == ["age", "city", "id"]
    assert repr(table) == "Table(4 rows; age: number, city: 2 categories, id: 3 categories)"
    np.testing.assert_array_equal(table["age"].values, [1, -25, 0.5, 7])
    assert (table["city"].type, table["city"].categories) == ("category", ("Oslo", "Rome"))
    assert texts(table["city"]) == ["Rome", "Oslo", "Rome", None]
    assert texts(table["id"]) == ["a1", "17", "a1", "b"]
    np.testing.assert_array_equal(table["city"].missing, [False, False, False, True])
    np.testing.assert_array_equal(table.lines, [2, 3, 4, 5])
    for array in (table.lines, table["age"].values, table["city"].values):
        assert not array.flags.writeable
    with pytest.raises(TypeError):
        table.columns["age"] = table["city"]


def test_types_are_what_the_caller_says(read):
    table = read("zip,n\n10,1\n9,2\nA,3\n", types={"zip": "category", "n": "category"})
    assert table["zip"].categories == ("10", "9", "A")
    assert table["n"].categories == ("1", "2", "3")
    digits = read("zip\n10\n9\n9.0\n", types={"zip": "category"})
    assert digits["zip"].categories == ("9", "9.0", "10"), "in the order of the numbers"


def test_missing_fields_are_those_that_the_caller_names(read):
    table = read("a,b\nNA,x\n1,?\n,y\n", missing=("NA", "?", ""))
    np.testing.assert_array_equal(table["a"].values, [np.nan, 1, np.nan])
    assert texts(table["b"]) == ["x", None, "y"]
    assert read("a,b\n,1\n,2\n")["a"].missing.all()


def test_quotes_hold_delimiters_line_ends_and_quotes(read):
    table = read('a,"b ""c"""\r\n"x, y","1"\r\n"two\r\nlines\n",2\r\n"""q""",3\r\n')
    assert list(table.columns) == ["a", 'b "c"']
    assert texts(table["a"]) == ["x, y", "two\r\nlines\n", '"q"']
    np.testing.assert_array_equal(table['b "c"'].values, [1, 2, 3])
    np.testing.assert_array_equal(table.lines, [2, 3, 6])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_line_ends_and_a_byte_order_mark_change_nothing(read, end, last, mark, quote):
    lines = [f"{quote}a{quote},b", "1,x", "", "2,y"] + ([""] if last else [])
    table = read(mark + end.join(lines).encode())
    np.testing.assert_array_equal(table["a"].values, [1, 2])
    assert texts(table["b"]) == ["x", "y"]
    np.testing.assert_array_equal(table.lines, [2, 4])


def test_blank_lines_of_a_single_column_are_missing_fields(read):
    np.testing.assert_array_equal(read("a\n1\n\n3\n")["a"].values, [1, np.nan, 3])


def test_delimiters_names_and_encodings_may_be_others(read):
    table = read("1;é\n2;ü\n", delimiter=";", names=["n", "letter"])
    assert texts(table["letter"]) == ["é", "ü"]
    for encoding in ("utf-16", "latin-1", "cp1252"):
        table = read("n,letter\n1,é\n".encode(encoding), encoding=encoding)
        assert table["letter"].categories == ("é",)
    assert read("a|b\n1|2\n", delimiter="|")["b"].values.tolist() == [2]


fields = st.text(st.sampled_from('ab ,;"\n\r1é'), max_size=6)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(fields, min_size=2, max_size=3), min_size=1, max_size=4), lf=st.booleans()
)
def test_what_pythons_own_writer_writes_is_read_back(rows, lf):
    width = len(rows[0])
    rows = [(row * 2)[:width] for row in rows]
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n" if lf else "\r\n", quoting=csv.QUOTE_ALL)
    writer.writerows(rows)
    found = list(records("t", file.getvalue(), ","))
    assert [row for _, row in found] == rows
    lines = np.cumsum([1] + [1 + sum(field.count("\n") for field in row) for row in rows[:-1]])
    assert [line for line, _ in found] == lines.tolist()


plain = st.text(st.sampled_from("ab 1;é\x0b\u2028"), max_size=4)


@given(rows=st.lists(st.lists(plain, min_size=2, max_size=2), min_size=1, max_size=4))
def test_with_and_without_quotes_it_is_the_same(rows):
    text = "".join(f"{','.join(row)}\n" for row in rows)
    unquoted, (_, *quoted) = list(records("t", text, ",")), records("t", '"q"\n' + text, ",")
    assert unquoted == [(line - 1, row) for line, row in quoted]
    assert [row for _, row in unquoted] == rows


def test_numbers_are_read_as_python_reads_them(read):
    rng = np.random.default_rng(0)
    values = rng.normal(size=500) * 10.0 ** rng.integers(-300, 300, 500)
    table = read("a\n" + "\n".join(map(repr, values.tolist())))
    np.testing.assert_array_equal(table["a"].values, values)


# --- files that are none --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1: expected a line of names, got none"),
        (b"\n", "line 1: expected a line of names"),
        (b"\xef\xbb\xbf", "line 1: expected a line of names"),
        (b"a,b\n", "expected at least one row, got none"),
        (b"a,b\n\n\n", "expected at least one row, got none"),
        (
            b"a,b,a\n1,2,3\n",
            r"line 1, column 3: expected distinct names, got 'a' again, as in column 1",
        ),
        (b"a,,c\n1,2,3\n", "line 1, column 2: expected a name, got an empty one"),
        (b"a,b\n1,2\n3\n", r"line 3, column 2 \('b'\): expected 2 fields, one per column, got 1"),
        (b"a,b\n1,2\n3,4,5\n", "line 3, column 3: expected 2 fields, one per column, got 3"),
        (b'a,b\n"x\ny",2\n3\n', r"line 4, column 2 \('b'\): expected 2 fields"),
        (b"a,b\n1,2\nx,3\n", r"line 3, column 1 \('a'\): expected a number, got 'x'; types=\{"),
        (b"a,b\n1,2\n1_0,3\n", "line 3, column 1 .*got '1_0'"),
        (b"a,b\n1,2\nnan,3\n", "line 3, column 1 .*got 'nan'"),
        (b"a,b\n1,2\ninf,3\n", "line 3, column 1 .*got 'inf'"),
        (b"a,b\n1,2\n0x10,3\n", "line 3, column 1 .*got '0x10'"),
        ("a,b\n1,2\n\u0661,3\n".encode(), "line 3, column 1 .*expected a number"),
        (b"a,b\n1,2\n1e999,3\n", "line 3, column 1 .*expected a number within float64, got '1e999'"),
        (b'a,b\n"x\n\ny",1\n"z",w\n', r"line 5, column 2 \('b'\): expected a number, got 'w'"),
        (b'a,b\n"x,2\n', "line 2, column 1: expected a closing quote, got the end of the file"),
        (b'a,b\nx,"y""\n', "line 2, column 2: expected a closing quote, got the end of the file"),
        (b'a,b\n"x"y,2\n', "line 2, column 1: .*end after its closing quote, got 'y'"),
        (b'a,b\n"x" ,2\n', "line 2, column 1: .*closing quote, got ' '"),
        (b'a,b\nx"y,2\n', "line 2, column 1: expected quotes around a whole field"),
        (b'a,b\n"x","y"\n1, "z"\n', "line 3, column 2: expected quotes around a whole field"),
        (b"a,b\r1,2\r", "line 1, column 2: expected CRLF or LF .*lone carriage return"),
        (b"a,b\n1,2\r3,4\n", "line 2, column 2: expected CRLF or LF"),
        (b"a,b\n1,\x002\n", "line 2, column 2: expected text, got a NUL character"),
        (b"a,b\n1,\xff\n", "line 2: expected text in utf-8, got byte 6 .*encoding= names another"),
        ("a,b\n1,2\n".encode("utf-16"), "line 1: expected text in utf-8"),
        (b"\x1f\x8b\x08\x00", "line 1: expected text in utf-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_place(read, data, message):
    with pytest.raises(DataError, match=rf"t\.csv: {message}"):
        read(data)


@pytest.mark.parametrize("pad", [b"", b'"q\n",0\n'])
def test_a_huge_field_is_refused_and_a_large_one_is_not(read, pad):
    table = read(b"a,b\n" + pad + b"x" * (1 << 17) + b",1\n")
    assert len(table["a"].categories[-1]) == 1 << 17
    with pytest.raises(DataError, match=r"line \d, column 1: expected at most 131,072 characters"):
        read(b"a,b\n" + pad + b"x" * ((1 << 17) + 1) + b",1\n")
    with pytest.raises(DataError, match=r"column 1: expected at most 131,072 characters, got 200,001"):
        read(b"a" * 200_001 + b",b\n1,2\n")


@pytest.mark.parametrize(
    "data",
    [
        b'a,b\n"' + b'""' * 500_000,
        b'a,b\n"' + b'""x' * 300_000 + b'"y,1\n',
        b"a,b\n" + b'"' * 999_999,
        b"a,b\n" + b"," * 1_000_000,
        b"a\n" + b"1" * 130_000 + b"x\n",
        b"a,b\n" + b"\n" * 1_000_000,
    ],
)
def test_damage_takes_no_longer_than_reading(read, data):
    began = time.perf_counter()
    with pytest.raises(DataError) as caught:
        read(data, types={"a": "number"} if data.startswith(b"a\n") else None)
    assert time.perf_counter() - began < 3
    assert len(str(caught.value)) < 500


def test_files_that_are_too_large_or_not_there_are_refused(read, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"cannot be read \(Larger than 5 bytes.*max_bytes"):
        read("a,b\n1,2\n", max_bytes=5)
    monkeypatch.setenv("FNN_LIMITS", "csv=5")
    with pytest.raises(DataError, match="Larger than 5 bytes"):
        read("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"no\.csv: cannot be read \(No such file"):
        fnn.read_csv(tmp_path / "no.csv")
    with pytest.raises(DataError, match="cannot be read"):
        fnn.read_csv(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="cannot be read"):
        fnn.read_csv(tmp_path / "pipe.csv")


def test_within_a_folder_no_link_is_followed(tmp_path):
    (tmp_path / "real.csv").write_text("a\n1\n", "utf-8")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.csv").symlink_to(tmp_path / "real.csv")
    assert len(fnn.read_csv(tmp_path / "in" / "link.csv")) == 1
    with pytest.raises(DataError, match="cannot be read"):
        fnn.read_csv(tmp_path / "in" / "link.csv", within=tmp_path / "in")


def test_messages_show_no_control_characters(read):
    with pytest.raises(DataError) as caught:
        read("a\x1b[2Jb\n1\nx\x1b[2J\n")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ""}, "delimiter: expected a character"),
        ({"delimiter": '"'}, "delimiter: expected a character"),
        ({"delimiter": "\n"}, "delimiter: expected a character"),
        ({"delimiter": ",,"}, "delimiter: expected a character"),
        ({"missing": "NA"}, "missing: expected a tuple of texts, got 'NA'"),
        ({"missing": (1,)}, "missing: expected a tuple of texts"),
        ({"types": ["number"]}, r"types: expected \{name: type\}"),
        ({"types": {"c": "number"}}, r"types: expected names among \['a', 'b'\], got 'c'"),
        ({"types": {"a": "int"}}, r"types\['a'\]: expected one of .*got 'int'"),
        ({"encoding": "no-such"}, "encoding: expected the name of a text encoding"),
        ({"encoding": "base64"}, "encoding: expected the name of a text encoding"),
        ({"encoding": "a\0b"}, "encoding: expected the name"),
        ({"encoding": None}, "encoding: expected the name"),
        ({"max_bytes": 0}, "max_bytes: expected 1 or more"),
    ],
)
def test_options_that_are_none_are_refused(read, options, message):
    with pytest.raises(OptionError, match=f"read_csv: {message}"):
        read("a,b\n1,2\n", **options)
