from __future__ import annotations

import importlib.util

import pytest

from benchmarks import fused_masks
from benchmarks.compiled_kernels import Code
from benchmarks.kernel_code import facts, instructions, of_weights

ASSEMBLY = """
.text.kernel:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @P0 BRA `(.L_x_1) ;
.L_x_0:
        /*0020*/                   IADD3 R1, R1, R1, RZ ;
        /*0030*/                   IMAD.WIDE R2, R2, 0x70, RZ ;
        /*0040*/              @!P1 BRA `(.L_x_0) ;
.L_x_1:
        /*0050*/              @P2 EXIT ;
        /*0060*/                   STG.E [R2.64], R1 ;
        /*0070*/                   EXIT ;
.L_x_2:
        /*0080*/                   BRA `(.L_x_2);
        /*0090*/                   NOP;
"""


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Code:
    monkeypatch.setattr(Code, "assembly", lambda self: ASSEMBLY)
    monkeypatch.setattr(Code, "resources", lambda self: (64, 0))
    return Code("kernel", 90, {}, warps=4, shared=1024, ptx="", cubin=b"")


def test_instructions_end_with_the_program_and_loops_begin_at_their_label(code: Code) -> None:
    assert instructions(code, loop=False) == ["LDC", "BRA", "IADD3", "IMAD", "BRA", "EXIT", "STG", "EXIT"]
    assert instructions(code, loop=True) == ["IADD3", "IMAD", "BRA"]


def test_bounds_and_occupancy(code: Code) -> None:
    found = facts(code, 1024, 0.35)
    assert found["occupancy"] == 0.5  # 64 registers of 128 threads, 65536 in all: 8 programs of 4 warps
    assert found["integer"] == 1
    assert found["instructions_per_weight"] == 8 * 4 / 1024
    assert found["bound_weights_per_second"]["issue"] == pytest.approx(132 * 1.7e9 * 4 / (8 * 4 / 1024))
    assert found["bound_over_target"]["H100 SXM"]["issue"] == pytest.approx(132 * 1.7e9 * 4 * 32 / (3.35e12 * 0.35))


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton here")
def test_signed_weights_could_be_issued_at_the_speed_of_memory() -> None:
    found = of_weights("signed", "keep", "one", "float16")
    assert found["local_bytes"] == 0
    assert min(found["bound_over_target"]["H100 SXM"].values()) > 3


def test_the_fused_kernels_wait_for_a_device() -> None:
    with pytest.raises(SystemExit, match="need a CUDA device and Triton, found cpu"):
        fused_masks.main(["--device", "cpu"])
