from tests.trading.venues.simulator.conftest import gapped

__all__ = ["gapped"]
