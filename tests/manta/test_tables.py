"""Numbers in the tables of the command line, and how its columns stand."""

from manta.tables import amount, date, money, percent, ratio, signed_percent, table
from tests.trading.series import at


def test_numbers_are_written_the_same_everywhere() -> None:
    assert [percent(0.12345), percent(12.5), percent(None)] == ["12.35%", "1,250.00%", "–"]
    assert [signed_percent(0.12), signed_percent(-0.00126), signed_percent(None)] == ["+12.00%", "-0.13%", "–"]
    assert [ratio(-1.5), ratio(1234.567), ratio(None)] == ["-1.50", "1,234.57", "–"]
    assert [amount(7), amount(1_000_000), amount(None)] == ["7", "1,000,000", "–"]
    assert [money("10000.128"), money(0.5)] == ["10,000.13", "0.50"]
    assert [date(at("2025-06-02 23:59")), date(None)] == ["2025-06-02", "–"]


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    assert table(["name", "n"], [["a", "1"], ["a long one", "1,000"]]) == [
        "name            n",
        "a               1",
        "a long one  1,000",
    ]
    assert table(["name", "of"], [["a", "b"]], left=2) == ["name  of", "a     b"]
