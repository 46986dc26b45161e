"""From untrusted JSON to what a manifest says besides its tensors: architecture, input, aliases, tasks, delta."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pemn_formats.content import Delta, Task
from pemn_formats.errors import FormatError
from pemn_formats.fields import column, integer, json_object
from pemn_formats.limits import MAX_TENSORS
from pemn_formats.names import check_name, check_task_name, shown

__all__ = ["read_aliases", "read_architecture", "read_delta", "read_input", "read_tasks"]

_IDENTITY = re.compile(r"[0-9a-f]{64}")


def read_architecture(value: Any) -> Mapping[str, Any] | None:
    """Return the name and arguments of a network, or None."""
    if value is None:
        return None
    json_object(value, ("args", "name"), "'architecture'")
    if not isinstance(value["name"], str):
        raise FormatError(f"the architecture's name must be a string, found {type(value['name']).__name__}")
    check_name(value["name"])
    json_object(value["args"], None, "the architecture's arguments")
    if any(not isinstance(each, (int, str)) for each in value["args"].values()):
        raise FormatError("an architecture's argument must be an integer, a boolean or a string")
    return {"name": value["name"], "args": value["args"]}


def read_input(value: Any) -> Mapping[str, Any] | None:
    """Return how images become tensors: integers, strings and lists of them, by name; or None."""
    if value is None:
        return None
    json_object(value, None, "'input'")
    for key, each in value.items():
        if any(not isinstance(item, (int, str)) for item in (each if isinstance(each, list) else [each])):
            raise FormatError(f"'input' has a value for {shown(key)} that is no integer, string or list of them")
    return dict(value)


def read_aliases(value: Any) -> Mapping[str, str]:
    """Return tied names, by the name that is not stored."""
    json_object(value, None, "'aliases'")
    if len(value) > MAX_TENSORS:
        raise FormatError(f"the file holds {len(value)} aliases, at most {MAX_TENSORS} are allowed")
    for alias, target in value.items():
        check_name(alias)
        if not isinstance(target, str):
            raise FormatError(f"the alias {shown(alias)} must name a tensor, found {type(target).__name__}")
    return dict(value)


def read_tasks(value: Any) -> Mapping[str, Task]:
    """Return the tasks of a bundle, by name."""
    json_object(value, None, "'tasks'")
    if not value:
        raise FormatError("'tasks' is empty; a file without tasks has no such key")
    for name, each in value.items():
        check_task_name(name)
        json_object(each, ("architecture", "input"), f"the task {shown(name)}")
    return {
        name: Task(read_architecture(each["architecture"]), read_input(each["input"])) for name, each in value.items()
    }


def read_delta(value: Any, stored: Mapping[str, Sequence[Any]]) -> Delta:
    """Return what makes a file a patch. `stored` holds the prototypes, masked and residual specs that it is about."""
    json_object(value, ("base", "masked", "prototypes", "residual", "result"), "'delta'")
    for key in ("base", "result"):
        if not isinstance(value[key], str) or not _IDENTITY.fullmatch(value[key]):
            raise FormatError(f"the delta's {key} must be a content id of 64 hexadecimal digits")
    flags = {
        key: tuple(
            bool(integer(flag, 0, 1, f"a flag of the delta's {key}"))
            for flag in column(value, key, len(specs), f"{key} entries")
        )
        for key, specs in stored.items()
    }
    for index, (prototype, flag) in enumerate(zip(stored["prototypes"], flags["prototypes"], strict=True)):
        if prototype.seeded and flag:
            raise FormatError(f"the delta changes prototype {index}, whose values come from the seed")
    for entry, flag in zip(stored["residual"], flags["residual"], strict=True):
        if entry.dtype == "bool" and flag:
            raise FormatError(f"the delta changes {shown(entry.name)}, whose values are booleans")
    return Delta(value["base"], value["result"], **flags)
