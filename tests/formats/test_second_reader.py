"""Two readers that share no code agree on what good files hold."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import second_reader
from forge import Forge
from hypothesis import given
from samples import any_contents, before_and_after, int8_layers, keep_tile, patch
from second_reader import RefusedError, Tensor
from two_readers import FILES

from pemn_formats.bundle import parts
from pemn_formats.content import Content
from pemn_formats.delta import apply_delta, make_delta
from pemn_formats.errors import FormatError
from pemn_formats.reader import Reader, read
from pemn_formats.reconstruct import state
from pemn_formats.rounding import OUTPUT_DTYPES
from pemn_formats.writer import content_id, encode

HERE = Path(__file__).parent


def check_same(ours: Content, theirs: second_reader.File) -> None:
    """Every tensor of every task in every dtype has the same bytes; that a value is NaN is all that is asked of it."""
    models = {task: second_reader.task(theirs, task) for task in theirs.manifest.tasks or ()}
    for task, model in parts(ours).items() if ours.tasks else {"": ours}.items():
        file = models.get(task, theirs)
        for dtype in OUTPUT_DTYPES:
            expected = state(model, dtype)
            found = second_reader.state(file.manifest, file.streams, dtype)
            assert list(found) == list(expected)
            for name, values in expected.items():
                check_tensor(found[name], values, name)


def check_tensor(found: Tensor, expected: np.ndarray, name: str) -> None:
    dtype = "uint16" if found.dtype == "bfloat16" else found.dtype
    assert (dtype, found.shape) == (expected.dtype.name, expected.shape), name
    if found.data != expected.tobytes():
        values = np.frombuffer(found.data, expected.dtype)
        odd = values.view(f"u{values.itemsize}") != np.ravel(expected).view(f"u{values.itemsize}")
        assert np.isnan(values[odd]).all(), name
        assert np.isnan(np.ravel(expected)[odd]).all(), name


@pytest.mark.parametrize("path", ["second_reader.py", *sorted(f"second/{path.name}" for path in HERE.glob("second/*"))])
def test_the_second_reader_uses_the_standard_library_and_zstd_only(path: str) -> None:
    if not path.endswith(".py"):
        return
    tree = ast.parse((HERE / path).read_text())
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    roots = {name.partition(".")[0] for name in imported}
    assert roots - set(sys.stdlib_module_names) <= {"second", "zstandard"}


@pytest.mark.parametrize("name", FILES)
def test_both_read_the_same(name: str) -> None:
    theirs = second_reader.load(FILES[name])
    with Reader.open(FILES[name]) as reader:
        assert theirs.content_id() == reader.content_id()
    content = read(FILES[name])
    if content.delta is None:
        check_same(content, theirs)


@given(any_contents())
def test_both_read_the_same_of_any_content(content: Content) -> None:
    data = encode(content)
    theirs = second_reader.load(data)
    assert theirs.content_id() == content_id(content)
    if content.delta is None:
        check_same(content, theirs)


def test_both_apply_a_patch() -> None:
    old, new = before_and_after()
    base, delta = (second_reader.load(encode(each)) for each in (old, patch()))
    result = second_reader.apply(base, delta)
    assert result.content_id() == content_id(apply_delta(old, patch())) == content_id(new)
    check_same(new, result)


def test_both_apply_a_patch_of_every_kind_of_entry() -> None:
    old = int8_layers()
    values = [replace(each, values=each.values.copy()) for each in old.residual]
    values[0].values.flat[0] = -3
    values[1].values[0] = -0.125
    values[2].values[-1] ^= 1
    new = replace(old, residual=tuple(values))
    delta = make_delta(old, new)
    assert delta.delta is not None
    assert any(delta.delta.residual)
    result = second_reader.apply(second_reader.load(encode(old)), second_reader.load(encode(delta)))
    assert result.content_id() == content_id(new)


def test_both_refuse_another_base_and_another_result() -> None:
    old, _ = before_and_after()
    with pytest.raises(RefusedError, match="another base"):
        second_reader.apply(second_reader.load(encode(keep_tile())), second_reader.load(encode(patch())))
    forge = Forge.of(encode(patch()))
    forge.manifest["delta"]["result"] = "0" * 64
    with pytest.raises(FormatError, match="but promises 0000"):
        apply_delta(old, read(forge.build()))
    with pytest.raises(RefusedError, match="a result with another identity"):
        second_reader.apply(second_reader.load(encode(old)), second_reader.load(forge.build()))
