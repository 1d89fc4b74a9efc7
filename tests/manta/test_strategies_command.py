"""``manta strategies``: what there is, what is broken and where, and a template that works as it is."""

from pathlib import Path

import pytest

from tests.manta.conftest import Place
from tests.trading.strategies.own import put, text


def config(place: Place, **more: str) -> str:
    lines = "".join(f"{key}: {value}\n" for key, value in more.items())
    return str(place.config(f"{lines}strategies: []\n"))


@pytest.mark.covers("S1-17")
def test_the_list_has_built_in_and_own_ones_and_says_what_is_broken_where(place: Place) -> None:
    path = config(place)
    put(place.folder / "strategies", good=f'"""Above a level.\n\nMore."""\n{text()}', bad="x = 1\ny =\n")
    answer = place.run("strategies", "list", "--config", path, "--json")
    assert answer.status == 0
    found = {item["name"]: item for item in answer.value["strategies"]}
    assert found["good"] == {"name": "good", "kind": "your own", "summary": "Above a level."}
    assert found["ma44"]["kind"] == "built in"
    [broken] = answer.value["broken"]
    assert broken["name"] == "bad"
    assert broken["error"].startswith("bad.py, line 2: SyntaxError")
    assert broken["line"] == 2
    words = place.run("strategies", "list", "--config", path).out
    assert "  good" in words
    assert "bad.py, line 2" in words


def test_a_strategy_is_shown_with_its_parameters_and_text(place: Place) -> None:
    answer = place.run("strategies", "show", "ma44", "--config", config(place), "--json")
    allowed = "a whole number from 2 to 10000"
    assert answer.value["params"] == {
        "period": {"default": 44, "allowed": allowed, "low": 2, "high": 10_000, "whole": True}
    }
    assert answer.value["features"] == {
        "ma": {"kind": "sma", "params": {"period": 44}, "output": None, "interval": None, "multiple": 1}
    }
    assert (answer.value["warmup"], answer.value["has"]) == (44, ["rule", "confidence"])
    assert "def rule(" in answer.value["code"]
    unknown = place.run("strategies", "show", "ma4", "--json")
    assert (unknown.status, unknown.value["fix"]) == (2, "Did you mean 'ma44'?")


def test_a_new_one_can_be_used_as_it_is_and_is_never_overwritten(place: Place) -> None:
    path = config(place, strategies_folder="mine")
    answer = place.run("strategies", "new", "first", "--config", path, "--json")
    assert answer.value == {"name": "first", "path": str(place.folder / "mine" / "first.py")}
    shown = place.run("strategies", "show", "first", "--config", path, "--json").value
    assert shown["kind"] == "your own"
    assert shown["summary"].startswith("first: long while")
    assert shown["has"] == ["rule", "confidence", "bracket", "reasons"]
    Path(answer.value["path"]).write_text("# changed\n")
    again = place.run("strategies", "new", "first", "--config", path, "--json")
    assert (again.status, again.value["field"]) == (2, "name")
    assert Path(answer.value["path"]).read_text() == "# changed\n"
    for name in ("ma44", "../first", "First", ""):
        assert place.run("strategies", "new", name, "--config", path).status == 2


def test_a_configuration_takes_the_text_of_own_strategies_and_names_a_broken_one(place: Place) -> None:
    instance = "strategies: [{name: it, strategy: mine, intervals: [1h], params: {level: %s}}]\n"
    path = str(place.config(instance % 50))
    put(place.folder / "strategies", mine=text())
    [found] = place.run("config", "show", "--config", path, "--json").value["strategies"]
    assert found["source"] == text()
    place.config(instance % 5_000)
    refused = place.run("config", "check", "--config", path, "--json").value["problems"]
    assert [problem["key"] for problem in refused] == ["strategies.it.params.level"]
    place.config(instance % 50)
    put(place.folder / "strategies", mine="x =\n")
    [problem] = place.run("config", "check", "--config", path, "--json").value["problems"]
    assert (problem["key"], problem["message"].split(":")[0]) == ("strategies.it.strategy", "mine.py, line 1")
    # The command that helps to mend it still works.
    assert place.run("strategies", "list", "--config", path).status == 0


def test_others_who_could_change_the_folder_are_warned_of(place: Place) -> None:
    path = config(place)
    put(place.folder / "strategies", mine=text()).chmod(0o777)
    assert "can be changed by other users" in place.run("strategies", "list", "--config", path).err


def test_a_check_passes_an_honest_strategy_and_fails_a_cheat_with_its_line(place: Place) -> None:
    path = config(place)
    put(
        place.folder / "strategies",
        mine=text("return LONG if random.random() > 0.5 else SHORT", imports="import random"),
    )
    place.run("strategies", "new", "fair", "--config", path)
    fair = place.run("strategies", "check", "fair", "--config", path)
    assert (fair.status, "fair: nothing found" in fair.out) == (0, True)
    cheat = place.run("strategies", "check", "mine", "--config", path)
    assert cheat.status == 1
    assert "line 22: it draws by chance (random.random)" in cheat.out
    file = place.run("strategies", "check", str(place.folder / "strategies" / "mine.py"), "--json")
    assert (file.status, file.value["passed"]) == (1, False)
    assert place.run("strategies", "check", "nothing.py").status == 2
