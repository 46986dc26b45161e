"""The code that a launch of a Triton kernel compiles for a CUDA device, where there is none."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Code", "compiling_for"]


@dataclass(frozen=True)
class Code:
    """One compiled kernel. `constants`: the arguments known when it was compiled, by name; `warps`: of a program;
    `shared`: the bytes of memory that they share, which a launch asks for.
    """

    name: str
    capability: int
    constants: dict[str, Any]
    warps: int
    shared: int
    ptx: str
    cubin: bytes

    def resources(self) -> tuple[int, int]:
        """Registers of a thread, and its bytes of local memory: what is there where registers do not suffice."""
        text = self._tool("cuobjdump", "--dump-resource-usage")
        found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
        return found["REG"], found["STACK"] + found["LOCAL"]

    def assembly(self) -> str:
        """What nvdisasm prints: one instruction a line, after its address."""
        return self._tool("nvdisasm", "-c")

    def _tool(self, name: str, option: str) -> str:
        from triton import knobs

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernel.cubin"
            path.write_bytes(self.cubin)
            tool = getattr(knobs.nvidia, name).path
            return subprocess.run([tool, option, path], capture_output=True, text=True, check=True).stdout


class _Driver:
    """As much of a driver as a launch asks before it runs. The number of the device keeps its kernels from a real
    device's."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return -self.capability

    def get_current_stream(self, _: int) -> int:
        return 0


@contextmanager
def compiling_for(capability: int) -> Iterator[list[Code]]:
    """Within, launches compile for a compute capability (90 is 9.0) and run nothing; what they compile is collected.

    Launches are the program's own, on tensors in host memory: what Triton derives from their arguments (types,
    alignment, constants, warps) cannot differ from what a device gets. Results hold whatever memory held.
    """
    from triton.runtime import JITFunction, driver

    found: list[Code] = []
    run, active = JITFunction.run, driver._active

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        constants = {self.arg_names[path[0]]: value for path, value in kernel.src.constants.items()}
        facts, made = kernel.metadata, kernel.asm
        found.append(
            Code(kernel.name, capability, constants, facts.num_warps, facts.shared, made["ptx"], made["cubin"])
        )
        return kernel

    JITFunction.run = compile_only
    driver._active = _Driver(capability)
    try:
        yield found
    finally:
        JITFunction.run, driver._active = run, active
