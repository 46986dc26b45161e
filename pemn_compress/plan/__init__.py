"""Nets for a number of bytes: which shapes fit, and what their files will take, before anything is trained."""

from __future__ import annotations

from pemn_compress.plan.candidates import Candidate, candidates
from pemn_compress.plan.choice import planned
from pemn_compress.plan.measured import Measured, measured_near
from pemn_compress.plan.shapes import FAMILIES

__all__ = ["FAMILIES", "Candidate", "Measured", "candidates", "measured_near", "planned"]
