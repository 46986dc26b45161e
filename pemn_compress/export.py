"""From a training run to a `.pemn` file that is known to load back equal."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pemn_compress.data import DataSpec, ImageSet, load_test
from pemn_compress.loading import rebuild_model, rebuild_state
from pemn_compress.masking import masked_weights, merge_
from pemn_compress.residual import fold_bn, residual_tensor
from pemn_compress.saving import to_content
from pemn_compress.train.evaluate import Evaluation, evaluate
from pemn_compress.train.run import RunFolder
from pemn_formats.atomic import atomic_write, check_writable
from pemn_formats.content import Content, ResidualTensor
from pemn_formats.errors import PemnError
from pemn_formats.ledger import Ledger
from pemn_formats.reader import Reader
from pemn_formats.reconstruct import float_values
from pemn_formats.writer import encode

__all__ = ["ExportReport", "check_equal", "export_run"]


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it was checked.

    `before` and `after` are the trained model and the rebuilt file on the test images; None, with the reason in
    `not_evaluated`, where they were not measured.
    """

    path: Path
    run: Path
    ledger: Ledger
    content_id: str
    masked_tensors: int
    residual_entries: int
    before: Evaluation | None
    after: Evaluation | None
    not_evaluated: str | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            **{name: getattr(self, name) for name in ("content_id", "masked_tensors", "residual_entries")},
            "file": str(self.path),
            "run": str(self.run),
            "ledger": self.ledger.to_dict(),
            "before": self.before and self.before.to_dict(),
            "after": self.after and self.after.to_dict(),
            "not_evaluated": self.not_evaluated,
        }


def export_run(
    run: RunFolder,
    path: str | os.PathLike[str],
    *,
    residual_dtype: str = "float16",
    lossless: bool = False,
    store: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
    evaluate_on_test: bool = True,
    device: torch.device | str = "cpu",
    force: bool = False,
) -> ExportReport:
    """Write the best epoch of a masked run to `path`, once its bytes were decoded and found equal to the model.

    Accuracy before and after is measured on the run's test images: they chose nothing in training, and this is the
    check that what is deployed is what was trained. Nothing is downloaded for it.

    Args:
        run: a run with at least one finished epoch.
        path: where the file goes; it appears whole, checked, or not at all.
        residual_dtype: what everything that is not masked is rounded to, `float16` or `float32`.
        lossless: keep the residual as it is, BatchNorm unfolded.
        store: `seed` or `vector`; None is what the run was trained with.
        data_root: where the data is; None is where the run found it.
        evaluate_on_test: measure accuracy if the images are there.
        device: where to measure it.
        force: replace `path` if it exists.

    Raises:
        PemnError: the run is dense or unfinished, the file cannot be put there, or it does not load back equal.
    """
    target = check_writable(path, force=force)
    if run.options.mask is None:
        raise PemnError(
            f"{run.path} is a dense run (--regular), there are no masks to export; train without --regular,"
            f" or use its weights from {run.path / 'best.pt'}"
        )
    model = run.build_model().eval()
    content = to_content(model, input=run.input, residual_dtype=residual_dtype, lossless=lossless, store=store)
    data = encode(content)
    with Reader.open(data) as reader:
        decoded, ledger, identity = reader.content(), reader.ledger(), reader.content_id()
    check_equal(model, decoded)
    plain = rebuild_model(decoded, into=None if decoded.architecture else merge_(copy.deepcopy(model)))
    images, reason = _test_images(run, data_root) if evaluate_on_test else (None, "not asked for")
    before = after = None
    if images is not None:
        before = evaluate(model.to(device), images[0], images[1], device=device)
        after = evaluate(plain.to(device), images[0], images[1], device=device)
    with atomic_write(target, force=force) as file:
        file.write(data)
    return ExportReport(
        path=target,
        run=run.path,
        ledger=ledger,
        content_id=identity,
        masked_tensors=len(decoded.masked),
        residual_entries=len(decoded.residual),
        before=before,
        after=after,
        not_evaluated=reason,
    )


def check_equal(model: nn.Module, content: Content) -> None:
    """Compare a decoded content with the masked model it was made from.

    The state-dict names are the same, every residual value is the model's, rounded, and every masked weight is the
    model's in all its bits (with learned channel scales, which are residual, rounded as they are stored).

    Raises:
        PemnError: naming the first tensor that differs.
    """
    plain = merge_(_with_stored_scales(copy.deepcopy(model), content))
    wanted = {name.replace("_orig_mod.", ""): value for name, value in plain.state_dict().items()}
    found = rebuild_state(content)
    for name in sorted(wanted.keys() ^ found.keys()):
        raise PemnError(
            f"the export would not load back: {name} is in {'the model' if name in wanted else 'the file'} only"
        )
    for tensor in content.masked:
        if not _same_bits(found[tensor.name], wanted[tensor.name].cpu()):
            raise PemnError(f"the export would not load back: {tensor.name} differs from the trained weight")
    modules = dict(plain.named_modules())
    scales = {name: weight.scale for name, weight, _ in masked_weights(model)}
    for entry in content.residual:
        expected = _expected(entry, modules, wanted, scales)
        if entry.values.tobytes() != expected.values.tobytes():
            raise PemnError(f"the export would not load back: {entry.name} differs from the model's rounded values")


@torch.no_grad()
def _with_stored_scales(model: nn.Module, content: Content) -> nn.Module:
    stored = {entry.name: float_values(entry) for entry in content.residual if entry.kind == "scale"}
    for name, weight, _ in masked_weights(model):
        if name in stored:
            weight.scale.copy_(torch.from_numpy(stored[name]).reshape(weight.scale.shape))
    return model


def _expected(
    entry: ResidualTensor,
    modules: dict[str, nn.Module],
    state: dict[str, torch.Tensor],
    scales: dict[str, torch.Tensor],
) -> ResidualTensor:
    module = modules.get(entry.name)
    if entry.kind == "bn" and isinstance(module, _BatchNorm):
        return fold_bn(entry.name, module, entry.dtype)
    source = scales[entry.name] if entry.kind == "scale" else state[entry.name]
    keeps_dtype = str(source.dtype).removeprefix("torch.") == entry.dtype
    return residual_tensor(entry.name, source, None if keeps_dtype else entry.dtype, entry.kind)


def _same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return bool(np.array_equal(left.numpy().view(np.uint32), right.contiguous().numpy().view(np.uint32)))


def _test_images(
    run: RunFolder, data_root: str | os.PathLike[str] | None
) -> tuple[tuple[ImageSet, DataSpec] | None, str | None]:
    """The run's test images in the shape its network takes, or the reason why they are not there."""
    options, spec = run.options, DataSpec.from_input(run.input)
    root = options.data_root if data_root is None else str(data_root)
    try:
        return load_test(options.data, spec, root=root, skip_corrupt=options.skip_corrupt, download=False), None
    except PemnError as error:
        return None, str(error)
