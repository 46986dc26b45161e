"""What the context coder codes, and in which order, by SPEC.md, section 6 ("Order")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

MOST_BLOCKS = 1 << 19
LEAST = 8
LEAST_ALONE = 512


@dataclass(frozen=True)
class Plane:
    """The bits of a plane that lie in a chunk: their first place in the chunk, in the plane, and their number."""

    place: int
    begin: int
    count: int
    whole: bool


@dataclass(frozen=True)
class Part:
    """A tensor with the parts of its planes that lie in a chunk; `shape` is None where matrices are not allowed.

    `signs` gives the signs of base values (begin, end).
    """

    planes: list[Plane]
    shape: tuple[int, ...] | None
    kept: int | None
    signs: Callable[[int, int], list[int]]


@dataclass(frozen=True)
class Shared:
    """Places in the chunk of bits that share one chance."""

    places: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Alone:
    places: range


@dataclass(frozen=True)
class Matrix:
    """Rows of one plane: the chunk's place of the first bit, and the kernels that a row consists of."""

    place: int
    rows: int
    columns: int
    inputs: int
    width: int
    signs: Callable[[], list[int]] | None
    kept: int | None
    second: bool

    @property
    def size(self) -> int:
        """Weights of a kernel."""
        return self.columns // self.inputs


Unit = Shared | Alone | Matrix


def units(parts: list[Part]) -> list[Unit]:
    """Everything in the chunk, in the order in which it is coded."""
    out: list[Unit] = []
    room = MOST_BLOCKS
    for part in parts:
        matrices = _matrices(part)
        needed = sum(matrix.columns * len(list(groups(matrix.rows))) for matrix in matrices)
        if matrices and needed <= room:
            room -= needed
            first, last = part.planes[0], matrices[0].place + matrices[0].rows * matrices[0].columns
            _share(out, range(first.place, matrices[0].place))
            out += matrices
            if len(matrices) == 1:
                _share(out, range(last, first.place + first.count))
            continue
        for plane in part.planes:
            places = range(plane.place, plane.place + plane.count)
            needed = len(list(growing(plane.count)))
            if plane.count >= LEAST_ALONE and needed <= room:
                room -= needed
                out.append(Alone(places))
            else:
                _share(out, places)
    return out


def _share(out: list[Unit], places: range) -> None:
    if not places:
        return
    last = out[-1] if out else None
    if isinstance(last, Shared):
        last.places.extend(places)
    else:
        out.append(Shared([*places]))


def _matrices(part: Part) -> list[Matrix]:
    """The matrices of a tensor, without regard to the room that is left."""
    if part.shape is None or len(part.shape) < 2:
        return []
    columns = 1
    for size in part.shape[1:]:
        columns *= size
    if columns < LEAST:
        return []
    inputs, width = part.shape[1], part.shape[-1]
    plane = part.planes[0]
    if part.kept is None:
        first, last = -(-plane.begin // columns), (plane.begin + plane.count) // columns
        if last - first < LEAST:
            return []
        signs = partial(part.signs, first * columns, last * columns)
        place = plane.place + first * columns - plane.begin
        return [Matrix(place, last - first, columns, inputs, width, signs, None, False)]
    if part.shape[0] < LEAST or not all(each.whole for each in part.planes):
        return []
    rows, signs = part.shape[0], partial(part.signs, 0, plane.count)
    return [
        Matrix(plane.place, rows, columns, inputs, width, None, part.kept, False),
        Matrix(part.planes[1].place, rows, columns, inputs, width, signs, part.kept, True),
    ]


def groups(rows: int) -> Iterator[tuple[int, int]]:
    """The first row of each group of a matrix, and its rows."""
    at = 0
    while at < rows:
        count = min(rows - at, 64, max(8, at // 8))
        yield at, count
        at += count


def growing(count: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each block of bits that are coded alone."""
    at, size = 0, 32
    while at < count:
        yield at, min(at + size, count)
        at += size
        size = min(2 * size, 8192)
