"""How figures are shown: aligned tables, ratios to the budget, and whether it is kept."""

import json

from bench.figures import Figure, Report, Table
from bench.render import document, markdown_table, number, section

SLOW = Figure("answer", 75, "ms", 50)
FAST = Figure("rows", 60_000, "rows/s", 50_000, at_least=True)
PLAIN = Figure("size", 12.34, "MB")
REPORT = Report(
    "memory", "How it was done.", [SLOW, FAST, PLAIN], [Table("Parts", ("part", "MB"), [("a", 1.5)])], ["a note"]
)


def test_numbers_have_three_digits_or_separated_thousands():
    assert [number(value) for value in (0, 0.1234, 9.876, 12.34, 99.96, 1234.5, 1e6)] == [
        "0", "0.12", "9.88", "12.3", "100.0", "1,234", "1,000,000",
    ]  # fmt: skip


def test_a_budget_is_kept_from_below_or_from_above():
    assert (SLOW.ratio, SLOW.kept) == (1.5, False)
    assert (FAST.ratio, FAST.kept) == (1.2, True)
    assert (PLAIN.ratio, PLAIN.kept) == (None, None)


def test_table_cells_are_padded_and_numbers_stand_right():
    assert markdown_table(("what", "MB"), [("host", 5.0), ("feed actor", 1200.0)]).splitlines() == [
        "| what       |    MB |",
        "| ---------- | ----: |",
        "| host       |  5.00 |",
        "| feed actor | 1,200 |",
    ]


def test_a_section_tells_figures_tables_and_notes():
    text = section(REPORT)

    assert text.startswith("## Memory\n\nHow it was done.")
    assert "| answer | 75.0 ms       | ≤ 50.0 ms       | 1.50  | **no** |" in text
    assert "| rows   | 60,000 rows/s | ≥ 50,000 rows/s | 1.20  | yes    |" in text
    assert "**Parts**" in text
    assert text.endswith("- a note")


def test_the_page_lists_the_budgets_once_and_the_machine():
    text = document({"cores": "2"}, [REPORT])

    budgets = text.partition("## Budgets")[2].partition("## Machine")[0]
    assert "answer" in budgets
    assert "size" not in budgets
    assert "| cores | 2     |" in text


def test_a_report_survives_json():
    told = json.loads(json.dumps(REPORT.to_dict()))

    assert told["figures"][0]["ratio"] == 1.5
    assert section(Report.from_dict(told)) == section(REPORT)
