"""Tensors: masked weights, learners, models, data, training, saving and loading."""

from __future__ import annotations

from pemn_compress.bundles import load_task_, save_bundle
from pemn_compress.config import MaskConfig
from pemn_compress.loading import load_file, load_model
from pemn_compress.masking import is_maskable, mask_, mask_parameters, merge_
from pemn_compress.penalty import penalty
from pemn_compress.saving import save_model
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.loop import fit
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.report import size_report
from pemn_formats.version import __version__

__all__ = [
    "FormatError",
    "MaskConfig",
    "PemnError",
    "TrainConfig",
    "__version__",
    "fit",
    "is_maskable",
    "load_file",
    "load_model",
    "load_task_",
    "mask_",
    "mask_parameters",
    "merge_",
    "penalty",
    "save_bundle",
    "save_model",
    "size_report",
]
