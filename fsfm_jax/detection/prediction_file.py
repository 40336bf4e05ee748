"""Read and write tables of predictions: CSV for people and every tool, Parquet for millions of rows.

Both store float64, int64 and text without loss. In a CSV, text is quoted and numbers are not, so that a video called
007 stays text.

Text is stored unchanged, even if names are untrusted. A spreadsheet reads text as a formula if it begins with =, +, -
or @, quoted or not. A prefix would prevent this, but then names would no longer match the files. Import the columns as
text, or open such a table with another tool.

CSV is read with Python's own module: pyarrow guesses types whether a field is quoted or not, and accepts a file that
ends within a quoted field.
"""

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow
import pyarrow.parquet

from fsfm_jax.run import workdir
from fsfm_jax.text import plain

SUFFIXES = (".csv", ".parquet")
# Rows held as Python objects at a time, and rows per row group of a Parquet file.
CHUNK_ROWS, GROUP_ROWS = 1 << 14, 1 << 20
# The longest field that Python's CSV reader accepts.
MAX_TEXT = 131072

EXPECTED = "int64, float64 or text"
# Keys are the `kind` of a NumPy dtype.
_TYPES = {"f": pyarrow.float64(), "i": pyarrow.int64(), "U": pyarrow.string()}

Columns = dict[str, np.ndarray]


def write_predictions(path: str | Path, columns: Mapping[str, np.ndarray | Sequence]) -> None:
    """Write a table in the format of its suffix: `.csv` (UTF-8) or `.parquet` (zstd, text as a dictionary).

    The file gets its name only when it is complete.

    columns: columns by name, in order, `[N]` each, N > 0: integers, finite floats or text. Narrower numbers are
    widened to int64 and float64.

    Raises:
      ValueError: the suffix is another, there is no column or no row, lengths differ, a column has another type, mixed
        types, NaN or infinity, an integer beyond int64, or text with a NUL, half a surrogate pair (a file name that is
        not UTF-8) or more than 131072 characters.
      OSError: the file cannot be written.
    """
    write = {".csv": _write_csv, ".parquet": _write_parquet}[_suffix(path)]
    checked = _check(columns)
    with workdir.whole(path) as file:
        write(file, checked)


def read_predictions(path: Path) -> Columns:
    """Read the columns of a file of `write_predictions`, `[N]` each: float64, int64 or text (`<U`).

    Raises:
      ValueError: the suffix is another, or `write_predictions` did not write the file, such as a CSV saved by a
        spreadsheet.
      OSError: the file cannot be read.
    """
    read = {".csv": _read_csv, ".parquet": _read_parquet}[_suffix(path)]
    try:
        return _check(read(path))
    except (ValueError, csv.Error, pyarrow.ArrowException) as error:
        raise ValueError(f"{path}: {plain(str(error)[:1000])}") from error


def _suffix(path: str | Path) -> str:
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a file name that ends with {' or '.join(SUFFIXES)}")
    return suffix


def _check(columns: Mapping[str, np.ndarray | Sequence]) -> Columns:
    for name in columns:
        if not isinstance(name, str) or not name or not _is_sound(name):
            raise ValueError(f"columns: expected names in UTF-8 without NUL, found {name!r}")
    checked = {name: _column(name, values) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in checked.items()}
    if not lengths or len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"columns: expected at least one column, all of one length above 0; found lengths {lengths}")
    return checked


def _column(name: str, values: np.ndarray | Sequence) -> np.ndarray:
    """Return the values as float64, int64 or text."""
    # By default NumPy turns a mix of numbers and text into text, and integers beyond int64 into floats.
    array = values if isinstance(values, np.ndarray) else np.asarray(values, object)
    if array.ndim != 1:
        raise ValueError(f"column {name}: expected one axis [N], found shape {array.shape}")
    if array.dtype.kind in "OT":
        array = _to_array(name, array.tolist())
    if array.dtype.kind == "U":
        _check_text(name, array)
        return array
    if array.dtype.kind == "f" and array.itemsize <= 8:
        strange = ~np.isfinite(array)
        if strange.any():
            place = int(np.argmax(strange))
            raise ValueError(f"column {name}: expected finite numbers, found {array[place]} in row {place}")
        return array.astype(np.float64)
    if array.dtype.kind in "iu" and (not len(array) or array.max() < 1 << 63):
        return array.astype(np.int64)
    raise ValueError(f"column {name}: expected {EXPECTED}, found {array.dtype} such as {array[:1].tolist()}")


def _to_array(name: str, values: list) -> np.ndarray:
    """Return Python objects as an array of their common type."""
    found = {kind.__name__ for kind in map(type, values)}
    try:
        if found <= {"str", "str_"}:
            # Check first: NumPy drops NULs at the end as padding.
            _check_text(name, values)
            return np.array(values, np.str_)
        if found <= {"int", "int64", "int32"}:
            return np.array(values, np.int64)
        if found <= {"float", "float64", "float32"}:
            return np.array(values, np.float64)
    except OverflowError as error:
        raise ValueError(f"column {name}: expected {EXPECTED}; {error}") from error
    raise ValueError(f"column {name}: expected {EXPECTED} in all rows, found {', '.join(sorted(found))}")


def _check_text(name: str, texts: np.ndarray | list[str]) -> None:
    for start in range(0, len(texts), CHUNK_ROWS):
        chunk = np.asarray(texts[start : start + CHUNK_ROWS], object).tolist()
        if _is_sound("".join(chunk)) and max(map(len, chunk)) <= MAX_TEXT:
            continue
        row = next(row for row, text in enumerate(chunk) if not _is_sound(text) or len(text) > MAX_TEXT)
        raise ValueError(
            f"column {name}: expected text in UTF-8 without NUL and at most {MAX_TEXT} characters, "
            f"found {chunk[row][:40]!r} with {len(chunk[row])} characters in row {start + row}"
        )


def _is_sound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _chunks(columns: Columns, rows: int) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(next(iter(columns.values()))), rows):
        yield [values[start : start + rows] for values in columns.values()]


def _write_csv(file: BinaryIO, columns: Columns) -> None:
    with open(file.fileno(), "w", encoding="utf-8", newline="", closefd=False) as text:
        # Floats are written by `repr`, the shortest digits that give the same number back.
        writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(columns)
        for chunk in _chunks(columns, CHUNK_ROWS):
            writer.writerows(zip(*(values.tolist() for values in chunk), strict=True))


def _read_csv(path: Path) -> Columns:
    names, kinds = _names_and_kinds(path)
    chunks: list[list[np.ndarray]] = []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        next(reader)
        while rows := list(itertools.islice(reader, CHUNK_ROWS)):
            if set(map(len, rows)) != {len(names)}:
                wrong = next(row for row in rows if len(row) != len(names))
                raise ValueError(f"expected {len(names)} fields per row ({', '.join(names)}), found {wrong}")
            columns = zip(*rows, strict=True)
            chunks.append([_parse(*column) for column in zip(names, kinds, columns, strict=True)])
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*chunks, strict=True), strict=True)}


def _names_and_kinds(path: Path) -> tuple[list[str], list[str]]:
    """Infer names and kinds of columns from the first row: text is quoted, only floats have a point or exponent."""
    plain, typed = [], []
    for rows, quoting in ((plain, csv.QUOTE_MINIMAL), (typed, csv.QUOTE_NONNUMERIC)):
        with open(path, encoding="utf-8", newline="") as file:
            try:
                rows.extend(itertools.islice(csv.reader(file, quoting=quoting, strict=True), 2))
            except ValueError as error:
                raise ValueError(
                    f"expected numbers and quoted text; {error}. If another tool saved the file, write it again"
                ) from error
    if len(plain) < 2 or len(set(plain[0])) < len(plain[0]):
        raise ValueError(f"expected distinct column names in the first line and at least one row, found {plain}")
    kinds = [
        "U" if isinstance(value, str) else "f" if set(text) & set(".eE") else "i"
        for value, text in zip(typed[1], plain[1], strict=True)
    ]
    if len(kinds) != len(plain[0]):
        raise ValueError(f"expected {len(plain[0])} fields per row ({', '.join(plain[0])}), found {plain[1]}")
    return plain[0], kinds


def _parse(name: str, kind: str, texts: Sequence[str]) -> np.ndarray:
    if kind == "U":
        return _to_array(name, list(texts))
    try:
        return np.array(texts).astype(np.float64 if kind == "f" else np.int64)
    except (ValueError, OverflowError) as error:
        expected = "numbers" if kind == "f" else "whole numbers of 64 bits"
        raise ValueError(f"column {name}: expected {expected} as in the first row; {error}") from error


def _write_parquet(file: BinaryIO, columns: Columns) -> None:
    schema = pyarrow.schema([(name, _TYPES[values.dtype.kind]) for name, values in columns.items()])
    texts = [name for name, values in columns.items() if values.dtype.kind == "U"]
    with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd", use_dictionary=texts) as writer:
        for chunk in _chunks(columns, GROUP_ROWS):
            arrays = [pyarrow.array(values, field.type) for values, field in zip(chunk, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _read_parquet(path: Path) -> Columns:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
    except OSError as error:
        if error.errno is not None:  # an error of the system; a damaged file gives no errno
            raise
        raise ValueError(f"cannot be read as Parquet ({error})") from error
    names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError(f"expected distinct column names, found {names}")
    for field in table.schema:
        if field.type not in _TYPES.values():
            raise ValueError(f"column {field.name}: expected double, int64 or string, found {field.type}")
        if table.column(field.name).null_count:
            raise ValueError(f"column {field.name}: expected a value in every row, found nulls")
    return {name: table.column(name).to_numpy() for name in names}
