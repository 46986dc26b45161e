"""Images to learn from: data sets by name, in memory or left in files, cut into training, validation and test."""

from __future__ import annotations

from pemn_compress.data.images import ImageSet, Splits
from pemn_compress.data.load import data_names, load_data, load_test
from pemn_compress.data.normalise import normalise
from pemn_compress.data.spec import DataSpec
from pemn_compress.data.split import holdout

__all__ = [
    "DataSpec",
    "ImageSet",
    "Splits",
    "data_names",
    "holdout",
    "load_data",
    "load_test",
    "normalise",
]
