"""Rules about which requests may share a replica's batch, and when one may join it."""

from simlora.serving.batching.base import BatchRule, Push
from simlora.serving.batching.merged import Merging
from simlora.serving.batching.pass_over import PassOver
from simlora.serving.batching.rules import BatchRules
from simlora.serving.batching.trust import TrustClasses

__all__ = ["BatchRule", "BatchRules", "Merging", "PassOver", "Push", "TrustClasses"]
