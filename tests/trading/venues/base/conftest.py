"""One node for the session's tests of the chain, with an exchange of either token order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chain.node import Node, installed, running
from tests.chain.uniswap import Exchange, deployed


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    with running(installed()) as started:
        yield started


@pytest.fixture(scope="session", params=[False, True], ids=["USDC is token0", "cbBTC is token0"])
def exchange(node: Node, request: pytest.FixtureRequest) -> Exchange:
    return deployed(node, cbbtc_first=request.param)


@pytest.fixture(autouse=True)
def undone(node: Node) -> Iterator[None]:
    """Each test leaves the chain as it found it."""
    with node.undone():
        yield
