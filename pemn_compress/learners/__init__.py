"""Learners by name. A new one is a file beside these and a line in `LEARNERS`."""

from __future__ import annotations

from pemn_compress.learners.base import Learner
from pemn_compress.learners.global_topk import GlobalTopK
from pemn_compress.learners.threshold import Threshold
from pemn_compress.learners.topk import TopK

__all__ = ["LEARNERS", "Learner"]

LEARNERS: dict[str, type[Learner]] = {learner.name: learner for learner in (Threshold, TopK, GlobalTopK)}
