from __future__ import annotations

import hashlib
import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemn_formats.errors import PemnError
from pemn_formats.normal_table import NORMAL_SHIFT, NORMAL_TABLE
from pemn_formats.philox import words
from pemn_formats.values import DISTRIBUTIONS, UNIT_STD, unit_values

# SHA-256 of 1,000 little-endian float32 values of seed 2022, stream 7. They never change.
GOLDEN = {
    ("signed", 0): "49b553f08f8f9aa588bd623c01dd8bd93f032bf22961e9924dbb7e1bc9e96d54",
    ("signed", 31): "99542b71ffb951520fd0d831133a35b222d4fb51afddb08cf03255813667b355",
    ("signed", (1 << 34) + 5): "60ed4e44c256cb94992eb101fb517bc6cfb841f27d39312d80af5ed5cc328423",
    ("uniform", 0): "58a83711e94be0b638e652b3e3796c9c9270ecef3fc37dddfc8668a08267866d",
    ("uniform", 31): "12195b432cbb3eb04a490d6eb9d336f409fafb229e9b4b2625de41217ea5f90e",
    ("uniform", (1 << 34) + 5): "b96b590eba3018a3dba6f9117aba36b1f60ce7225aa773464208e0f04591e66b",
    ("normal", 0): "84c887edfb62bd0e6c6a6a78e4dd63a9de534634b9113a5eefecbbd80f3150f1",
    ("normal", 31): "ce887e399f720ef6838dba8601666e69a26ff7542ced98d0187747d06948b52b",
    ("normal", (1 << 34) + 5): "8a48f190e155a6ffbe01ce3194524e0ec2d3069c615f37919bce732b8492dd2d",
}
every_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS)


@pytest.mark.parametrize(("distribution", "start"), GOLDEN)
def test_golden_hashes(distribution: str, start: int) -> None:
    found = unit_values(distribution, 2022, 7, start, 1000)
    assert found.dtype == np.float32
    assert hashlib.sha256(found.astype("<f4").tobytes()).hexdigest() == GOLDEN[distribution, start]


def test_every_distribution_has_golden_hashes() -> None:
    assert {distribution for distribution, _ in GOLDEN} == set(DISTRIBUTIONS) == set(UNIT_STD)


@every_distribution
@given(start=st.integers(0, 1 << 40), count=st.integers(0, 150), skip=st.integers(0, 150))
def test_a_slice_is_part_of_the_whole(distribution: str, start: int, count: int, skip: int) -> None:
    whole = unit_values(distribution, 1, 2, start, skip + count)
    part = unit_values(distribution, 1, 2, start + skip, count)
    assert part.shape == (count,)
    assert part.tobytes() == whole[skip:].tobytes()


def test_signed_values_are_the_bits_of_the_words() -> None:
    drawn = words(9, 4, 0, 3).tolist()
    expected = [-1.0 if drawn[i // 32] >> (i % 32) & 1 else 1.0 for i in range(96)]
    assert unit_values("signed", 9, 4, 0, 96).tolist() == expected


def test_uniform_values_are_odd_multiples_of_two_to_the_minus_24() -> None:
    found = unit_values("uniform", 9, 4, 0, 4096)
    multiples = found.astype(np.float64) * 2.0**24
    assert np.array_equal(multiples, np.rint(multiples))
    assert np.all(multiples.astype(np.int64) % 2 == 1)
    assert np.all(np.abs(found) < 1)
    expected = [(2 * (word >> 8) + 1 - (1 << 24)) / (1 << 24) for word in words(9, 4, 0, 4096).tolist()]
    assert found.tolist() == expected


def test_normal_values_are_table_entries_of_the_bytes() -> None:
    drawn = words(9, 4, 0, 8).tolist()
    expected = [int(NORMAL_TABLE[drawn[i // 4] >> (8 * (i % 4)) & 255]) / (1 << NORMAL_SHIFT) for i in range(32)]
    assert unit_values("normal", 9, 4, 0, 32).tolist() == expected


def test_the_normal_table_is_made_of_the_quantiles_of_the_normal_distribution() -> None:
    quantiles = [NormalDist().inv_cdf((entry + 0.5) / 256) for entry in range(256)]
    root_mean_square = math.sqrt(math.fsum(each * each for each in quantiles) / 256)
    assert NORMAL_TABLE.tolist() == [round(each / root_mean_square * 2**13) for each in quantiles]
    assert NORMAL_TABLE.dtype == np.int16


def test_the_normal_table_is_antisymmetric_increasing_and_cannot_be_changed() -> None:
    assert np.array_equal(NORMAL_TABLE, -NORMAL_TABLE[::-1])
    assert np.all(np.diff(NORMAL_TABLE.astype(int)) > 0)
    with pytest.raises(ValueError, match="read-only"):
        NORMAL_TABLE[0] = 0


@every_distribution
def test_the_standard_deviation_is_the_stated_one(distribution: str) -> None:
    drawn = unit_values(distribution, 0, 0, 0, 1 << 18).astype(np.float64)
    # Four standard errors, the fourth moment of all three being at most that of the normal.
    assert abs(drawn.std() / UNIT_STD[distribution] - 1) < 4 / math.sqrt(2 * (1 << 18))
    assert abs(drawn.mean()) < 4 * UNIT_STD[distribution] / math.sqrt(1 << 18)


def test_the_exact_standard_deviations() -> None:
    assert UNIT_STD["signed"] == 1
    assert UNIT_STD["uniform"] == pytest.approx(math.sqrt(1 / 3), rel=1e-15)
    assert UNIT_STD["normal"] == pytest.approx(1, abs=1e-4)


def test_an_unknown_distribution_is_refused() -> None:
    with pytest.raises(PemnError, match=r"^unknown distribution 'cauchy'; known: signed, uniform, normal$"):
        unit_values("cauchy", 0, 0, 0, 1)
