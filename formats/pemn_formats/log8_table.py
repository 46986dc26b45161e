"""The published fractions of a power of two behind `log8`: what makes its values the same on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LOG8_STEPS", "LOG8_TABLE"]

LOG8_STEPS = 64

# Entry j is 2^(24 - j / 64) rounded to the nearest integer: all have 24 bits (the first has 25 and is a power of two),
# so each of them times a power of two is a float32 without rounding.
# fmt: off
_INTEGERS = (
    16777216, 16596492, 16417715, 16240863, 16065917, 15892855, 15721658, 15552304,
    15384775, 15219050, 15055111, 14892937, 14732511, 14573813, 14416824, 14261526,
    14107901, 13955931, 13805598, 13656884, 13509772, 13364245, 13220286, 13077877,
    12937002, 12797645, 12659789, 12523418, 12388516, 12255067, 12123055, 11992466,
    11863283, 11735492, 11609078, 11484025, 11360319, 11237946, 11116891, 10997140,
    10878679, 10761494, 10645571, 10530897, 10417458, 10305242, 10194234, 10084422,
    9975792, 9868333, 9762032, 9656875, 9552851, 9449948, 9348154, 9247455,
    9147842, 9049301, 8951823, 8855394, 8760003, 8665641, 8572295, 8479954,
)
# fmt: on

LOG8_TABLE: npt.NDArray[np.float32] = np.array(_INTEGERS, dtype=np.float32) * np.float32(2.0**-24)
"""2^(-j / 64) for j = 0 to 63, each the nearest float32."""
