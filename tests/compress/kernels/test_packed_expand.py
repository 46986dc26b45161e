"""Dense weights from packed ones: the same bytes whatever makes them, whole or in parts, and tables held once."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import pemn_compress as pemn
from pemn_compress import packed_expand, packed_op
from pemn_compress.loading import rebuild_model
from pemn_compress.packed_expand import Parts, dense_weight, expanded
from pemn_compress.packed_op import packed_weight
from pemn_compress.packed_weight import pack_weight
from pemn_compress.saving import to_content
from pemn_formats.content import Content

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
FILLS = {
    "full": {},
    "rp": {"strategy": "rp", "values": 23},
    "rand": {"strategy": "rp", "values": 40, "mode": "rand"},
    "mp": {"strategy": "mp"},
}


def content_of(model: nn.Module, **options: object) -> Content:
    return to_content(pemn.mask_(copy.deepcopy(model), pemn.MaskConfig(seed=5, **options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("alphabet", ["keep", "sign", "ternary"])
@pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)
def test_every_way_of_expanding_gives_the_same_bytes(
    fill: dict[str, object], alphabet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Conv2d(3, 7, 3), nn.ConvTranspose1d(5, 6, 7), nn.Linear(777, 700, bias=False))
    for distribution, scale in (
        ("signed", "channel"),
        ("signed", "tensor"),
        ("normal", "tensor"),
        ("uniform", "channel"),
    ):
        options = {"distribution": distribution, "scale": scale, "alphabet": alphabet, **fill}
        content = content_of(model, **options)
        for tensor in content.masked:
            held = pack_weight(content, tensor)
            arguments = (held.keep, held.flip, held.values, held.scale.view(torch.float32), held.shape, held.source)
            numbers = (held.seed, held.stream, held.length, held.span)
            plain = dense_weight(*arguments, *numbers)
            for dtype in DTYPES:
                expected = plain.to(dtype).view(torch.uint8)
                assert torch.equal(expanded(*arguments, *numbers, dtype).view(torch.uint8), expected)
                with monkeypatch.context() as without:
                    without.setattr(packed_expand, "compiled", lambda: None)
                    assert torch.equal(expanded(*arguments, *numbers, dtype).view(torch.uint8), expected)
            rebuilt = rebuild_model(content, into=copy.deepcopy(model)).get_parameter(tensor.name)
            assert torch.equal(plain.view(torch.int32), rebuilt.view(torch.int32))


def test_the_operator_is_sound() -> None:
    content = content_of(nn.Sequential(nn.Conv2d(3, 4, 3)))
    packed = rebuild_model(content, into=nn.Sequential(nn.Conv2d(3, 4, 3)), packed=True)
    part = packed.get_submodule("0").parametrizations["weight"][0]  # type: ignore[index]
    scale = part.scale.view(torch.float32)
    arguments = (part.keep, part.flip, part.values, scale, [4, 3, 3, 3], *part.source, torch.float16)
    torch.library.opcheck(packed_weight, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("store", ["seed", "vector"])
def test_a_table_of_values_is_held_once(store: str) -> None:
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(4)))
    options = pemn.MaskConfig(strategy="rp", values=1000, mode="rand", distribution="normal")
    content = to_content(pemn.mask_(copy.deepcopy(model), options), store=store)
    packed = rebuild_model(content, into=copy.deepcopy(model), packed=True)
    assert (
        sum({held.data_ptr(): held.nbytes for held in packed.buffers()}.values()) == 4 * (64 * 64 // 8 + 4) + 4 * 1000
    )


@torch.no_grad()
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(70, 100), (64, 1100), (33, 7)])
def test_large_products_expand_a_part_at_a_time(
    shape: tuple[int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_op, "_PART", 200)
    monkeypatch.setattr(packed_expand, "_JOB", 128)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    written: list[int] = []
    write = Parts.write

    def counted(self: Parts, out: torch.Tensor, first: int) -> None:
        written.append(out.numel())
        write(self, out, first)

    monkeypatch.setattr(Parts, "write", counted)
    model = nn.Sequential(nn.Linear(shape[1], shape[0]))
    kinds = ({}, {"alphabet": "ternary", "scale": "channel"}, {"distribution": "normal"}, FILLS["rp"], FILLS["rand"])
    for dtype, options in zip((*DTYPES, *DTYPES), (*kinds, {"alphabet": "sign"}), strict=True):
        content = content_of(model, **options)
        dense = rebuild_model(content, into=copy.deepcopy(model), dtype=dtype)
        packed = rebuild_model(content, into=copy.deepcopy(model), dtype=dtype, packed=True)
        inputs = torch.randn(2, 3, shape[1], generator=torch.Generator().manual_seed(1)).to(dtype)
        written.clear()
        found = packed(inputs)
        assert written == [min(32, shape[0] - first) * shape[1] for first in range(0, shape[0], 32)]
        near = 1e-5 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(found, dense(inputs), rtol=near, atol=near)
        # Column by column the weight itself comes out, exactly.
        unit = torch.eye(shape[1], dtype=dtype)
        packed.get_submodule("0").bias, dense.get_submodule("0").bias = None, None
        assert torch.equal(packed(unit), dense.get_submodule("0").weight.T)  # type: ignore[union-attr]
