"""Two readers that share no code agree on what good files hold."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import second_reader
from forge import Forge, Piece
from hypothesis import given
from samples import any_contents, before_and_after, int8_layers, keep_tile, masked_tensor, patch, random_bits
from second_reader import RefusedError, Tensor
from two_readers import FILES, first, second

from pemn_formats.bundle import parts
from pemn_formats.codecs import CODECS
from pemn_formats.content import Content, Prototype
from pemn_formats.delta import apply_delta, make_delta
from pemn_formats.errors import FormatError
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import manifest_of
from pemn_formats.mask_lattice import mask_lattice
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


def long_mask(alphabet: str) -> Content:
    """Kernels across two chunks: windows, kernels that the border cuts, flat tensors, more blocks than are allowed."""
    numel = 8 * CHUNK_BYTES - 300
    bits = np.ones(numel, np.uint8)
    bits[-4000:] = random_bits(4000, 0.7, 21)
    shapes = {"w": (100, 1, 3, 3), "line": (2, 70, 5), "few": (9, 7, 3, 3), "large": (64, 1, 257), "pad": (3, 5)}
    tensors = [masked_tensor("long", (numel,), bits, alphabet=alphabet)]
    for at, (name, shape) in enumerate(shapes.items()):
        tensors.append(masked_tensor(name, shape, random_bits(int(np.prod(shape)), 0.95, at), alphabet=alphabet))
    tensors.append(masked_tensor("ternary", (70, 2, 3), random_bits(420, 0.9, 5), alphabet="ternary"))
    return Content(9, (Prototype(1009, "uniform"),), tuple(tensors))


def with_context_codec(content: Content) -> bytes:
    """The file with its last mask chunk by the context coder, whether that is the smallest or not."""
    (codec,) = (each for each in CODECS if each.name == "context")
    raw = b"".join(plane.tobytes() for tensor in content.masked for plane in tensor.planes)
    at = (len(raw) - 1) // CHUNK_BYTES * CHUNK_BYTES
    piece = raw[at:]
    stored = codec.encode(piece, mask_lattice(manifest_of(content), content.prototypes, at, len(piece)))
    assert stored is not None
    assert len(stored) <= len(piece)
    forge = Forge.of(encode(content))
    forge.sections[1][-1] = Piece(codec.id, int.from_bytes(piece, "little").bit_count(), stored)
    return forge.build()


@pytest.mark.parametrize("alphabet", ["keep", "sign"])
def test_both_cut_chunks_into_the_same_windows(alphabet: str) -> None:
    data = with_context_codec(long_mask(alphabet))
    assert second(data) == first(data) is not None


def test_both_stop_forming_windows() -> None:
    tensors = [masked_tensor(f"t{i}", (64, 1, 16, 16), np.ones(1 << 14, np.uint8)) for i in range(34)]
    tensors.append(masked_tensor("small", (64, 2, 2, 2), np.ones(512, np.uint8)))
    data = with_context_codec(Content(9, (Prototype(7, "signed"),), tuple(tensors)))
    assert second(data) == first(data) is not None


def test_both_form_what_still_fits() -> None:
    """Windows up to a little below the bound, one that is too many, then bits alone and a window that still fit."""
    shapes = [(64, 1, 16, 16)] * 31 + [(64, 2, 2, 2), (64, 1, 16, 16), (64, 2, 2, 2), (700,), (300,)]
    tensors = [
        masked_tensor(f"t{at}", shape, random_bits(int(np.prod(shape)), 0.97, at)) for at, shape in enumerate(shapes)
    ]
    data = with_context_codec(Content(9, (Prototype(7, "signed"),), tuple(tensors)))
    assert second(data) == first(data) is not None
