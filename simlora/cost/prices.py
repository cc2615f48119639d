"""What a GPU-hour costs, as it is bought."""

from __future__ import annotations

from simlora.scenario.cost import GpuPrices

_DAY_S = 86_400.0


def price_factor(prices: GpuPrices) -> float:
    """The price of an hour's worth of computing, over the price on demand.

    An hour on spot gives less than an hour's worth: each interruption loses `spot_recovery_s`, so
    more hours are bought for the same work.
    """
    lost = prices.spot_interruptions_per_day * prices.spot_recovery_s / _DAY_S
    spot = (1 - prices.spot_discount) / (1 - lost)
    reserved = 1 - prices.reserved_discount
    on_demand_share = 1 - prices.reserved_share - prices.spot_share
    return on_demand_share + prices.reserved_share * reserved + prices.spot_share * spot
