"""What the venues' quality.yaml say is proven is proven, and what is not has a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.trading.venues.conformance.suite import ROOT, VENUES, common_lines, lines_of, prefix, proven_in

# What the venues' protocol notes ask for under "Conformance tests", and the line that answers.
DEMANDED = {
    "hyperliquid": {
        "repeated open-candle frames then next `t`": "HL-01",
        "late revision": "HL-02",
        "60 s silence drop": "HL-03",
        "unknown coin → abrupt close": "HL-04",
        "greeting text": "HL-05",
        "error frame": "HL-06",
        "snapshot flag in userFills": "HL-30",
        "duplicate `tid`": "HL-31",
        "partial Ioc": "HL-32",
        "single error for a batch": "HL-33",
        "429 with body `null`": "HL-09",
        "5xx after the order was in fact accepted (idempotency)": "HL-34",
        "nonce reuse refused": "HL-35",
        "signature recovered = configured signer, `source` matches network": "HL-36",
    },
    "pionex": {
        "`result:false` at HTTP 200": "PX-01",
        "newest-first and ascending pages": "PX-02",
        "open candle excluded": "PX-03",
        "end-inclusive paging without duplicates": "PX-04",
        "10 000-row horizon": "PX-05",
        "interval map incl. refusal": "PX-06",
        "429 → process-wide 60 s pause": "PX-07",
        "binary frames": "PX-08",
        "PING/PONG": "PX-09",
        "CLOSE op": "PX-09",
        "SUBSCRIBED ack missing": "PX-10",
    },
}


@pytest.mark.parametrize("venue", VENUES)
def test_every_line_is_proven_or_excused(venue: str) -> None:
    proven: dict[str, set[str]] = {}
    for line in lines_of(venue):
        if line["status"] == "done":
            proof = line["proof"]
            assert (ROOT / proof).is_file(), line
            proven.setdefault(proof, proven_in(proof))
            assert line["id"] in proven[proof], f"no test of {proof} is marked or named as {line['id']}"
        else:
            assert line["status"] in {"exempt", "todo"}, line
            assert line["why"], line


@pytest.mark.parametrize("venue", VENUES)
def test_what_every_venue_must_do_is_proven_for_each(venue: str) -> None:
    common = common_lines()
    proven = proven_in(common["proof"])
    excused = {line["id"] for line in lines_of(venue) if line["status"] != "done"}
    for line in common["lines"]:
        id = f"{prefix(venue)}-{line['number']}"
        assert id in proven | excused, f"no test of {common['proof']} proves {id}: {line['what']}"


def test_no_number_stands_for_two_things() -> None:
    ids = [line["id"] for venue in VENUES for line in lines_of(venue)]
    assert len(set(ids)) == len(ids)
    assert len({id[:2] for id in ids}) == len(VENUES)


@pytest.mark.parametrize("venue", DEMANDED)
def test_everything_that_the_protocol_notes_demand_has_a_line(venue: str, shared_data: Path) -> None:
    notes = shared_data.parent / "protocols" / f"{venue}.md"
    if not notes.is_file():
        pytest.skip(f"the notes on {venue}'s protocol are not here")
    section = re.split(r"(?m)^## ", notes.read_text("utf-8").partition("Conformance tests")[2])[0]
    asked = section.partition("\n")[2].strip().rstrip(".")
    if ": " in asked.partition(";")[0]:
        asked = asked.partition(": ")[2]
    assert [text.strip() for text in asked.split(";")] == list(DEMANDED[venue])
    assert set(DEMANDED[venue].values()) <= {line["id"] for line in lines_of(venue)}
