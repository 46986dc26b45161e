"""The chances of the bits of a matrix by SPEC.md, section 6 ("Counts", "Matrices", "After a block")."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from operator import mul

from second.order import Matrix, groups

NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
FIRST_WEIGHTS = (0, 19, 6, 3, 3, 0, 64)
MOST_WEIGHT = 1 << 22
MOST_LIKENESS = 32000
HISTORY = 256
# fmt: off
K = (
    1, 2, 4, 6, 10, 17, 27, 45, 74, 120, 194, 311, 488, 747, 1102, 1546, 2048,
    2550, 2994, 3349, 3608, 3785, 3902, 3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095,
)
# fmt: on

Decode = Callable[[list[int]], list[int]]
"""Takes the chances of a block's bits, gives the bits."""


def squash(d: int) -> int:
    j, e = (d >> 7) + 16, d % 128
    return min(4095, max(1, ((128 - e) * K[j] + e * K[j + 1] + 64) >> 7))


def _stretches() -> list[int]:
    """stretch(p) for p from 0 to 4095."""
    out, d = [], -2047
    for p in range(4096):
        while d < 2047 and squash(d) < p:
            d += 1
        out.append(d)
    return out


SQUASH = [squash(d) for d in range(-2047, 2048)]
STRETCH = _stretches()


class Pair:
    """Counts of zeros and of ones."""

    def __init__(self) -> None:
        self.counts = [1, 1]

    def chance(self) -> int:
        zeros, ones = self.counts
        return min(4095, max(1, 4096 * ones // (zeros + ones)))

    def learn(self, zeros: int, ones: int) -> None:
        """Count the bits of a block."""
        counts = [self.counts[0] + 2 * zeros, self.counts[1] + 2 * ones]
        if sum(counts) > 16384:
            counts = [(count + 1) // 2 for count in counts]
        self.counts = counts


class State:
    """What the matrices of a chunk share: one for those of first planes, one for those of second planes."""

    def __init__(self) -> None:
        self.pairs: dict[int, Pair] = {}
        self.weights = [1024 * weight for weight in FIRST_WEIGHTS]
        self.sums = [0] * len(FIRST_WEIGHTS)

    def pair(self, number: int) -> Pair:
        return self.pairs.setdefault(number, Pair())

    def learn(self, inputs: list[list[int]], errors: list[int]) -> None:
        """Move the weights after a block, each against the error that its input saw coming."""
        for at, column in enumerate(zip(*inputs, strict=True)):
            g = sum(map(mul, column, errors)) >> 8
            self.sums[at] += g * g >> 8
            step = abs(g) * 3072 // isqrt(16 * self.sums[at] + (1 << 20))
            self.weights[at] = _within(self.weights[at] + (step if g > 0 else -step), MOST_WEIGHT)


def read_matrix(matrix: Matrix, state: State, present: list[int] | None, decode: Decode) -> list[int]:
    """The bit of every weight of a matrix; those that `present` says are zero have none, and stay 0."""
    bits = [0] * (matrix.rows * matrix.columns)
    signs = [1] * len(bits) if matrix.signs is None else matrix.signs()
    known = [[0] * matrix.rows for _ in range(matrix.columns)]
    density = Pair()
    for first, count in groups(matrix.rows):
        _Group(matrix, state, density, known, first, count).read(present, signs, bits, decode)
    return bits


class _Group:
    """Rows that are coded together, column by column."""

    def __init__(
        self, matrix: Matrix, state: State, density: Pair, known: list[list[int]], first: int, count: int
    ) -> None:
        self.matrix, self.state, self.density, self.known = matrix, state, density, known
        self.first, self.count = first, count
        self.before = min(first, HISTORY)
        self.likeness = [[0] * self.before for _ in range(count)]
        self.surprise = [[0] * self.before for _ in range(count)]
        self.sums, self.ones = [0] * count, [0] * count

    def read(self, present: list[int] | None, signs: list[int], bits: list[int], decode: Decode) -> None:
        matrix = self.matrix
        for q in range(matrix.columns):
            place, kernel = divmod(q, matrix.inputs)
            column = kernel * matrix.size + place
            at = [(self.first + row) * matrix.columns + column for row in range(self.count)]
            rows = [row for row in range(self.count) if present is None or present[at[row]]]
            if not rows:
                continue
            found = self._block(q, column, rows, [signs[at[row]] for row in rows], decode)
            for row, bit in zip(rows, found, strict=True):
                bits[at[row]] = bit

    def _block(self, q: int, column: int, rows: list[int], signs: list[int], decode: Decode) -> list[int]:
        inputs, pairs, chances = [], [], []
        known = self.known[column]
        history, total = known[self.first - self.before : self.first], sum(known[: self.first])
        steady = self.density.chance()
        by_pairs, by_column, by_rows = _root(q * self.before), _root(q), _root(self.first)
        near = self._neighbours(column)
        for row, s in zip(rows, signs, strict=True):
            pair = self._pair(near, self.first + row, s)
            values = (
                64,
                s * sum(map(mul, self.likeness[row], history)) * by_pairs >> 26,
                s * sum(map(mul, self.surprise[row], history)) * by_pairs >> 27,
                s * self.sums[row] * by_column >> 22,
                s * total * by_rows >> 22,
                self.ones[row] * by_column >> 22,
                STRETCH[steady if pair is None else pair.chance()],
            )
            inputs.append([_within(value, 2047) for value in values])
            d = _within(sum(map(mul, self.state.weights, inputs[-1])) >> 16, 2047)
            chances.append(SQUASH[d + 2047])
            pairs.append(pair)
        bits = decode(chances)
        errors = [4096 * bit - p for bit, p in zip(bits, chances, strict=True)]
        self.state.learn(inputs, errors)
        usual = (steady + 256) >> 9
        for row, s, bit, error in zip(rows, signs, bits, errors, strict=True):
            u = s * (8 * bit - usual)
            known[self.first + row] = u
            self.likeness[row] = _grown(self.likeness[row], u, history)
            self.surprise[row] = _grown(self.surprise[row], s * ((error + 128) >> 8), history)
            self.sums[row] += u
            self.ones[row] += s * u
        self.density.learn(len(bits) - sum(bits), sum(bits))
        self._count(pairs, bits)
        return bits

    def _neighbours(self, column: int) -> list[list[int] | None]:
        """The known weights of every row at each neighbour of a place in its kernel."""
        down, right = divmod(column % self.matrix.size, self.matrix.width)
        out: list[list[int] | None] = []
        for y, x in NEIGHBOURS:
            inside = down + y >= 0 and 0 <= right + x < self.matrix.width
            out.append(self.known[column + y * self.matrix.width + x] if inside else None)
        return out

    def _pair(self, near: list[list[int] | None], row: int, s: int) -> Pair | None:
        if self.matrix.size == 1:
            return None
        number = 0
        for known in near:
            value = known[row] if known is not None else 0
            number = 3 * number + 1 + s * ((value > 0) - (value < 0))
        return self.state.pair(number)

    def _count(self, pairs: list[Pair | None], bits: list[int]) -> None:
        counted: dict[Pair, list[int]] = {}
        for pair, bit in zip(pairs, bits, strict=True):
            if pair is not None:
                counted.setdefault(pair, [0, 0])[bit] += 1
        for each, (zeros, ones) in counted.items():
            each.learn(zeros, ones)


def _root(n: int) -> int:
    """R(n)."""
    return (1 << 28) // max(1, isqrt(n))


def _within(value: int, most: int) -> int:
    return max(-most, min(most, value))


def _grown(row: list[int], by: int, history: list[int]) -> list[int]:
    if by == 0 or not row:
        return row
    grown = [value + by * other for value, other in zip(row, history, strict=True)]
    if max(grown) > MOST_LIKENESS or min(grown) < -MOST_LIKENESS:
        return [_within(value, MOST_LIKENESS) for value in grown]
    return grown
