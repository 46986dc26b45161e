"""Imports go one way, pemn_formats <- pemn_compress <- pemn_cli, and what needs no torch does not wait for it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

LAYERS = ("pemn_formats", "pemn_compress", "pemn_cli")
FORMATS_MAY_USE = {"numpy", "zstandard", "bitarray", "pemn_formats"}
PEOPLE = {"click", "rich", "matplotlib"}
BROUGHT_ALONG = {"PIL", "triton"}  # by torchvision, and by the builds of torch that can use it

Rule = Callable[[str], bool]


def sources(package: str) -> list[Path]:
    """Every module of an importable package, wherever it is installed."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return sorted(path for root in spec.submodule_search_locations for path in Path(root).rglob("*.py"))


def imports(nodes: list[ast.stmt], *, nested: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of each import; with `nested`, those inside functions and `if TYPE_CHECKING` too."""
    for statement in nodes:
        for node in ast.walk(statement) if nested else [statement]:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"line {node.lineno}: relative import"
                yield node.lineno, node.module or ""
            elif isinstance(node, ast.Call):
                yield from ((node.lineno, name) for name in dynamic(node))


def dynamic(call: ast.Call) -> Iterator[str]:
    """The name in `import_module("name")` and `__import__("name")`."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    first = call.args[0] if call.args else None
    if function in {"import_module", "__import__"} and isinstance(first, ast.Constant) and isinstance(first.value, str):
        yield first.value


def refused(code: str, rule: Rule) -> list[tuple[int, str]]:
    """Imports in `code` whose top-level package the rule refuses."""
    found = imports(ast.parse(code).body, nested=True)
    return [(line, name) for line, name in found if rule(name.split(".")[0])]


def not_for_formats(top: str) -> bool:
    return top not in FORMATS_MAY_USE and top not in sys.stdlib_module_names


def not_for_compress(top: str) -> bool:
    return top == "pemn_cli" or top in PEOPLE


@pytest.mark.parametrize(("package", "rule"), [("pemn_formats", not_for_formats), ("pemn_compress", not_for_compress)])
def test_no_layer_looks_upward(package: str, rule: Rule) -> None:
    modules = sources(package)
    assert modules
    wrong = {str(path): found for path in modules if (found := refused(path.read_text("utf-8"), rule))}
    assert wrong == {}


def test_whatever_is_imported_is_declared() -> None:
    wanted = [line for line in requires("pemn-compress") or [] if "extra" not in line or 'extra == "plot"' in line]
    declared = {match[0] for line in wanted if (match := re.match(r"[\w-]+", line))}
    assert {"numpy", "torch", "matplotlib"} <= declared, "what the installed package says of itself was not read"
    known = declared | BROUGHT_ALONG | set(LAYERS) | set(sys.stdlib_module_names)
    wrong = {
        str(path): found
        for package in LAYERS
        for path in sources(package)
        if (found := refused(path.read_text("utf-8"), lambda top: top not in known))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import torch", not_for_formats),
        ("def f():\n    from torch.nn import Linear", not_for_formats),
        ("import pemn_compress.masking", not_for_formats),
        ("import importlib\nimportlib.import_module('torch')", not_for_formats),
        ("from pemn_cli.output import size", not_for_compress),
        ("if TYPE_CHECKING:\n    import click", not_for_compress),
    ],
)
def test_the_walk_sees_every_kind_of_import(code: str, rule: Rule) -> None:
    assert len(refused(code, rule)) == 1


def test_command_modules_import_nothing_slow_at_their_top() -> None:
    allowed = {"click", "pemn_cli", "__future__"} | set(sys.stdlib_module_names)
    wrong = {
        path.name: found
        for path in sources("pemn_cli.commands")
        if (
            found := [
                (line, name)
                for line, name in imports(ast.parse(path.read_text("utf-8")).body, nested=False)
                if name.split(".")[0] not in allowed
            ]
        )
    }
    assert wrong == {}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.pemn` file made without torch."""
    from pemn_formats.content import Content, MaskedTensor, Prototype
    from pemn_formats.writer import write

    plane = np.packbits(np.arange(64) % 3 == 0, bitorder="little")
    tensor = MaskedTensor(
        name="layer.weight",
        shape=(8, 8),
        prototype=0,
        span=0,
        alphabet="keep",
        scale=np.float32(0.5),
        planes=(plane,),
        kept=None,
    )
    content = Content(
        architecture=None,
        input=None,
        seed=1,
        prototypes=(Prototype(length=7, source="signed", values=None),),
        masked=(tensor,),
        residual=(),
        aliases={},
        extra={},
    )
    path = tmp_path_factory.mktemp("imports") / "model.pemn"
    write(path, content)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["export", "--help"],
        ["size-report", "MODEL"],
        ["size-report", "MODEL", "--json"],
        ["inspect", "MODEL"],
        ["verify", "MODEL"],
        ["verify", "--deep", "MODEL"],
    ],
    ids=" ".join,
)
def test_commands_that_leave_torch_alone(arguments: list[str], model_file: Path) -> None:
    arguments = [str(model_file) if argument == "MODEL" else argument for argument in arguments]
    program = (
        "import sys\nfrom pemn_cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n"
        "    loaded = [name for name in ('torch', 'matplotlib') if name in sys.modules]\n"
        "    print('loaded:', loaded, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["size-report", "--help"]], ids=" ".join)
def test_help_does_not_even_load_numpy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom pemn_cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    assert 'numpy' not in sys.modules and 'rich' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
