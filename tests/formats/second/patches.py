"""Bundles and patches by SPEC.md, sections 9 and 10."""

from __future__ import annotations

from second.container import File, check_padding
from second.fields import WIDTHS, Entry
from second.manifest import check, task_json
from second.tensors import check_values, plane_data, residual_data
from second.text import refuse_unless


def task(file: File, name: str) -> File:
    """One task of a bundle, as a file of its own would hold it."""
    prefix = f"{name}:"
    planes = zip(file.manifest.masked, plane_data(file.manifest, file.streams[1]), strict=True)
    masks = b"".join(b"".join(own) for tensor, own in planes if tensor.name.startswith(prefix))
    entries = residual_data(file.manifest, file.streams)
    residual = b"".join(data for entry, data in entries if entry.name.startswith(prefix))
    return File(check(task_json(file.manifest, name)), (file.streams[0], masks, residual))


def apply(base: File, patch: File) -> File:
    """The result of a patch."""
    refuse_unless(patch.manifest.is_patch and not base.manifest.is_patch, "no patch, or one as base")
    delta = patch.manifest.json["delta"]
    refuse_unless(base.content_id() == delta["base"], "a patch of another base")
    json = {key: value for key, value in patch.manifest.json.items() if key != "delta"}
    result = File(check(json), (_prototypes(base, patch), _masks(base, patch), _residual(base, patch)))
    check_padding(result)
    check_values(result.manifest, result.streams)
    refuse_unless(result.content_id() == delta["result"], "a result with another identity")
    return result


def _prototypes(base: File, patch: File) -> bytes:
    out, at, old = [], 0, _prototype_data(base)
    for number, data in enumerate(_prototype_data(patch)):
        source, length = patch.manifest.prototypes[number]
        if patch.manifest.json["delta"]["prototypes"][number]:
            refuse_unless(base.manifest.prototypes[number : number + 1] == ((source, length),), "another prototype")
            data = _restored(old[number], data, source)
        out.append(data)
        at += len(data)
    return b"".join(out)


def _prototype_data(file: File) -> list[bytes]:
    out, at = [], 0
    for size in file.manifest.prototype_bytes():
        out.append(file.streams[0][at : at + size])
        at += size
    return out


def _masks(base: File, patch: File) -> bytes:
    planes = plane_data(base.manifest, base.streams[1])
    old = {tensor.name: (tensor, own) for tensor, own in zip(base.manifest.masked, planes, strict=True)}
    out = []
    flags = patch.manifest.json["delta"]["masked"]
    for tensor, flag, own in zip(
        patch.manifest.masked, flags, plane_data(patch.manifest, patch.streams[1]), strict=True
    ):
        if flag:
            refuse_unless(tensor.name in old, "a difference from no tensor")
            before, theirs = old[tensor.name]
            refuse_unless((before.shape, before.alphabet) == (tensor.shape, tensor.alphabet), "a difference in shape")
            first = _xor(own[0], theirs[0])
            own = [first] if tensor.kept is None else [first, _signs(theirs, first, own[1], tensor.kept)]
        out += own
    return b"".join(out)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(left, right, strict=True))


def _signs(before: list[bytes], first: bytes, second: bytes, kept: int) -> bytes:
    """The second plane of a ternary result."""
    refuse_unless(sum(bin(byte).count("1") for byte in first) == kept, "another number of weights than `kept` says")
    out, rank, old_rank = bytearray(second), 0, 0
    for i in range(8 * len(first)):
        was = before[0][i >> 3] >> (i & 7) & 1
        if first[i >> 3] >> (i & 7) & 1:
            if was:
                out[rank >> 3] ^= (before[1][old_rank >> 3] >> (old_rank & 7) & 1) << (rank & 7)
            rank += 1
        old_rank += was
    return bytes(out)


def _residual(base: File, patch: File) -> bytes:
    old = {(entry.kind, entry.name): (entry, data) for entry, data in residual_data(base.manifest, base.streams)}
    out = []
    flags = patch.manifest.json["delta"]["residual"]
    for (entry, data), flag in zip(residual_data(patch.manifest, patch.streams), flags, strict=True):
        if flag:
            refuse_unless((entry.kind, entry.name) in old, "a difference from no entry")
            before, theirs = old[entry.kind, entry.name]
            refuse_unless(_like(before, entry), "a difference in shape")
            data = _restored(theirs, data, entry.dtype)
        out.append(data)
    return b"".join(out)


def _like(before: Entry, entry: Entry) -> bool:
    return (before.shape, before.dtype) == (entry.shape, entry.dtype)


def _restored(old: bytes, planes: bytes, dtype: str) -> bytes:
    """The new values, from the old ones and the planes of their folded differences."""
    width = WIDTHS.get(dtype, 1)
    count, bits = len(old) // width, 8 * width
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    is_float = "float" in dtype
    out = []
    for i in range(count):
        folded = int.from_bytes(planes[i::count], "little")
        difference = (folded >> 1) ^ (mask if folded & 1 else 0)
        value = int.from_bytes(old[i * width : (i + 1) * width], "little")
        value = (_ordered(value, top, mask) if is_float else value) + difference & mask
        if is_float:
            value = value ^ top if value & top else value ^ mask
        out.append(value.to_bytes(width, "little"))
    return b"".join(out)


def _ordered(value: int, top: int, mask: int) -> int:
    return value ^ mask if value & top else value | top
