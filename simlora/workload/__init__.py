"""Who asks what and when: trace schema, generators, importers."""

from simlora.workload.blocks import BLOCK_ROWS, RequestBlock, Traffic
from simlora.workload.traffic import open_traffic

__all__ = ["BLOCK_ROWS", "RequestBlock", "Traffic", "open_traffic"]
