"""How long adapters take to come back, from where they lie when a run begins."""

from __future__ import annotations

import numpy as np
import pytest

from simlora.planning.reloads import reload_seconds
from simlora.scenario.deployment import expand
from simlora.serving.loading import DISK, NETWORK, PCIE, LoadPath
from simlora.timing import make_timing
from tests.simulating import small_scenario


def seconds(initial_tier: str, **tiers: dict[str, float]) -> np.ndarray:
    return reload_seconds(expand(small_scenario(adapters={"initial_tier": initial_tier, **tiers})))


def hops() -> list[float]:
    """Seconds of an adapter over each link: network, disk, PCIe."""
    deployment = expand(small_scenario())
    assert make_timing(deployment, 0).load is None
    path = LoadPath(deployment.scenario.adapters, deployment.gpus[0].pcie_gb_per_s * 1e9)
    nbytes = deployment.adapters[0].nbytes
    return [path.alone_s(link, nbytes) for link in (NETWORK, DISK, PCIE)]


@pytest.mark.parametrize(("tier", "link"), [("store", NETWORK), ("nvme", DISK), ("warm", None)])
def test_an_adapter_comes_over_every_link_above_it(tier: str, link: int | None) -> None:
    links_s = hops()
    expected = links_s[PCIE] + (0.0 if link is None else links_s[link])
    assert seconds(tier).tolist() == pytest.approx([expected] * 4)


def test_what_has_no_room_lies_one_tier_below() -> None:
    network_s, disk_s, pcie_s = hops()
    adapter_gb = expand(small_scenario()).adapters[0].nbytes / 1e9
    found = seconds(
        "warm", warm={"capacity_gb": 1.5 * adapter_gb}, nvme={"capacity_gb": 3.5 * adapter_gb}
    )
    assert found.tolist() == pytest.approx(
        [pcie_s, pcie_s + disk_s, pcie_s + disk_s, pcie_s + network_s]
    )
