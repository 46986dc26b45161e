"""Everything that a training run was asked for: data, model, masks and recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pemn_compress.config import MaskConfig
from pemn_compress.residual import RESIDUAL_DTYPES
from pemn_compress.train.config import TrainConfig
from pemn_formats.errors import PemnError

__all__ = ["RunConfig"]

_MASK = tuple(field.name for field in dataclasses.fields(MaskConfig))
_LATER = {"from_disk", "teacher", "init_from", "budget", "residual_dtype"}  # options that older runs do not know
_TRAIN = tuple(field.name for field in dataclasses.fields(TrainConfig))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The options of `pemn-compress train`.

    Attributes:
        data: a data set's name, or `folder:PATH`.
        data_root: where data sets are kept, or None for the usual place.
        size: side of the images; None keeps the data set's own.
        skip_corrupt: pass over images that cannot be read.
        from_disk: leave images in their files and decode each whenever it is needed.
        limit_train: train on this many of the training images, chosen by class and seed; None is all.
        model: a registered name, `torchvision.NAME` or `package.module:factory`.
        model_args: the model's arguments.
        mask: how the model is masked; None trains it dense.
        train: the recipe.
        teacher: a run folder or a file, whose net the run learns from; None has no teacher.
        init_from: a run folder or a file of dense weights that the run starts from; None starts at random.
        budget: bytes that the exported file may take; None sets no limit.
        residual_dtype: what an export rounds everything to that is not masked; None is float16, or with a budget as
            precise as fits.
    """

    data: str = "digits"
    data_root: str | None = None
    size: int | None = None
    skip_corrupt: bool = False
    from_disk: bool = False
    limit_train: int | None = None
    model: str = "mlp"
    model_args: Mapping[str, int | bool | str] = dataclasses.field(default_factory=dict)
    mask: MaskConfig | None = dataclasses.field(default_factory=MaskConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    teacher: str | None = None
    init_from: str | None = None
    budget: int | None = None
    residual_dtype: str | None = None

    def __post_init__(self) -> None:
        if self.residual_dtype not in (None, *RESIDUAL_DTYPES):
            raise PemnError(f"unknown residual_dtype {self.residual_dtype!r}; known: {', '.join(RESIDUAL_DTYPES)}")
        for name, least in (("size", 1), ("limit_train", 2), ("budget", 1)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise PemnError(f"{name} must be a whole number of at least {least}, found {value!r}")
        for name in ("teacher", "init_from"):
            place = getattr(self, name)
            if place is not None and (not isinstance(place, str) or not place):
                raise PemnError(f"{name} must be the path of a run or a file, found {place!r}")
        learner = self.mask.learner if self.mask else None
        if self.train.density_ramp and learner != "topk-global":
            raise PemnError(f"density_ramp belongs to learner 'topk-global', found learner {learner!r}")

    def to_dict(self) -> dict[str, Any]:
        """The options as nested JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> RunConfig:
        """The inverse of `to_dict`, also of an older version's; raises `PemnError` when `fields` is anything else."""
        known = {field.name for field in dataclasses.fields(cls)}
        if not known - _LATER <= set(fields) <= known or not isinstance(fields["train"], Mapping):
            raise PemnError(f"these are no options of a run: found {', '.join(map(str, fields))}")
        mask = fields["mask"]
        parts = {"train": TrainConfig.from_dict(fields["train"]), "mask": mask and MaskConfig.from_dict(mask)}
        return cls(**{**fields, **parts})

    def to_options(self) -> dict[str, Any]:
        """The options as one flat mapping, keyed by their names on the command line with underscores.

        A dense run has `regular` true and no option of masks.
        """
        flat = self.to_dict()
        mask, train = flat.pop("mask"), flat.pop("train")
        return {**flat, **train, **(mask or {}), "regular": mask is None}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> RunConfig:
        """The inverse of `to_options`; missing options take their defaults, `seed` goes to masks and recipe alike.

        Raises:
            PemnError: an option is unknown, wrong, or one of masks on a `regular` run.
        """
        rest = dict(options)
        regular = rest.pop("regular", False)
        train = TrainConfig(**{name: rest[name] for name in _TRAIN if name in rest})
        mask = {name: rest[name] for name in _MASK if name in rest}
        own = {name: value for name, value in rest.items() if name not in _MASK and name not in _TRAIN}
        unknown = sorted(set(own) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise PemnError(f"unknown option {unknown[0]!r} of a run")
        if regular and set(mask) - {"seed"}:
            name = sorted(set(mask) - {"seed"})[0]
            raise PemnError(f"{name} is an option of masks, and a regular run has none; leave one of them out")
        return cls(**own, mask=None if regular else MaskConfig(**mask), train=train)
