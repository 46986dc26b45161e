"""Dense weights on the device from packed masks: many tensors in one copy and one launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from pemn_compress.kernels.arena import Arena
from pemn_compress.kernels.launch import as_signed, on_device
from pemn_compress.kernels.line import FIELDS, line_kernel
from pemn_compress.kernels.room import with_room
from pemn_compress.kernels.sources import SIGNED_SOURCES, TILES, Source, source_of, table_of
from pemn_formats.content import Content, MaskedSpec, MaskedTensor
from pemn_formats.errors import PemnError
from pemn_formats.fills import PERMUTATION_STREAM, feistel_keys, half_bits
from pemn_formats.reconstruct import scale_of
from pemn_formats.rounding import narrow
from pemn_formats.values import NORMAL_TABLE

__all__ = ["DTYPES", "launcher", "prepared", "reconstruct_many", "supports"]

DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}

Tables: TypeAlias = dict[Source, torch.Tensor]
"""The values that kernels read, on the device."""

_LIMIT = 1 << 30  # what is counted in 32 bits inside the kernel
_SMALL = 8


@dataclass
class _Job:
    """A tensor on its way to the kernel; numbers are those of the arena."""

    tensor: MaskedTensor
    source: Source
    planes: list[int]
    scale: int
    channels: str
    per_channel: int
    rank: torch.Tensor | None = None
    out: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def variant(self) -> tuple[str, str, str]:
        return self.source.kind, self.tensor.alphabet, self.channels


def supports(content: Content, tensor: MaskedSpec) -> bool:
    """Say whether the kernel takes a tensor: lengths that repeat and channels must stay under 2^30 weights."""
    repeats = not tensor.span and content.prototypes[tensor.prototype].length < tensor.numel
    long = repeats and content.prototypes[tensor.prototype].length >= _LIMIT
    return not long and (tensor.scale is not None or tensor.numel // max(1, tensor.shape[0]) < _LIMIT)


def reconstruct_many(
    content: Content,
    tensors: Sequence[MaskedTensor],
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    places: Sequence[torch.Tensor] | None = None,
    tables: Tables | None = None,
) -> list[torch.Tensor]:
    """Return the dense weights of masked tensors, each in its shape: the same bytes as `pemn_formats.reconstruct`.

    Everything travels in one copy. Tensors that differ in source, alphabet or kind of scale take a launch each kind.
    `places` and `tables` as `prepared`. Raises `PemnError` for a dtype other than float32, float16 and bfloat16.
    """
    weights, run = prepared(content, tensors, device, dtype, places, tables)
    run()
    return weights


def prepared(
    content: Content,
    tensors: Sequence[MaskedTensor],
    device: torch.device | str,
    dtype: torch.dtype,
    places: Sequence[torch.Tensor] | None = None,
    tables: Tables | None = None,
) -> tuple[list[torch.Tensor], Callable[[], None]]:
    """Return tensors without values yet, and what fills them, with everything it reads on the device.

    They are new, or the given `places`, each made by `with_room`, or such that `takes_stores`. `tables` are those that
    an earlier call with the same content, device and stream has left there; this one adds its own.
    """
    device = torch.device(device)
    if dtype not in DTYPES:
        raise PemnError(f"weights are rebuilt as {', '.join(map(str, DTYPES))}, found {dtype}")
    arena, jobs = Arena(), []
    tables = {} if tables is None else tables
    added: dict[Source, int] = {}
    for tensor in tensors:
        source = source_of(content, tensor)
        if source not in tables and source not in added and (table := table_of(content, source)) is not None:
            added[source] = arena.add(table)
        jobs.append(_job(content, tensor, source, arena, DTYPES[dtype]))
    keys = {
        prototype: arena.add(feistel_keys(content.seed, PERMUTATION_STREAM + prototype))
        for prototype in {tensor.prototype for tensor in tensors if tensor.span}
    }
    arena.send(device)
    tables |= {source: arena.tensor(number) for source, number in added.items()}
    variants: dict[tuple[str, str, str], list[_Job]] = {}
    for at, job in enumerate(jobs):
        job.out = with_room(job.tensor, dtype, device) if places is None else places[at]
        if job.tensor.numel:
            if job.tensor.alphabet == "ternary":
                job.rank = _rank(arena.tensor(job.planes[0]), _tile(job.source.kind, job.channels))
            variants.setdefault(job.variant, []).append(job)
    launches = []
    for variant, members in variants.items():
        rows = np.array([_row(job, content, arena, tables, keys) for job in members], dtype=np.int64)
        launches.append(launcher(rows, variant, DTYPES[dtype], device))

    def run(_held: object = (arena, jobs, tables)) -> None:  # the addresses in the tables are of these
        for launch in launches:
            launch()

    return [job.out for job in jobs], run


def launcher(
    rows: npt.NDArray[np.int64], variant: tuple[str, str, str], dtype: str, device: torch.device
) -> Callable[[], None]:
    """Return the launch over tensors of one variant (source, alphabet, channels); `rows` are their `FIELDS`."""
    kind, alphabet, channels = variant
    tile = _tile(kind, channels)
    programs = -(-rows[:, FIELDS.index("numel")] // tile)
    starts = np.cumsum(programs) - programs
    owner = np.repeat(np.arange(len(rows)), programs)
    tiles = np.stack((owner, np.arange(len(owner)) - starts[owner]), axis=1).astype(np.int32)
    arena = Arena()
    for array in (rows, tiles, _NORMAL_VALUES):
        arena.add(array)
    arena.send(device)

    def launch() -> None:
        with on_device(device):
            line_kernel[(len(tiles),)](
                arena.tensor(0).view(torch.int64),
                arena.tensor(1).view(torch.int32),
                arena.tensor(2).view(torch.float32),
                SOURCE=kind,
                ALPHABET=alphabet,
                CHANNELS=channels,
                DTYPE=dtype,
                TILE=tile,
                num_warps=4,
                enable_fp_fusion=False,  # said, because Triton warns where it is not; there is nothing to fuse
            )

    return launch


def _job(content: Content, tensor: MaskedTensor, source: Source, arena: Arena, dtype: str) -> _Job:
    scale = scale_of(content, tensor).reshape(-1)
    # Values of +1 and -1 take the scale rounded: it is all that is left of the float arithmetic.
    rounded = narrow(scale, dtype) if source.kind in SIGNED_SOURCES else scale
    bits = rounded.view(np.int32 if rounded.itemsize == 4 else np.uint16).astype(np.int32)
    per_channel = tensor.numel // max(1, scale.size)
    channels = "one" if scale.size == 1 else "wide" if per_channel >= _SMALL else "narrow"
    planes = [arena.add(plane) for plane in tensor.planes]
    return _Job(tensor, source, planes, arena.add(bits), channels, per_channel)


def _row(job: _Job, content: Content, arena: Arena, tables: Tables, keys: dict[int, int]) -> list[int]:
    tensor, table = job.tensor, tables.get(job.source)
    ternary = job.rank is not None
    values = {
        "out": job.out.data_ptr(),
        "mask": arena.address(job.planes[0]),
        "negative": arena.address(job.planes[1]) if ternary else 0,
        "rank": job.rank.data_ptr() if job.rank is not None else 0,
        "scale": arena.address(job.scale),
        "values": 0 if table is None else table.data_ptr(),
        "keys": arena.address(keys[tensor.prototype]) if tensor.span else 0,
        "numel": tensor.numel,
        "per_channel": job.per_channel,
        "length": content.prototypes[tensor.prototype].length,
        "seed": as_signed(content.seed),
        "stream": tensor.prototype,
        "span": tensor.span,
        "half": half_bits(tensor.span) if tensor.span else 0,
    }
    return [values[name] for name in FIELDS]


def _tile(source: str, channels: str) -> int:
    """Return how many weights a program writes; scales that differ take registers too."""
    return TILES[source] if channels == "one" else min(TILES[source], 8192)


def _rank(mask: torch.Tensor, tile: int) -> torch.Tensor:
    """Return how many nonzero weights come before each quarter of each tile, int64."""
    pairs = mask - ((mask >> 1) & 0x55)
    quads = (pairs & 0x33) + ((pairs >> 2) & 0x33)
    ones = (quads + (quads >> 4)) & 0xF
    padded = torch.nn.functional.pad(ones, (0, -ones.numel() % (tile // 8)))
    counts = padded.view(-1, tile // 32).sum(dim=1)
    return counts.cumsum(0) - counts


_NORMAL_VALUES = NORMAL_TABLE.astype(np.float32) * np.float32(2.0**-13)
