"""The published table of normal quantiles: what makes `normal` values the same on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["NORMAL_SHIFT", "NORMAL_TABLE"]

NORMAL_SHIFT = 13

# Entry 128 + k is the quantile of (k + 128.5) / 256 of the standard normal, divided by the root mean square of all 256
# quantiles so that the values have standard deviation 1, times 2^13, rounded. Entry 127 - k is its negative.
# fmt: off
_UPPER_HALF = (
       40,   121,   201,   282,   362,   442,   523,   604,   684,   765,   846,   927,  1008,  1089,  1170,  1251,
     1333,  1414,  1496,  1578,  1660,  1742,  1824,  1907,  1989,  2072,  2155,  2239,  2322,  2406,  2490,  2575,
     2659,  2744,  2829,  2915,  3001,  3087,  3173,  3260,  3347,  3435,  3523,  3611,  3700,  3789,  3879,  3969,
     4060,  4151,  4242,  4334,  4427,  4520,  4614,  4709,  4804,  4900,  4996,  5093,  5191,  5289,  5389,  5489,
     5590,  5692,  5794,  5898,  6003,  6108,  6215,  6322,  6431,  6541,  6652,  6764,  6878,  6992,  7109,  7226,
     7346,  7466,  7589,  7713,  7839,  7967,  8096,  8228,  8362,  8498,  8637,  8778,  8921,  9068,  9217,  9370,
     9526,  9685,  9848, 10015, 10187, 10362, 10543, 10729, 10921, 11119, 11323, 11535, 11755, 11983, 12221, 12470,
    12731, 13006, 13295, 13603, 13930, 14282, 14662, 15076, 15532, 16042, 16622, 17300, 18122, 19178, 20700, 23699,
)
# fmt: on

NORMAL_TABLE: npt.NDArray[np.int16] = np.array(
    [-value for value in reversed(_UPPER_HALF)] + list(_UPPER_HALF), dtype=np.int16
)
NORMAL_TABLE.flags.writeable = False
