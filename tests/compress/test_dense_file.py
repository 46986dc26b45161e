"""Dense weights written a tensor at a time are the file that safetensors writes of all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from pemn_compress.dense_file import write_dense
from pemn_compress.loading import load_file, load_model
from pemn_formats.content import DTYPES, Content, MaskedTensor, Prototype, ResidualTensor
from pemn_formats.dense import dense_bytes, largest_entry
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.manifest import Manifest
from pemn_formats.reader import Reader
from pemn_formats.writer import encode

GOLDEN = Path(__file__).parents[1] / "formats" / "golden"
MODELS = sorted(path.stem for path in GOLDEN.glob("*.pemn") if path.stem not in ("bundle", "patch"))


def wide(*, alias: bool = False) -> Content:
    """Two masked tensors, and entries of every dtype under names that JSON escapes."""
    masked = tuple(
        MaskedTensor(name, (64, 128), 0, 0, "keep", np.float32(0.5), planes=(np.full(1024, 0x5A, np.uint8),))
        for name in ("b", "a.")
    )
    residual = tuple(
        ResidualTensor(f'"{name}" <&>', (3,), "dense", name, None, np.ones(3, dtype)) for name, dtype in DTYPES.items()
    )
    empty = ResidualTensor("empty", (0, 2), "dense", "float32", None, np.empty((0, 2), np.float32))
    return Content(
        7, (Prototype(99, "normal"),), masked, (*residual, empty), aliases={"tied": "b", "0": "a."} if alias else {}
    )


def needed(manifest: Manifest) -> int:
    """The bytes that loading takes: what is decoded, and dense weights."""
    return manifest.prototype_bytes + manifest.mask_bytes + manifest.residual_bytes + dense_bytes(manifest)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [*MODELS, "wide", "tied", "first of bundle"])
def test_the_file_is_the_one_that_safetensors_writes(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    task = None
    if name in ("wide", "tied"):
        data = encode(wide(alias=name == "tied"))
    else:
        data = (GOLDEN / f"{name.removeprefix('first of ')}.pemn").read_bytes()
    with Reader.open(data) as reader:
        if name == "first of bundle":
            task = min(reader.manifest.tasks)
        write_dense(reader, tmp_path / "out.safetensors", task=task, dtype=dtype)
    state = {key: each.clone() for key, each in load_file(data, task=task, dtype=dtype).items()}
    written = (tmp_path / "out.safetensors").read_bytes()
    assert written == save(state, metadata={"format": "pt"})
    assert load(written).keys() == state.keys()


def test_what_is_over_the_budget_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    with Reader.open(encode(wide())) as reader:
        most = largest_entry(reader.manifest)
        assert most == 1024 + 4 * 64 * 128
        with pytest.raises(FormatError, match=rf"^its largest tensor, packed and in float32, would need {most:,} byte"):
            write_dense(reader, out, memory_budget=most - 1)
        assert not list(tmp_path.iterdir())
        write_dense(reader, out, memory_budget=most)
    assert out.stat().st_size > 2 * 4 * 64 * 128


def test_a_name_that_safetensors_keeps_for_itself_is_refused(tmp_path: Path) -> None:
    tensor = replace(wide().masked[0], name="__metadata__")
    with (
        Reader.open(encode(replace(wide(), masked=(tensor,)))) as reader,
        pytest.raises(PemnError, match=r"^a tensor is named '__metadata__', which safetensors keeps for itself$"),
    ):
        write_dense(reader, tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_damage_in_the_middle_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Reader.open(encode(wide())) as reader:
        monkeypatch.setattr(Reader, "residual", _damaged)
        with pytest.raises(FormatError, match=r"^damaged$"):
            write_dense(reader, tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def _damaged(*_: object) -> None:
    raise FormatError("damaged")


def test_the_memory_budget_of_loading_is_exact() -> None:
    data = encode(wide())
    with Reader.open(data) as reader:
        most = needed(reader.manifest)
    load_file(data, memory_budget=most)
    message = rf"^its float32 weights, with what they are made from, would need {most:,} bytes of memory, over the "
    with pytest.raises(FormatError, match=message):
        load_file(data, memory_budget=most - 1)
    load_file(data, memory_budget=most - 1, dtype=torch.float16)


def test_a_model_is_refused_before_it_is_built_and_one_that_exists_needs_no_more() -> None:
    data = encode(Content(7, wide().prototypes, (wide().masked[0],), ()))
    with Reader.open(data) as reader:
        most = needed(reader.manifest)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = torch.nn.Parameter(torch.zeros(64, 128))

    with torch.device("meta"):
        empty = Net()
    with pytest.raises(FormatError, match=r"^its float32 weights, with what they are made from, would need "):
        load_model(data, into=empty, memory_budget=most - 1)
    filled = load_model(data, into=Net(), memory_budget=most - 1)
    assert torch.equal(filled.b, load_model(data, into=empty, memory_budget=most).b)  # type: ignore[arg-type]


def test_without_a_budget_the_machine_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    from pemn_formats import dense

    monkeypatch.setattr(dense, "available_memory", lambda: 10_000)
    with pytest.raises(FormatError, match=r"over the 10,000 bytes that this machine has free; raise it with"):
        load_file(encode(wide()))
