"""Options and arguments that several commands share; none of them imports anything slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pemn_cli.byte_size import BYTES

__all__ = [
    "batch_size_option",
    "data_root_option",
    "device_option",
    "dtype_option",
    "effort_option",
    "force_option",
    "json_option",
    "memory_option",
    "model_argument",
    "models_argument",
    "output",
    "packed_memory_option",
    "task_option",
]

PATH = click.Path(path_type=Path)


class _Output(click.Path):
    def __init__(self, suffix: str, remedy: str) -> None:
        super().__init__(path_type=Path)
        self.suffix = suffix
        self.remedy = remedy

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if Path(value).suffix.lower() != self.suffix:
            self.fail(f"'{value}' does not end in {self.suffix}; {self.remedy}.", param, ctx)
        return super().convert(value, param, ctx)


def output(suffix: str, remedy: str = "name the file to write") -> click.Path:
    """The type of a path to write: one that says by its suffix what will be in it, so that no other file is hit."""
    return _Output(suffix, remedy)


_MEMORY = "Most memory that the file may ask for, such as 8GB.  [default: 4GiB packed{}]"
memory_option = click.option(
    "--memory-budget", type=BYTES, metavar="SIZE", help=_MEMORY.format(", what is free for dense weights")
)
packed_memory_option = click.option("--memory-budget", type=BYTES, metavar="SIZE", help=_MEMORY.format(""))
model_argument = click.argument("model", metavar="MODEL.pemn", type=PATH)
models_argument = click.argument("models", metavar="MODEL.pemn...", type=PATH, nargs=-1, required=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
effort_option = click.option(
    "--effort",
    default="balanced",
    show_default=True,
    type=click.Choice(["balanced", "fast", "smallest"]),
    help="Least time (fast), fewest bytes (smallest), or few bytes with large files still fast to load.",
)
force_option = click.option("--force", is_flag=True, help="Overwrite the output if it exists.")
data_root_option = click.option(
    "--data-root", type=PATH, help="Folder that holds (or will hold) the data sets.  [default: data]"
)
device_option = click.option(
    "--device", default="cpu", show_default=True, metavar="cpu|cuda|cuda:N|mps|xpu", help="Where to run."
)
dtype_option = click.option(
    "--dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Type of the rebuilt weights.",
)
task_option = click.option("--task", metavar="NAME", help="Which model of a file that holds several.")
batch_size_option = click.option(
    "--batch-size", default=512, show_default=True, type=click.IntRange(1, 65536), help="Images at a time."
)
