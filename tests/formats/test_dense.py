"""What a file becomes once it is dense is known from its manifest, and refused where memory is too small for it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from samples import SAMPLES

from pemn_formats import available, dense
from pemn_formats.bundle import parts
from pemn_formats.content import DTYPES, Content
from pemn_formats.dense import check_memory, dense_bytes, dense_entries, largest_entry
from pemn_formats.errors import FormatError
from pemn_formats.in_turn import in_turn
from pemn_formats.manifest import manifest_of
from pemn_formats.reader import Reader
from pemn_formats.reconstruct import state
from pemn_formats.writer import encode

MODELS = {name: build() for name, build in SAMPLES.items() if build().delta is None and not build().tasks}
MODELS |= {f"bundle {task}": part for task, part in parts(SAMPLES["bundle"]()).items()}
every_model = pytest.mark.parametrize("content", MODELS.values(), ids=MODELS)


@every_model
def test_the_manifest_alone_says_what_becomes_dense(content: Content) -> None:
    found, expected = dense_entries(manifest_of(content)), state(content)
    assert {name: each.shape for name, each in found.items()} == {name: each.shape for name, each in expected.items()}
    for name, each in expected.items():
        # Wider floats become float32, as torch loads them; numpy's reference leaves them.
        wanted = np.dtype("<f4") if each.dtype.kind == "f" else each.dtype
        assert DTYPES[found[name].dtype] == wanted
    distinct = [found[name].nbytes for name in found if name not in content.aliases]
    assert dense_bytes(content) == sum(distinct)
    assert (
        max(distinct, default=0)
        <= largest_entry(content)
        <= sum(distinct)
        + sum(each.stored_bytes for each in content.residual)
        + sum(each.mask_bytes for each in content.masked)
    )


@every_model
def test_half_floats_take_half(content: Content) -> None:
    whole, half = dense_entries(content), dense_entries(content, "bfloat16")
    for name, each in whole.items():
        assert half[name].nbytes == (each.nbytes // 2 if each.dtype == "float32" else each.nbytes)


@pytest.mark.parametrize("name", [name for name in SAMPLES if SAMPLES[name]().delta is None])
def test_the_pieces_of_a_model_are_the_model(name: str) -> None:
    content = SAMPLES[name]()
    with Reader.open(encode(content)) as reader:
        for task, model in parts(content).items() if content.tasks else [(None, content)]:
            pieces = [state(piece) for piece in in_turn(reader, task)]
            expected = {key: each for key, each in state(model).items() if key not in model.aliases}
            found = {key: each for piece in pieces for key, each in piece.items()}
            assert list(found) == list(expected)
            assert sum(map(len, pieces)) == len(found)
            for key, each in expected.items():
                assert found[key].tobytes() == each.tobytes()


def test_only_the_prototypes_that_a_tensor_needs_are_decoded() -> None:
    content = SAMPLES["explicit_prototypes"]()
    with Reader.open(encode(content)) as reader:
        for spec in reader.manifest.masked:
            held = [index for index, each in enumerate(reader.prototypes_for([spec])) if each.values is not None]
            expected = [spec.prototype] if content.prototypes[spec.prototype].values is not None else []
            assert held == expected


@pytest.mark.parametrize("name", SAMPLES)
def test_ones_are_counted_without_holding_the_masks(name: str) -> None:
    content = SAMPLES[name]()
    expected = {each.name: tuple(int(np.unpackbits(plane).sum()) for plane in each.planes) for each in content.masked}
    with Reader.open(encode(content)) as before, Reader.open(encode(content)) as after:
        after.content_id()
        assert before.mask_ones() == after.mask_ones() == expected


def test_a_budget_is_exact_and_the_message_says_all() -> None:
    check_memory(1000, 1000, "it")
    with pytest.raises(
        FormatError,
        match=r"^it would need 1,001 bytes of memory, over the 1,000 bytes of the memory budget; raise it with "
        r"--memory-budget \(memory_budget=\) if you trust the file$",
    ):
        check_memory(1001, 1000, "it")


def test_without_a_budget_the_machine_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "available_memory", lambda: 5)
    check_memory(5, None, "it")
    with pytest.raises(FormatError, match=r"^it would need 6 bytes of memory, over the 5 bytes that this machine has"):
        check_memory(6, None, "it")
    monkeypatch.setattr(dense, "available_memory", lambda: None)
    check_memory(1 << 60, None, "it")


def test_the_least_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = available.available_memory()
    assert machine is None or machine > 1 << 20
    monkeypatch.setattr(available, "_GROUPS", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700000\n")
    unlimited = available.available_memory()
    assert unlimited is None or unlimited > 1 << 20
    (tmp_path / "memory.max").write_text("1000000\n")
    assert available.available_memory() == 300_000
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 20\nactive_file 3\n")
    assert available.available_memory() == 300_023
    monkeypatch.setattr(available, "_address_space", lambda: 7)
    assert available.available_memory() == 7


def test_where_nothing_is_known_there_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems without these files, or without limits of a process."""
    monkeypatch.setattr(available, "_GROUPS", tmp_path)
    monkeypatch.setattr(available, "_fields", lambda path: {})
    monkeypatch.setitem(sys.modules, "resource", None)
    assert available.available_memory() is None


def test_a_limit_of_the_process_counts_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "_fields", lambda path: {"VmSize": 5})
    monkeypatch.setattr(resource, "getrlimit", lambda which: (10_000, resource.RLIM_INFINITY))
    assert available._address_space() == 10_000 - 5 * 1024
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100, 100))
    assert available._address_space() == 0
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    assert available._address_space() is None
