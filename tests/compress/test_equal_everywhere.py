"""One weight, one SHA-256: in training, from numpy, from torch, in another process, and back from the file."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress import rebuild
from pemn_compress.masking import masked_weights
from pemn_compress.saving import to_content
from pemn_formats import reconstruct as reference
from pemn_formats.content import Content
from pemn_formats.reader import read

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "full": {"strategy": "full"},
    "one-layer": {"strategy": "one-layer"},
    "mp": {"strategy": "mp"},
    "rp-copy": {"strategy": "rp", "values": 23},
    "rp-rand": {"strategy": "rp", "ratio": 0.1, "mode": "rand"},
}
DISTRIBUTIONS = ("signed", "uniform", "normal")
# Every strategy, alphabet and scale; the distribution changes from case to case, so that each meets each of the others.
CASES = [
    f"{strategy}/{alphabet}/{scale}/{DISTRIBUTIONS[(a + b + c) % 3]}"
    for (a, strategy), (b, alphabet), (c, scale) in itertools.product(
        enumerate(STRATEGIES), enumerate(("keep", "sign", "ternary")), enumerate(("none", "tensor", "channel"))
    )
]
# Every weight of every case, one digest a dtype. It changes only if files that exist would load as other weights.
GOLDEN = {
    "float32": "09df0e5808d74e348a1896f6e08457919b20938a78c8f9ddb58532de3a9fac54",
    "float16": "c30bb597acbdc93242b2edef63dcc244163dd3e1c8b910ec7a1e56356992eeec",
    "bfloat16": "220b349420d09732ff59518755c0f08324a33791e5ef7a5ebd1284a94eae4510",
}

Hashes = dict[str, dict[str, str]]  # dtype -> tensor -> SHA-256

cpu_and_gpu = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
        ),
    ],
)


def masked_net(case: str) -> nn.Module:
    """A small net with odd sizes, two tensors of one shape, and channel scales that moved."""
    strategy, alphabet, scale, distribution = case.split("/")
    options = STRATEGIES[strategy]
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(29, 11)
    )
    config = pemn.MaskConfig(alphabet=alphabet, scale=scale, distribution=distribution, seed=0xC0FFEE1234, **options)
    pemn.mask_(model, config)
    with torch.no_grad():
        for _, weight, _ in masked_weights(model):
            if scale == "channel":
                weight.scale.mul_(1 - 2.125 * torch.arange(len(weight.scale)) / 16)
    return model


def sha256(values: torch.Tensor | np.ndarray[Any, Any]) -> str:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().contiguous()
        values = (values.view(torch.uint16) if values.dtype == torch.bfloat16 else values).numpy()
    return hashlib.sha256(values.tobytes()).hexdigest()


def hashes(content: Content, rebuilt: Callable[[Any, str], Any]) -> Hashes:
    return {dtype: {tensor.name: sha256(rebuilt(tensor, dtype)) for tensor in content.masked} for dtype in DTYPES}


def from_numpy(content: Content) -> Hashes:
    return hashes(content, lambda tensor, dtype: reference.reconstruct(content, tensor, dtype))


def from_torch(content: Content, device: str) -> Hashes:
    return hashes(content, lambda tensor, dtype: rebuild.reconstruct(content, tensor, device, DTYPES[dtype]))


def from_training(model: nn.Module) -> Hashes:
    return {
        dtype: {name: sha256(weight(score).to(kind)) for name, weight, score in masked_weights(model)}
        for dtype, kind in DTYPES.items()
    }


def from_file(path: Path, content: Content, device: str) -> Hashes:
    found = {dtype: pemn.load_file(path, device=device, dtype=kind) for dtype, kind in DTYPES.items()}
    return hashes(content, lambda tensor, dtype: found[dtype][tensor.name])


def file_of(folder: Path, case: str) -> Path:
    return folder / f"{case.replace('/', '-')}.pemn"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for every case."""
    made = tmp_path_factory.mktemp("files")
    for case in CASES:
        pemn.save_model(masked_net(case), file_of(made, case), residual_dtype="float32")
    return made


@pytest.fixture(scope="module")
def elsewhere(folder: Path) -> dict[str, dict[str, Hashes]]:
    """What another process makes of the same cases, from scratch and from the files."""
    environment = {**os.environ, "PYTHONHASHSEED": "17", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Hashes]] = json.loads(done.stdout)
    return found


@cpu_and_gpu
@pytest.mark.parametrize("case", CASES)
def test_every_weight_is_the_same_everywhere(
    case: str, device: str, folder: Path, elsewhere: dict[str, dict[str, Hashes]]
) -> None:
    model = masked_net(case)
    before, path = to_content(model, residual_dtype="float32"), file_of(folder, case)
    after = read(path)
    expected = from_numpy(before)
    assert len(expected["float32"]) == 4
    assert from_training(model) == expected
    assert from_torch(before, device) == expected
    assert from_numpy(after) == expected
    assert from_torch(after, device) == expected
    assert from_file(path, after, device) == expected
    assert elsewhere[case] == {"scratch": expected, "file": expected}


@pytest.mark.parametrize("case", CASES[::4])
def test_the_residual_is_the_same_everywhere(case: str, folder: Path) -> None:
    path = file_of(folder, case)
    loaded, expected = pemn.load_file(path), reference.state(read(path))
    assert {name: sha256(value) for name, value in loaded.items()} == {
        name: sha256(np.asarray(value)) for name, value in expected.items()
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_those_of_the_first_release(dtype: str, elsewhere: dict[str, dict[str, Hashes]]) -> None:
    every = [elsewhere[case]["file"][dtype] for case in CASES]
    digest = hashlib.sha256(json.dumps(every, sort_keys=True).encode()).hexdigest()
    assert digest == GOLDEN[dtype]


def main(folder: Path) -> None:
    """Print the hashes of every case as JSON: made from scratch, and read from the files in `folder`."""
    found = {
        case: {"scratch": from_training(masked_net(case)), "file": from_numpy(read(file_of(folder, case)))}
        for case in CASES
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
