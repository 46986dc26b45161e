"""Bundles: several models over one set of prototypes in one content, told apart by "task:name"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from pemn_formats.content import Content, Delta, Prototype, Task
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.manifest import Manifest
from pemn_formats.names import TASK_SEPARATOR, check_name, check_task_name, shown

__all__ = ["in_task", "join", "not_a_model", "parts", "select_task"]

Held = TypeVar("Held", Content, Manifest)


def in_task(task: str, name: str) -> str:
    """Return the name that a tensor of a task has in a bundle."""
    return f"{task}{TASK_SEPARATOR}{name}"


def select_task(held: Held, task: str | None = None) -> Held:
    """Return one model of a file under its plain names: a bundle's task, or without tasks the content itself.

    Raises `PemnError` where there is no such model: the file is a patch, a bundle and no task is named (it lists the
    tasks), or the task is not in it.
    """
    if held.delta is not None:
        raise not_a_model(held.delta)
    if not held.tasks:
        if task is not None:
            raise PemnError(f"the file holds a single model, there is no task {shown(task)} to choose; name no task")
        return held
    known = ", ".join(sorted(held.tasks))
    if task is None:
        raise PemnError(f"the file is a bundle; choose one of its tasks (--task or task=): {known}")
    if task not in held.tasks:
        raise PemnError(f"the bundle has no task {shown(task)}; it has {known}")
    return parts(held)[task]


def not_a_model(delta: Delta) -> PemnError:
    """Return the error for a patch where a model is needed."""
    return PemnError(
        f"the file is a delta of content {delta.base}, no model; `pemn-compress apply` makes one of the two"
    )


def parts(held: Held) -> dict[str, Held]:
    """Return the models of a bundle by task, each with its plain names and the shared seed and prototypes.

    Raises `FormatError` for a name that belongs to no task, and for a task without tensors.
    """
    if held.architecture is not None or held.input is not None:
        raise FormatError("a bundle has an architecture and an input for each task, none of its own")
    masked, residual, aliases = ({task: [] for task in held.tasks} for _ in range(3))  # type: ignore[var-annotated]
    for tensor in held.masked:
        task, name = _parted(tensor.name, held.tasks)
        masked[task].append(replace(tensor, name=check_name(name)))
    for entry in held.residual:
        task, name = _parted(entry.name, held.tasks)
        residual[task].append(replace(entry, name=check_name(name, empty=entry.kind == "bn")))
    for alias, target in held.aliases.items():
        task, name = _parted(alias, held.tasks)
        target_task, target_name = _parted(target, held.tasks)
        if task != target_task:
            raise FormatError(f"the alias {shown(alias)} names {shown(target)}, which belongs to another task")
        aliases[task].append((check_name(name), target_name))
    out = {}
    for task, settings in held.tasks.items():
        if not masked[task] and not residual[task]:
            raise FormatError(f"the task {shown(task)} holds no tensors")
        extra = held.extra.get(task)
        out[task] = replace(
            held,
            masked=tuple(masked[task]),
            residual=tuple(residual[task]),
            architecture=settings.architecture,
            input=settings.input,
            aliases=dict(aliases[task]),
            extra=extra if isinstance(extra, dict) else {},
            tasks={},
        )
    return out


def join(models: Mapping[str, Content]) -> Content:
    """Return the bundle of models by task name; `parts` is its inverse.

    Raises `PemnError` where the models do not have the same seed and prototypes, naming the difference, and for a
    name that no task can have.
    """
    if not models:
        raise PemnError("a bundle needs at least one model")
    tasks = sorted(models)
    for task in tasks:
        try:
            check_task_name(task)
        except FormatError as error:
            raise PemnError(f"{error}; choose another name") from None
        if models[task].tasks or models[task].delta is not None:
            kind = "a bundle itself" if models[task].tasks else "a delta"
            raise PemnError(f"the model of task {shown(task)} is {kind}; a bundle is made of single models")
        _check_shared(tasks[0], models[tasks[0]], task, models[task])
    first = models[tasks[0]]
    return Content(
        seed=first.seed,
        prototypes=first.prototypes,
        masked=tuple(replace(each, name=in_task(task, each.name)) for task in tasks for each in models[task].masked),
        residual=tuple(
            replace(each, name=in_task(task, each.name)) for task in tasks for each in models[task].residual
        ),
        aliases={
            in_task(task, alias): in_task(task, target)
            for task in tasks
            for alias, target in models[task].aliases.items()
        },
        extra={task: dict(models[task].extra) for task in tasks if models[task].extra},
        tasks={task: Task(models[task].architecture, models[task].input) for task in tasks},
    )


def _parted(name: str, tasks: Mapping[str, Task]) -> tuple[str, str]:
    task, separator, plain = name.partition(TASK_SEPARATOR)
    if not separator or task not in tasks:
        raise FormatError(f"{shown(name)} belongs to no task of the bundle")
    return task, plain


def _check_shared(first: str, left: Content, second: str, right: Content) -> None:
    between = f"the tasks {shown(first)} and {shown(second)} cannot share one set of values:"
    remedy = "train them from the same mask options and seed"
    if left.seed != right.seed:
        raise PemnError(f"{between} their seeds are {left.seed} and {right.seed}; {remedy}")
    if len(left.prototypes) != len(right.prototypes):
        raise PemnError(f"{between} they have {len(left.prototypes)} and {len(right.prototypes)} prototypes; {remedy}")
    for index, (one, other) in enumerate(zip(left.prototypes, right.prototypes, strict=True)):
        if (one.length, one.source) != (other.length, other.source):
            raise PemnError(
                f"{between} prototype {index} is {one.length} {one.source} values"
                f" in one, {other.length} {other.source} in the other; {remedy}"
            )
        if _bytes(one) != _bytes(other):
            raise PemnError(f"{between} the values of prototype {index} differ; {remedy}")


def _bytes(prototype: Prototype) -> bytes:
    return b"" if prototype.values is None else prototype.values.tobytes()
