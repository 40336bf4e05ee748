"""Tables in files: both formats give back exactly what was written, and refuse what they could not."""

import csv
import os

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fsfm_jax.detection import prediction_file
from fsfm_jax.detection.prediction_file import MAX_TEXT, read_predictions, write_predictions

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SUFFIXES = (".csv", ".parquet")

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
# What a CSV could take for something else.
HARD = st.sampled_from([
    "", " ", "007", "1.5", "nan", "None", '"', '""', "a,b", "a\nb", "a\r\nb", "\r", "\n", "\u2028", "\ufeff", "=1+1",
    "+1", "-1", "@sum", "'", "\t", "𝕏 ß é",
])  # fmt: skip
KINDS = {
    "U": TEXT | HARD,
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(allow_nan=False, allow_infinity=False) | st.floats(allow_nan=False, allow_infinity=False, width=32),
}


@st.composite
def tables(draw):
    """One to five columns of one to eight rows, by their kind."""
    names = draw(st.lists((TEXT | HARD).filter(bool), min_size=1, max_size=5, unique=True))
    rows, kinds = draw(st.integers(1, 8)), [draw(st.sampled_from(sorted(KINDS))) for _ in names]
    return {
        name: (kind, draw(st.lists(KINDS[kind], min_size=rows, max_size=rows)))
        for name, kind in zip(names, kinds, strict=True)
    }


def bits(array: np.ndarray) -> list:
    return array.view(np.int64).tolist() if array.dtype.kind == "f" else array.tolist()


@FEW
@given(tables(), st.integers(1, 3), st.booleans())
@example({"only": ("U", [""])}, 1, False)
@example({"no point": ("f", [1e22, -0.0, 5e-324, 1.7976931348623157e308])}, 1, False)
def test_both_formats_give_back_every_digit_and_character(tmp_path_factory, table, rows_at_once, arrays):
    folder = tmp_path_factory.mktemp("tables")
    columns = {name: np.array(values) if arrays else values for name, (_, values) in table.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction_file, "CHUNK_ROWS", rows_at_once)
        patch.setattr(prediction_file, "GROUP_ROWS", rows_at_once)
        for suffix in SUFFIXES:
            write_predictions(folder / f"table{suffix}", columns)
            found = read_predictions(folder / f"table{suffix}")
            assert list(found) == list(table)
            for name, (kind, values) in table.items():
                assert found[name].dtype.kind == kind and (kind == "U" or found[name].dtype.itemsize == 8)
                assert bits(found[name]) == (bits(np.array(values)) if kind == "f" else values)
    assert sorted(path.name for path in folder.iterdir()) == ["table.csv", "table.parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_many_rows_come_back_in_their_order(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(prediction_file, "GROUP_ROWS", 20_000)
    count = 50_000  # several chunks, the last one not full
    number = np.arange(count)
    columns = {"frame": number, "video": np.char.add("v", (number // 100).astype(str)), "score": number / 7}
    write_predictions(tmp_path / f"a{suffix}", columns)
    found = read_predictions(tmp_path / f"a{suffix}")
    for name, values in columns.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([0.1, 3], np.float16), "f"), (np.array([1, 2], np.uint64), "i"), (np.array([-1, 2], np.int8), "i"),
        (np.array(["a", "bc"], object), "U"), (np.array(["a", "bc"], np.dtypes.StringDType()), "U"),
        (list(np.array(["a", "bc"])), "U"), (list(np.array([0.1, 3], np.float32)), "f"), ((1, 2), "i"),
    ],
)  # fmt: skip
def test_narrower_and_other_arrays_keep_their_values(tmp_path, suffix, values, kind):
    write_predictions(tmp_path / f"a{suffix}", {"c": values})
    found = read_predictions(tmp_path / f"a{suffix}")["c"]
    assert found.dtype.kind == kind and found.tolist() == list(values)


def test_the_csv_by_hand(tmp_path):
    columns = {"source": ["a.png", '=HYPERLINK("x")'], "label": [0, 1], "score": np.array([0.1, 1], np.float32)}
    write_predictions(tmp_path / "a.csv", columns)
    # What looks like a formula is stored as it is: names must stay names.
    assert (tmp_path / "a.csv").read_bytes() == (
        b'"source","label","score"\r\n"a.png",0,0.10000000149011612\r\n"=HYPERLINK(""x"")",1,1.0\r\n'
    )


def test_the_parquet_file_is_typed_compressed_and_has_dictionaries_for_text(tmp_path):
    write_predictions(tmp_path / "a.parquet", {"video": ["a", "b"] * 50, "frame": range(100), "score": np.ones(100)})
    with pyarrow.parquet.ParquetFile(tmp_path / "a.parquet") as file:
        assert [str(field.type) for field in file.schema_arrow] == ["string", "int64", "double"]
        parts = [file.metadata.row_group(0).column(place) for place in range(3)]
    assert {part.compression for part in parts} == {"ZSTD"}
    assert [part.has_dictionary_page for part in parts] == [True, False, False]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    write_predictions(path, {"c": [1]})

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_predictions(path, {"c": [2, 3]})
    assert list(tmp_path.iterdir()) == [path] and read_predictions(path)["c"].tolist() == [1]


@pytest.mark.parametrize("name", ["a.txt", "a", "a.CSV", "a.csv.gz"])
def test_other_suffixes_are_refused(tmp_path, name):
    for call in (lambda: write_predictions(tmp_path / name, {"c": [1]}), lambda: read_predictions(tmp_path / name)):
        with pytest.raises(ValueError, match=rf"{name}: expected a file name that ends with .csv or .parquet"):
            call()
    assert not list(tmp_path.iterdir())


TYPES = "column c: expected int64, float64 or text"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("columns", "message"), [
        ({}, r"columns: expected at least one column, all of one length above 0; found lengths \{\}"),
        ({"c": []}, r"found lengths \{'c': 0\}"),
        ({"c": [1], "d": [1, 2]}, r"found lengths \{'c': 1, 'd': 2\}"),
        ({3: [1]}, "columns: expected names in UTF-8 without NUL, found 3"),
        ({"\udcff": [1]}, r"columns: expected names in UTF-8 without NUL, found '\\udcff'"),
        ({"c": [[1]]}, r"column c: expected one axis \[N\], found shape \(1, 1\)"),
        ({"c": [0.5, np.nan]}, "column c: expected finite numbers, found nan in row 1"),
        ({"c": ["a", 1]}, f"{TYPES} in all rows, found int, str"),
        ({"c": [None]}, f"{TYPES} in all rows, found NoneType"),
        ({"c": [1, True]}, f"{TYPES} in all rows, found bool, int"),
        ({"c": [-1, 2**63]}, f"{TYPES}; Python int too large"),
        ({"c": np.array([2**63], np.uint64)}, rf"{TYPES}, found uint64 such as \[9223372036854775808\]"),
        ({"c": np.array([True])}, rf"{TYPES}, found bool such as \[True\]"),
        ({"c": ["ä", "a\0"]}, r"column c: expected text in UTF-8 without NUL .* found 'a\\x00' with 2 char.* in row 1"),
        ({"c": np.array(["a\0b"])}, r"found 'a\\x00b' with 3 characters in row 0"),
        ({"c": ["\udcff"]}, r"found '\\udcff' with 1 characters in row 0"),
        ({"c": ["a" * (MAX_TEXT + 1)]}, "at most 131072 characters, found 'a{40}' with 131073 characters in row 0"),
    ])  # fmt: skip
def test_what_could_not_come_back_is_not_written(tmp_path, suffix, columns, message):
    with pytest.raises(ValueError, match=message):
        write_predictions(tmp_path / f"a{suffix}", columns)
    assert not list(tmp_path.iterdir())


def test_text_of_the_greatest_length_comes_back(tmp_path):
    for suffix in SUFFIXES:
        write_predictions(tmp_path / f"a{suffix}", {"c": ['"' * MAX_TEXT]})
        assert read_predictions(tmp_path / f"a{suffix}")["c"].tolist() == ['"' * MAX_TEXT]
    assert csv.field_size_limit() == MAX_TEXT


@pytest.mark.parametrize(("content", "message"), [
        ("", r"expected distinct column names in the first line and at least one row, found \[\]"),
        ('"a","b"\r\n', r"at least one row, found \[\['a', 'b'\]\]"),
        ('"a","a"\r\n1,2\r\n', "expected distinct column names in the first line"),
        ("a,b\r\n1,2\r\n", "expected numbers and quoted text; could not convert string to float: 'a'. If another tool"),
        ('"a","b"\r\n1,2\r\n3,4,5\r\n', r"expected 2 fields per row \(a, b\), found \['3', '4', '5'\]"),
        ('"a"\r\n1\r\n\r\n', r"expected 1 fields per row \(a\), found \[\]"),
        ('"a"\r\n1\r\n1.5\r\n', "column a: expected whole numbers of 64 bits as in the first row; .*'1.5'"),
        ('"a"\r\n1\r\n9223372036854775808\r\n', "column a: expected whole numbers of 64 bits as in the first row;"),
        ('"a"\r\n0.5\r\nx\r\n', "column a: expected numbers as in the first row; .*'x'"),
        ('"a"\r\n0.5\r\nnan\r\n', "column a: expected finite numbers, found nan in row 1"),
        ('"a"\r\n"b\r\n', "unexpected end of data"),
        ('"a"\r\n"b\0"\r\n', "column a: expected text in UTF-8 without NUL"),
        (b'"a"\r\n"\xff"\r\n', "can't decode byte 0xff"),
    ])  # fmt: skip
def test_a_csv_of_another_kind_is_refused(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=f"a.csv: .*{message}"):
        read_predictions(path)


@pytest.mark.parametrize(("table", "message"), [
        (pyarrow.table({"a": pyarrow.array([1], "int32")}), "column a: expected double, int64 or string, found int32"),
        (pyarrow.table({"a": ["x", None]}), "column a: expected a value in every row, found nulls"),
        (pyarrow.table([[1], [2]], ["a", "a"]), r"expected distinct column names, found \['a', 'a'\]"),
        (pyarrow.table({"a": pyarrow.array([], "int64")}), r"found lengths \{'a': 0\}"),
        (pyarrow.table({"a": [0.5, np.nan]}), "column a: expected finite numbers, found nan in row 1"),
        (pyarrow.table({"a": ["x\0"]}), r"column a: expected text in UTF-8 without NUL .* found 'x\\x00'"),
    ])  # fmt: skip
def test_a_parquet_file_of_another_kind_is_refused(tmp_path, table, message):
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=f"a.parquet: .*{message}"):
        read_predictions(tmp_path / "a.parquet")


def test_what_is_no_parquet_file_of_another_suffix_or_not_there_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 something else")
    with pytest.raises(ValueError, match="a.parquet: Parquet magic bytes not found"):
        read_predictions(tmp_path / "a.parquet")
    for suffix in SUFFIXES:
        with pytest.raises(FileNotFoundError, match=f"none{suffix}"):
            read_predictions(tmp_path / f"none{suffix}")
