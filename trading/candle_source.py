"""A candle file opened for reading in parts: its format, its columns, and how much of it has been read."""

from __future__ import annotations

import csv
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self, cast

from trading.candle_files import COLUMNS, REQUIRED
from trading.errors import BadInput

__all__ = ["CandleSource", "Malformed"]

_BLOCK_BYTES = 4 << 20
_PIECE_BYTES = 1 << 16
_PARQUET_ROWS = 65_536
_LONGEST_LINE = 65_536
_FORMATS = (".csv", ".csv.gz", ".parquet", ".zip")
_NAMES = {
    "time": "open_time",
    "timestamp": "open_time",
    "date": "open_time",
    "datetime": "open_time",
    "number_of_trades": "count",
    "trades": "count",
    "trade_count": "count",
    "quote_asset_volume": "quote_volume",
    "taker_buy_base_asset_volume": "taker_buy_volume",
    "taker_buy_base_volume": "taker_buy_volume",
    "taker_buy_quote_asset_volume": "taker_buy_quote_volume",
}
_WANTED = tuple(name for name in COLUMNS if name not in ("ignore", "close_time"))


class Malformed(NamedTuple):
    """A line with another number of values than the header: the number of its row, and how it begins."""

    row: int
    text: str


class CandleSource:
    """One file: ``with`` it, and go once through ``tables``.

    ``columns`` are the columns that are read, ``left_out`` those that are not known. BadInput, which names what is
    wrong and what to do, when it is no candle file, and from ``tables`` when it ends too early.
    """

    def __init__(self, path: Path) -> None:
        if not path.name.endswith(_FORMATS):
            raise BadInput(
                f"{path.name} is not a candle file.",
                field="file",
                value=str(path),
                fix="Give a .csv, .csv.gz, .parquet, or a .zip of Binance's archive.",
            )
        if not path.is_file():
            raise BadInput(f"There is no file {path}.", field="file", value=str(path), fix="Check the path.")
        self.path = path
        self.columns: list[str] = []
        self.left_out: list[str] = []
        self._stack = ExitStack()
        self._size = max(1, path.stat().st_size)
        self._raw: IO[bytes] | None = None
        self._done = 0.0
        self._malformed: list[Malformed] = []
        self._has_header = True
        self._names: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._names = self._parquet_names() if self._is_parquet else self._csv_names()
            self._choose()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def share(self) -> float:
        """How much of the file has been read (0 to 1)."""
        if self._raw is None or self._raw.closed:
            return self._done
        return min(1.0, self._raw.tell() / self._size)

    def tables(self) -> Iterator[Any]:
        """Arrow record batches with the columns ``columns``: texts of a csv file, or as a parquet file has them."""
        import pyarrow as pa

        try:
            yield from self._parquet_tables() if self._is_parquet else self._csv_tables()
        except (pa.ArrowException, OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise self._unreadable(error) from error

    def take_malformed(self) -> list[Malformed]:
        """The lines passed over since the last call."""
        taken, self._malformed = self._malformed, []
        return taken

    @property
    def _is_parquet(self) -> bool:
        return self.path.name.endswith(".parquet")

    def _choose(self) -> None:
        known = [_NAMES.get(name, name) for name in self._names]
        repeated = next((name for name in known if name in _WANTED and known.count(name) > 1), None)
        absent = next((name for name in REQUIRED if name not in known), None)
        if repeated is not None or absent is not None:
            raise BadInput(
                f"{self.path} has " + (f"no column {absent}." if absent else f"column {repeated} twice."),
                field=absent or repeated,
                value=",".join(self._names)[:120],
                fix=f"It needs the columns {', '.join(REQUIRED)} (or time for open_time).",
            )
        self.columns = [name for name in known if name in _WANTED]
        self.left_out = [name for name in known if name not in COLUMNS and not name.startswith("__")]

    # csv

    def _open_text(self) -> IO[bytes]:
        """The bytes of the csv file, unpacked."""
        raw = self._stack.enter_context(self.path.open("rb"))
        self._raw = raw
        if self.path.name.endswith(".gz"):
            unpacked = gzip.GzipFile(fileobj=raw)
            self._stack.callback(unpacked.close)
            return cast("IO[bytes]", unpacked)
        if self.path.name.endswith(".zip"):
            archive = self._stack.enter_context(zipfile.ZipFile(raw))
            inside = [name for name in archive.namelist() if name.endswith(".csv")]
            if len(inside) != 1:
                raise BadInput(
                    f"{self.path} holds {len(inside)} csv files.",
                    field="file",
                    value=str(self.path),
                    fix="Give an archive with exactly one.",
                )
            return self._stack.enter_context(archive.open(inside[0]))
        return raw

    def _csv_names(self) -> list[str]:
        try:
            text = self._open_text()
            line = text.readline(_LONGEST_LINE).decode("utf-8-sig").strip("\r\n")
            fields = next(csv.reader([line]), [])
        except (
            OSError,
            EOFError,
            UnicodeDecodeError,
            csv.Error,
            zipfile.BadZipFile,
            zlib.error,
            RuntimeError,
        ) as error:
            raise self._unreadable(error) from error
        finally:
            self._stack.close()
        if not fields:
            raise BadInput(f"{self.path} is empty.", field="file", value=str(self.path), fix="Fetch the file again.")
        self._has_header = not fields[0].strip().lstrip("-").isdigit()
        if self._has_header:
            return ["_".join(name.strip().lower().split()) for name in fields]
        if len(fields) not in (len(REQUIRED), len(COLUMNS)):
            raise BadInput(
                f"{self.path} has no header and {len(fields)} columns.",
                field="file",
                value=line[:120],
                fix=f"Without a header a candle file has {len(REQUIRED)} or {len(COLUMNS)}: {', '.join(COLUMNS)}.",
            )
        return list(COLUMNS[: len(fields)])

    def _csv_tables(self) -> Iterator[Any]:
        with self._stack:
            text = self._open_text()
            if self._has_header:
                text.readline(_LONGEST_LINE)
            rows = 0
            for block in filter(bytes.strip, _whole_lines(text)):
                table = self._parsed(block, rows)
                rows += len(table)
                yield table
            self._done = 1.0

    def _parsed(self, block: bytes, rows_before: int) -> Any:
        """The lines of ``block`` as texts; those with too few or too many values are set aside."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        names = [f"{number}" for number in range(len(self._names))]
        wanted = [n for n, name in zip(names, self._names, strict=True) if _NAMES.get(name, name) in _WANTED]

        def set_aside(row: Any) -> str:
            self._malformed.append(Malformed(rows_before + (row.number or 0), str(row.text)[:60]))
            return "skip"

        if not block.isascii():
            # What is no text cannot be a number either: its row is refused, not the file.
            block = block.decode("utf-8", "replace").encode()
        table = arrow_csv.read_csv(
            pa.BufferReader(block),
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=set_aside),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=wanted, strings_can_be_null=False
            ),
        )
        columns = [
            pa.concat_arrays(table.column(name).chunks) if table.num_rows else pa.array([], pa.string())
            for name in wanted
        ]
        return pa.RecordBatch.from_arrays(columns, names=self.columns)

    # parquet

    def _parquet_names(self) -> list[str]:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            self._file = self._stack.enter_context(parquet.ParquetFile(self.path))
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        return ["_".join(str(name).strip().lower().split()) for name in self._file.schema_arrow.names]

    def _parquet_tables(self) -> Iterator[Any]:
        import pyarrow as pa

        given = self._file.schema_arrow.names
        wanted = [g for g, name in zip(given, self._names, strict=True) if _NAMES.get(name, name) in _WANTED]
        rows = max(1, self._file.metadata.num_rows)
        read = 0
        for batch in self._file.iter_batches(batch_size=_PARQUET_ROWS, columns=wanted, use_threads=False):
            read += len(batch)
            self._done = read / rows
            yield pa.RecordBatch.from_arrays([batch.column(name) for name in wanted], names=self.columns)

    def _unreadable(self, error: Exception) -> BadInput:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        return BadInput(
            f"{self.path} cannot be read: {said}.", field="file", value=str(self.path), fix="Fetch the file again."
        )


def _whole_lines(text: IO[bytes]) -> Iterator[bytes]:
    """``text`` in blocks of whole lines. A file cut short gives all that can be read of it before its error is raised.

    Arrow's own reader of streams reads ahead, and fails before it has given what came first.
    """
    block = bytearray()
    failure: Exception | None = None
    while failure is None:
        piece = b""
        try:
            piece = text.read(_PIECE_BYTES)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            failure = error
        block += piece
        if not piece:
            break
        if len(block) >= _BLOCK_BYTES:
            end = block.rfind(b"\n") + 1
            if not end:
                raise OSError("a line has no end")
            yield bytes(block[:end])
            del block[:end]
    if failure is None:
        yield bytes(block)
        return
    yield bytes(block[: block.rfind(b"\n") + 1])
    raise failure
