"""What time it is where the candles come from: a session begins in event time, not in the host's."""

from __future__ import annotations

from trading.clock import TimeSample
from trading.config.model import Config
from trading.errors import VenueRetryable
from trading.markets import split_market
from trading.storage.settings import DatabaseTarget
from trading.venues.cluster_limits import ClusterLimits
from trading.venues.resolve import open_history

__all__ = ["ask_venue_time"]


async def ask_venue_time(config: Config, target: DatabaseTarget, origin: str) -> TimeSample:
    """The time at the first configured market's venue; VenueRetryable says what to check when it does not answer."""
    name = split_market(config.markets[0])[0]
    url = config.venues.of(name).rest_url
    try:
        async with (
            ClusterLimits(config, target) as limits,
            open_history(config, name, origin=origin, limits=limits) as history,
        ):
            return await history.time()
    except VenueRetryable as error:
        raise VenueRetryable(
            f"The venue does not answer at {url}: {error.message}",
            retry_after_s=error.retry_after_s,
            field=f"venues.{name}.rest_url",
            value=url,
            fix=f"Check the network, or HTTPS_PROXY, or venues.{name}.rest_url; then start again.",
        ) from error
