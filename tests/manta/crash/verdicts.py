"""What a run of ``manta verify crash`` has to say to be taken for green."""

from typing import Any

from tests.manta.conftest import Place

__all__ = ["green"]

_KEYS = {"cells", "failed", "missing", "doubled", "seed", "seconds", "rows"}


def green(place: Place, *options: str, timeout_s: float = 1800.0) -> dict[str, Any]:
    """The answer of a run with these options, in which every cell held."""
    answer = place.call("verify", "crash", *options, "--json", timeout_s=timeout_s)
    assert answer.status == 0, [row for row in answer.value.get("rows", []) if not row["ok"]] or answer.value
    assert set(answer.value) == _KEYS
    assert answer.value["failed"] == answer.value["missing"] == answer.value["doubled"] == 0
    return dict(answer.value)
