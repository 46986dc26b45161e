"""What each lever of training gives in the same short time on the CPU, one change a row.

    python -m benchmarks.levers --data folder:PATH --describe "CIFAR-10 as JPEG files" [--rows ROW...]

As `learners`, whose code it uses. A net to learn or start from is that of another row, trained first; its seconds stand
in the record.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import learners
from benchmarks.short_training import Rows

__all__ = ["ROWS", "main"]

ROWS: Rows = {
    "default": ("default", {}),
    "sign": ("default", {"alphabet": "sign"}),
    "dense": ("default", {"regular": True, "lr": 0.005}),
    "dense 3 epochs": ("default", {"regular": True, "lr": 0.005, "epochs": 3}),
    "teacher": ("default", {"teacher": "dense"}),
    "sign, teacher": ("default", {"alphabet": "sign", "teacher": "dense"}),
    "sign from dense": ("default", {"alphabet": "sign", "init_from": "dense"}),
    "sign from dense, teacher": ("default", {"alphabet": "sign", "init_from": "dense", "teacher": "dense"}),
    "3 epochs of sign from 3 of dense": (
        "default",
        {"alphabet": "sign", "init_from": "dense 3 epochs", "epochs": 3},
    ),
    "ema 0.99": ("default", {"ema": 0.99}),
    "ema 0.999": ("default", {"ema": 0.999}),
    "mixup 0.2": ("default", {"mixup": 0.2}),
    "cutmix 1": ("default", {"cutmix": 1.0}),
    "rate 3": ("default", {"rate": 3.0}),
    "rate 10": ("default", {"rate": 10.0}),
    "rate 30": ("default", {"rate": 30.0}),
    "int8 first,last": ("default", {"int8_layers": ("first", "last")}),
    "label smoothing 0.1": ("default", {"label_smoothing": 0.1}),
    "weight decay 0": ("default", {"weight_decay": 0.0}),
    "weight decay 0.05": ("default", {"weight_decay": 0.05}),
}
"""What each row changes: a preset and options by the names of `RunConfig.to_options`; sources are names of rows."""


def main(arguments: Sequence[str] | None = None) -> None:
    learners.main(arguments, what=__doc__, rows=ROWS, name="levers")


if __name__ == "__main__":
    main()
