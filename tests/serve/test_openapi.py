"""Every call the OpenAPI document offers, with generated arguments: it answers as documented and never breaks."""

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.serve.conftest import Records, Server
from trading.storage.settings import DatabaseTarget


@pytest.mark.covers("S2-6", "S1-28")
async def test_answers_are_as_documented(server: Server, records: Records, database: DatabaseTarget) -> None:
    for market in records.ids:
        await records.candles(60, market=market)
    await records.averages()
    await records.decision(3, ["OPEN_LONG"])
    await records.fill(4, "BUY", "entry", 1)
    await records.position(50)
    await records.equity(30)
    await records.parity("2025-06-01", status="different", unexplained=1)
    document = await server.get("/api/v1/openapi.json")
    schema = schemathesis.openapi.from_dict(document)
    called = await asyncio.to_thread(call_everything, schema, server)
    assert len(called) >= 27


def call_everything(schema: schemathesis.BaseSchema, server: Server) -> set[str]:
    """Call each operation a few times; a check that fails raises with the request that did it."""
    called: set[str] = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=6, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def call(case: schemathesis.Case) -> None:
            # Whether a market, book or cursor exists is more than a schema can say.
            case.call_and_validate(
                base_url=server.url, headers=server.headers, excluded_checks=[positive_data_acceptance]
            )

        call()
        called.add(operation.label)
    return called


async def test_the_document_says_what_needs_the_token(server: Server) -> None:
    paths = (await server.get("/api/v1/openapi.json"))["paths"]
    assert paths["/api/v1/backtests"]["post"]["security"] == [{"token": []}]
    assert "security" not in paths["/api/v1/candles"]["get"]
    refused = paths["/api/v1/candles"]["get"]["responses"]["422"]
    assert list(refused["content"]) == ["application/problem+json"]
