"""``manta verify parity`` of the user's own strategy: found in its folder, and checked before anything is replayed."""

from pathlib import Path

import pytest

from tests.manta.conftest import Place
from tests.trading.strategies.own import put
from tests.trading.strategies.own import text as rule_text
from trading.venues.simulator.sample import SAMPLE_FILE

HONEST = rule_text("return LONG if now.close > p.level * 1_000 else FLAT")
CHEAT = rule_text("return LONG if random.random() > 0.5 else FLAT", imports="import random")


def test_one_that_cheats_is_not_replayed(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.config("markets: [binance:BTCUSDT]\n")
    put(place.folder / "strategies", mine=HONEST, lucky=CHEAT)
    verify = ("verify", "parity", "--interval", "1h", "--json")
    refused = place.run(*verify, "--strategy", "lucky", "--file", str(SAMPLE_FILE))
    assert (refused.status, refused.value["field"]) == (2, "strategy")
    assert "line 22: it draws by chance" in refused.value["message"]
    assert not place.data_dir.exists()
    # An honest one gets as far as its candles, of which there are none.
    asked: list[str] = []
    from manta import parity

    check = parity.require_honest
    monkeypatch.setattr(parity, "require_honest", lambda name, *rest: asked.append(name) or check(name, *rest))
    later = place.run(*verify, "--strategy", "mine", "--file", str(tmp_path / "absent.csv"))
    assert (later.status, asked) == (2, ["mine"])
    assert "absent.csv" in later.value["message"]
    unknown = place.run(*verify, "--strategy", "yours", "--file", str(SAMPLE_FILE))
    assert (unknown.status, unknown.value["field"]) == (2, "strategy")
    built_in = place.run(*verify, "--strategy", "ma44", "--file", str(tmp_path / "absent.csv"))
    assert (built_in.status, asked) == (2, ["mine"])
