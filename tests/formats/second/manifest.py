"""The whole manifest by SPEC.md, sections 3, 9 and 10: a model, a bundle of them, or a patch."""

from __future__ import annotations

import re
from typing import Any

from second.fields import SEEDED, Manifest, check_name, integer, keys
from second.rows import check_model
from second.text import refuse_unless


def check(json: Any) -> Manifest:
    """Read the manifest; refuse what the specification refuses."""
    manifest = check_model(json)
    if "tasks" in json:
        _tasks(manifest)
    if "delta" in json:
        _delta(manifest)
    return manifest


def _tasks(manifest: Manifest) -> None:
    tasks, json = manifest.json["tasks"], manifest.json
    refuse_unless(isinstance(tasks, dict) and len(tasks) > 0, "a bundle without tasks")
    refuse_unless(json["architecture"] is None and json["input"] is None, "a bundle with an architecture of its own")
    names = [name.partition(":") for part in ("masked", "residual") for name in json[part]["names"]]
    refuse_unless({task for task, _, _ in names} == set(tasks), "a tensor of no task, or a task of no tensor")
    names += [name.partition(":") for name in json["aliases"]]
    refuse_unless(all(mark and task in tasks for task, mark, _ in names), "a name of no task")
    for task, settings in tasks.items():
        check_name(task)
        refuse_unless(":" not in task, "a task's name with :")
        keys(settings, {"architecture", "input"})
        check_model(task_json(manifest, task))


def task_json(manifest: Manifest, task: str) -> dict[str, Any]:
    """The manifest that a task would have in a file of its own."""
    json, prefix = manifest.json, f"{task}:"
    aliases = {name: of for name, of in json["aliases"].items() if name.startswith(prefix)}
    refuse_unless(all(of.startswith(prefix) for of in aliases.values()), "an alias of another task")
    masked = [tensor for tensor in manifest.masked if tensor.name.startswith(prefix)]
    residual = [entry for entry in manifest.residual if entry.name.startswith(prefix)]
    notes = json.get("x", {}).get(task)
    return {
        "seed": json["seed"],
        "aliases": {name[len(prefix) :]: of[len(prefix) :] for name, of in aliases.items()},
        **json["tasks"][task],
        "prototypes": json["prototypes"],
        "masked": {
            **{
                f"{key}s": [getattr(tensor, key) for tensor in masked]
                for key in ("prototype", "span", "alphabet", "scale")
            },
            "names": [tensor.name[len(prefix) :] for tensor in masked],
            "shapes": [list(tensor.shape) for tensor in masked],
            "kept": [tensor.kept for tensor in masked if tensor.kept is not None],
        },
        "residual": {
            **{f"{key}s": [getattr(entry, key) for entry in residual] for key in ("kind", "dtype")},
            "names": [entry.name[len(prefix) :] for entry in residual],
            "shapes": [list(entry.shape) for entry in residual],
            "eps": [entry.eps for entry in residual if entry.eps is not None],
        },
        **({"x": notes} if isinstance(notes, dict) else {}),
    }


def _delta(manifest: Manifest) -> None:
    delta = manifest.json["delta"]
    parts = {"prototypes": manifest.prototypes, "masked": manifest.masked, "residual": manifest.residual}
    keys(delta, {"base", "result", *parts})
    for name in ("base", "result"):
        digest = delta[name]
        refuse_unless(isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) is not None, "no content id")
    for name, entries in parts.items():
        flags = delta[name]
        refuse_unless(isinstance(flags, list) and len(flags) == len(entries), "a wrong number of flags")
        for flag in flags:
            integer(flag, 0, 1)
    for flag, (source, _) in zip(delta["prototypes"], manifest.prototypes, strict=True):
        refuse_unless(not flag or source not in SEEDED, "a difference of seeded values")
    for flag, entry in zip(delta["residual"], manifest.residual, strict=True):
        refuse_unless(not flag or entry.dtype != "bool", "a difference of truth values")
