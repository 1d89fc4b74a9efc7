"""``manta data list``: every stored series at a glance."""

from tests.manta.conftest import Place


def test_an_empty_store_says_how_to_fill_it(stored: Place) -> None:
    assert stored.run("data", "list", "--json").value == []
    assert "manta data import" in stored.run("data", "list").out
