"""A user's folder of strategies: what is read, what is refused, and that one broken file stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trading.strategies.own import put, text
from trading.errors import BadInput
from trading.strategies.folder import own_files, own_names, own_source, unsafe
from trading.strategies.registry import STRATEGIES, load_strategy


def test_a_file_of_the_folder_is_a_strategy(tmp_path: Path) -> None:
    put(tmp_path, mine=text(), _draft=text())
    found, wrong = own_files(tmp_path, STRATEGIES)
    assert ([file.name for file in found], wrong) == (["mine"], [])
    strategy = load_strategy("mine", {"level": 50}, own_source(tmp_path, "mine", STRATEGIES))
    assert (strategy.name, strategy.params_dict(), strategy.source) == ("mine", {"level": 50}, found[0].source)
    assert own_source(tmp_path, "other", STRATEGIES) == ""
    assert own_names(tmp_path / "nowhere") == ()


@pytest.mark.covers("S1-17")
@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("x = 1\ndef rule(:\n", "mine.py, line 2: SyntaxError: "),
        ("x = 1\n\ny = unknown\n", "mine.py, line 3: NameError: name 'unknown' is not defined."),
        ("raise SystemExit(3)\n", "mine.py, line 1: SystemExit: 3."),
        ("import nowhere_to_be_found\n", "mine.py, line 1: ModuleNotFoundError"),
        (text().replace("return {}", "return {}[1]"), "mine.py, line 16: KeyError"),
        ("x = 1\n", "it does not define Params"),
        (text().replace("Params(NamedTuple)", "Params(tuple)"), "Params is no NamedTuple"),
        (text().replace("def rule", "def rules"), "neither rule nor step"),
        (text().replace('"level": Range(1, 1_000)', ""), "RANGES has no Range for the parameter 'level'"),
        (text().replace("return 1\n", "return 'some'\n"), "warmup(p) returned 'some'"),
        (text().replace("return {}", "return {'ma': 5}"), "the feature 'ma' is 5"),
        (text().replace("    close: float", "    close: float\n    ma: float"), "Row has the fields close, ma"),
        (text(more="confidence = 1"), "confidence is no function"),
    ],
)
def test_a_broken_file_says_where_and_stops_no_other(tmp_path: Path, source: str, where: str) -> None:
    put(tmp_path, good=text(), mine=source)
    found, wrong = own_files(tmp_path, STRATEGIES)
    assert ([file.name for file in found], wrong) == (["good", "mine"], [])
    with pytest.raises(BadInput) as caught:
        load_strategy("mine", None, found[1].source)
    assert where in str(caught.value)
    assert (caught.value.field, caught.value.value, bool(caught.value.fix)) == ("strategy", "mine", True)
    assert load_strategy("good", None, found[0].source).params_dict() == {"level": 100}


def test_files_that_cannot_be_strategies_are_named(tmp_path: Path) -> None:
    put(tmp_path, good=text(), ma44=text(), Upper=text())
    put(tmp_path / "elsewhere", far=text())
    (tmp_path / "linked.py").symlink_to(tmp_path / "elsewhere" / "far.py")
    (tmp_path / "latin.py").write_bytes(b"# \xe4\n")
    (tmp_path / "huge.py").write_text("#" * 1_000_001)
    found, wrong = own_files(tmp_path, STRATEGIES)
    assert [file.name for file in found] == ["good"]
    told = "\n".join(map(str, wrong))
    for part in ("built-in strategy called 'ma44'", "'Upper' is no name", "linked.py: it lies outside", "not UTF-8",
                 "more than 1000000 bytes"):  # fmt: skip
        assert part in told
    assert len(wrong) == 5
    with pytest.raises(BadInput, match="lies outside"):
        own_source(tmp_path, "linked")
    assert own_source(tmp_path, "../elsewhere/far") == ""


def test_a_folder_that_others_can_change_is_warned_of(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine", a=text())
    folder.chmod(0o755)
    (folder / "a.py").chmod(0o644)
    assert unsafe(folder) == []
    (folder / "a.py").chmod(0o666)
    assert ["a.py can be changed by other users" in line for line in unsafe(folder)] == [True]
    folder.chmod(0o777)
    assert len(unsafe(folder)) == 2
    assert unsafe(tmp_path / "nowhere") == []


def test_listing_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    put(tmp_path / "mine", a=f"open({str(mark)!r}, 'w')\n")
    own_files(tmp_path / "mine")
    assert not mark.exists()


def test_a_changed_file_is_another_strategy_and_the_old_text_still_runs(tmp_path: Path) -> None:
    first, second = text("return LONG"), text("return FLAT")
    put(tmp_path, mine=first)
    kept = own_source(tmp_path, "mine")
    put(tmp_path, mine=second)
    old, new = load_strategy("mine", None, kept), load_strategy("mine", None, own_source(tmp_path, "mine"))
    assert old.rule is not None
    assert new.rule is not None
    row = old.row(1.0)
    assert (old.rule(row, row, old.params), new.rule(row, row, new.params)) == (1, 0)
