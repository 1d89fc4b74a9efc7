"""Which lines of the acceptance list the tests prove: ``@pytest.mark.covers("S1-12", "S1-26a", "W3")``.

A line counts as covered when a test that cites it, or one of its lettered parts, passed in this run and none that cites
it failed. Citing what the list does not have stops the run, so that a typing error cannot count as proof. Without the
list nothing is checked and nothing is printed.
"""

import re
from pathlib import Path

import pytest

DEFAULT_LIST = Path(__file__).resolve().parents[3] / "shared" / "ACCEPTANCE.md"
LINE = re.compile(r"^- (S\d+-\d+|W\d+) (.*)$", re.MULTILINE)
PROPERTY = "covers"
PART = re.compile(r"\(([a-z])\)")
CITED = re.compile(r"^(S\d+-\d+|W\d+)([a-z]?)$")


def read_lines(text: str) -> dict[str, frozenset[str]]:
    """Map each line's id to the letters of its parts: section 1 (S0-1 …) and the weak spots (W1 …)."""
    return {line: frozenset(PART.findall(words)) for line, words in LINE.findall(text)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--acceptance-list", type=Path, default=DEFAULT_LIST, help="the acceptance list that covers marks cite"
    )


def pytest_configure(config: pytest.Config) -> None:
    path: Path = config.getoption("--acceptance-list")
    if path.is_file():
        config.pluginmanager.register(Coverage(read_lines(path.read_text(encoding="utf-8"))), "acceptance-coverage")


class Coverage:
    """Collects, for one session, what each test cites and how it ended.

    A test's report carries what it cites, also from the process of a worker.
    """

    def __init__(self, lines: dict[str, frozenset[str]]) -> None:
        self._lines = lines
        self._proved: set[str] = set()
        self._disproved: set[str] = set()

    def _line_of(self, citation: str) -> str | None:
        match = CITED.match(citation)
        if match is None:
            return None
        line, part = match.groups()
        known = line in self._lines and (not part or part in self._lines[line])
        return line if known else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        mistakes = []
        for item in items:
            for citation in [citation for mark in item.iter_markers("covers") for citation in mark.args]:
                line = self._line_of(str(citation))
                if line is None:
                    mistakes.append(f"{item.nodeid} cites {citation!r}, which the acceptance list does not have")
                else:
                    item.user_properties.append((PROPERTY, line))
        if mistakes:
            raise pytest.UsageError(*mistakes)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        lines = {str(value) for name, value in report.user_properties if name == PROPERTY}
        if report.failed:
            self._disproved |= lines
        elif report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self._proved |= lines

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        covered = self._proved - self._disproved
        terminalreporter.write_line(f"acceptance: {len(covered)} of {len(self._lines)} lines covered")
