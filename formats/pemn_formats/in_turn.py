"""A model in pieces that can each be made dense alone, so that no more than one of them is ever held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pemn_formats.bundle import in_task, select_task
from pemn_formats.content import Content
from pemn_formats.reader import Reader

__all__ = ["in_turn"]


def in_turn(reader: Reader, task: str | None = None) -> Iterator[Content]:
    """Yield a content for each masked tensor and each residual entry, in the order of the file, scales beside them.

    Their state dicts together are the model's, but for its aliases. Only chunks' CRC-32 are checked, as by
    `Reader.masked`. Raises `PemnError` as `bundle.select_task` does.
    """
    model = select_task(reader.manifest, task)

    def held(name: str) -> str:
        return name if task is None else in_task(task, name)

    for spec in model.masked:
        tensor = replace(reader.masked(held(spec.name)), name=spec.name)
        scales = () if spec.scale is not None else (replace(reader.residual(held(spec.name), "scale"), name=spec.name),)
        yield Content(model.seed, tuple(reader.prototypes_for([spec])), (tensor,), scales)
    for entry in model.residual:
        if entry.kind != "scale":
            kinds = ("int8", "scale") if entry.kind == "int8" else (entry.kind,)
            found = (replace(reader.residual(held(entry.name), kind), name=entry.name) for kind in kinds)
            yield Content(model.seed, (), (), tuple(found))
