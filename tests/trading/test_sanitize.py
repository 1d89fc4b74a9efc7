"""Rows that cannot be true are found by rules that name themselves."""

from pathlib import Path

import pytest

from trading.errors import BadInput
from trading.sanitize import default_min_price, find_wrong, read_candle_file

HOUR = 3_600_000
HEADER = "time,open,high,low,close,volume"


def line(number: int, price: float, **changes: object) -> str:
    values = {
        "time": f"2025-07-{1 + number // 24:02} {number % 24:02}:00:00",
        "open": price,
        "high": price + 10,
        "low": price - 10,
        "close": price,
        "volume": 1,
    }
    return ",".join(str(value) for value in (values | changes).values())


def wrong(path: Path, lines: list[str], min_price: float = 1000.0) -> list[tuple[int, str]]:
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return [(row.line, row.rule) for row in find_wrong(read_candle_file(path), min_price)[1]]


def test_each_rule_names_what_it_drops(tmp_path: Path) -> None:
    lines = [line(n, 100_000 + n) for n in range(100)]
    lines[3] = line(3, 500)
    lines[5] = line(5, 30_000)
    lines[7] = line(7, 200_000)
    lines[9] = line(9, 100_000, high=90_000)
    lines[11] = line(11, 100_000, open="n/a")
    lines[13] = "2025-07-01 13:00:00,1"
    lines[15] = line(14, 100_000)
    lines[17] = line(17, 100_000, low=-5)
    found = wrong(tmp_path / "a.csv", lines)

    assert [number for number, _ in found] == [5, 7, 9, 11, 13, 15, 17, 19]
    said = ["below 1000", "below half", "above 1.5", "impossible", "cannot be read", "cannot be read", "time of a row"]
    for (_, rule), words in zip(found, [*said, "impossible"], strict=True):
        assert words in rule


def test_an_honest_history_that_grows_twentyfold_loses_nothing(tmp_path: Path) -> None:
    assert wrong(tmp_path / "a.csv", [line(n, 1000 * 1.01**n) for n in range(300)], 900.0) == []


def test_a_short_file_has_no_range(tmp_path: Path) -> None:
    assert wrong(tmp_path / "a.csv", [line(n, price) for n, price in enumerate((2000, 90_000, 5000))]) == []


def test_only_bitcoin_has_a_least_price() -> None:
    names = ("BTC_USDT", "btc_usdt_60m_pionex.csv", "XRPUSDT", "ETHBTC")
    assert [default_min_price(name) for name in names] == [1000, 1000, 0, 0]


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe", b"time,open,high,low,close\n"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(BadInput):
        read_candle_file(tmp_path / "a.csv")
