"""What a GPU-hour costs, as it is bought."""

from __future__ import annotations

from simlora.scenario.cost import Cost, GpuPrices

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


def rented_usd_per_gpu_hour(listed_usd: float, cost: Cost) -> float:
    """USD for an hour of a GPU whose price on demand is `listed_usd`: as it is bought, and its part
    of the host."""
    return listed_usd * price_factor(cost.gpu) + cost.host_usd_per_gpu_hour
