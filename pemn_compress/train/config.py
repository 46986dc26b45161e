"""The recipe of a training run: every number that changes what is learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pemn_compress.train import checks
from pemn_formats.errors import PemnError
from pemn_formats.philox import check_seed

__all__ = ["AMP", "SCHEDULES", "SELECT_ON", "TrainConfig"]

SCHEDULES = ("piecewise", "cosine")
AMP = ("auto", "off", "bfloat16", "float16")
SELECT_ON = ("validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained; the optimizer is AdamW, the loss cross-entropy.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        lr: the peak learning rate; `schedule` says how it gets there and away.
        weight_decay: AdamW's, on scores and residual alike.
        schedule: `piecewise` (linear to the peak at 40 % of the epochs, to a twentieth at 80 %, to 0) or `cosine`
            (a short linear warm-up, then a half cosine to 0).
        grad_clip: the largest norm of the gradient, or None.
        label_smoothing: probability taken from the right class and spread over all.
        rate: the price of the masks' bits, in nats of loss for one bit a weight; what it is multiplied with is
            `penalty(model)` over the number of masked weights, so a price means the same for nets of any size.
        ema: decay of an exponential moving average of scores and residual, which is what is evaluated, chosen from and
            exported; 0 is off.
        teacher_weight: share of the teacher in the loss, where the run has one.
        teacher_temperature: softens the answers of teacher and model alike.
        mixup: mix images and labels, by a share from Beta(mixup, mixup); 0 is off.
        cutmix: paste a box of another image, of an area from Beta(cutmix, cutmix); 0 is off.
        density_ramp: part of the run over which learner `topk-global` goes from half of the weights to its density.
        amp: autocast, in float16 with loss scaling; `auto` is float16 on CUDA and off elsewhere.
        shift: move each image by up to this many pixels (edges reflected).
        flip: mirror each image with probability one half.
        crop_scale: crop a square of at least this fraction of the area and resize it; 1 is off.
        randaugment_n: RandAugment operations an image; 0 is off.
        randaugment_m: RandAugment magnitude, 0 to 30.
        jitter: largest change of brightness, contrast and saturation.
        erasing: probability that a rectangle of an image is erased.
        seed: orders the images and augments them; the same seed gives the same run.
        validation: fraction of the training images held out.
        select_on: the split on which the best epoch is chosen; `test` is how the paper reports, and flatters.
        workers: None keeps the images on the device and augments them there in batches. N keeps them in the host's
            memory and augments one by one with torchvision's transforms in N processes (0: in this one), from other
            random numbers: for images that the device cannot hold, or to follow the reference. Images that stay in
            files are always decoded and augmented by processes, without a number by one for each processor, up to 8.
        threads: CPU threads of torch; None leaves them as they are. Equal bits need equal threads, and small nets are
            fastest with one.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        channels_last: keep images and convolutions in channels-last memory; None does so on the CPU, which is faster,
            for the nets of this package and of torchvision.
        compile: train through `torch.compile`.

    Raises:
        PemnError: a value is outside its range, or the combination makes no sense.
    """

    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.02
    weight_decay: float = 0.005
    schedule: str = "cosine"
    grad_clip: float | None = None
    label_smoothing: float = 0.0
    rate: float = 0.0
    ema: float = 0.0
    teacher_weight: float = 0.5
    teacher_temperature: float = 2.0
    mixup: float = 0.0
    cutmix: float = 0.0
    density_ramp: float = 0.0
    amp: str = "auto"
    shift: int = 0
    flip: bool = False
    crop_scale: float = 1.0
    randaugment_n: int = 0
    randaugment_m: int = 9
    jitter: float = 0.0
    erasing: float = 0.0
    seed: int = 0
    validation: float = 0.1
    select_on: str = "validation"
    workers: int | None = None
    threads: int | None = None
    device: str = "auto"
    channels_last: bool | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        checks.whole(self, "epochs", 1)
        checks.whole(self, "batch_size", 2)
        checks.number(self, "lr", 0.0, above=True)
        checks.number(self, "weight_decay", 0.0)
        if self.grad_clip is not None:
            checks.number(self, "grad_clip", 0.0, above=True)
        checks.number(self, "label_smoothing", 0.0, 1.0, below=True)
        checks.number(self, "rate", 0.0)
        checks.number(self, "ema", 0.0, 1.0, below=True)
        checks.number(self, "teacher_weight", 0.0, 1.0)
        checks.number(self, "teacher_temperature", 0.0, above=True)
        checks.number(self, "mixup", 0.0)
        checks.number(self, "cutmix", 0.0)
        checks.number(self, "density_ramp", 0.0, 1.0)
        checks.choice(self, "schedule", SCHEDULES)
        checks.choice(self, "amp", AMP)
        checks.choice(self, "select_on", SELECT_ON)
        checks.whole(self, "shift", 0)
        checks.number(self, "crop_scale", 0.0, 1.0, above=True)
        checks.whole(self, "randaugment_n", 0)
        checks.whole(self, "randaugment_m", 0, 30)
        checks.number(self, "jitter", 0.0, 1.0)
        checks.number(self, "erasing", 0.0, 1.0)
        checks.number(self, "validation", 0.0, 1.0, below=True)
        if self.threads is not None:
            checks.whole(self, "threads", 1, 1024)
        if self.workers is not None:
            checks.whole(self, "workers", 0)
        if self.channels_last is not None and not isinstance(self.channels_last, bool):
            raise PemnError(f"channels_last must be true, false or None, found {self.channels_last!r}")
        for name in ("flip", "compile"):
            checks.flag(self, name)
        if not isinstance(self.device, str):
            raise PemnError(f"device must be auto, cpu, cuda or cuda:N, found {self.device!r}")
        check_seed(self.seed)
        if self.validation == 0 and self.select_on == "validation":
            raise PemnError(
                "validation is 0, so no images are left to choose the best epoch on; "
                "give a fraction such as 0.1, or select_on test"
            )

    @property
    def augments_each_image(self) -> bool:
        """Whether an option asks for more than the shift and flip that work on a whole batch at once."""
        return self.crop_scale < 1 or self.randaugment_n > 0 or self.jitter > 0 or self.erasing > 0

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> TrainConfig:
        """The inverse of `to_dict`; raises `PemnError` for a field it does not know."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise PemnError(f"unknown training option {unknown[0]!r}; known are {', '.join(sorted(known))}")
        return cls(**fields)  # type: ignore[arg-type]
