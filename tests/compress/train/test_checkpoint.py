from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pemn_compress.train.checkpoint import load_state, newest_checkpoint, save_checkpoint, save_state
from pemn_formats.errors import PemnError


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    state = {"scores": torch.randn(7, 3), "epoch": 4, "best": {"name": None, "values": [1.5, True]}}
    save_state(tmp_path / "a.pt", state)
    found = load_state(tmp_path / "a.pt")
    assert found["scores"].equal(state["scores"])
    assert {key: found[key] for key in ("epoch", "best")} == {key: state[key] for key in ("epoch", "best")}


def test_two_generations_are_kept(tmp_path: Path) -> None:
    for epoch in (1, 2, 9, 10):
        save_checkpoint(tmp_path, {"epoch": epoch}, epoch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000009.pt", "checkpoint-000010.pt"]
    assert newest_checkpoint(tmp_path, pytest.fail) == {"epoch": 10}


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_state(path, {"scores": torch.zeros(50)})
    content = path.read_bytes()
    for place in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(PemnError, match=r"a\.pt is damaged: its checksum does not fit"):
            load_state(path)


@pytest.mark.parametrize("left", [0, 10, 40, 1000])
def test_a_truncated_generation_is_passed_over_with_a_note(tmp_path: Path, left: int) -> None:
    for epoch in (1, 2):
        save_checkpoint(tmp_path, {"epoch": epoch, "scores": torch.zeros(999)}, epoch)
    newest = tmp_path / "checkpoint-000002.pt"
    newest.write_bytes(newest.read_bytes()[:left])
    notes: list[str] = []
    state = newest_checkpoint(tmp_path, notes.append)
    assert state is not None
    assert state["epoch"] == 1
    assert len(notes) == 1
    assert "checkpoint-000002.pt is damaged" in notes[0]


def test_no_whole_generation_is_an_error(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path, pytest.fail) is None
    (tmp_path / "checkpoint-000001.pt").write_bytes(b"x" * 100)
    with pytest.raises(PemnError, match=r"every checkpoint in .* is damaged; train again with --force"):
        newest_checkpoint(tmp_path, lambda note: None)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "ran"),)

    save_state(tmp_path / "a.pt", {"evil": Evil()})
    with pytest.raises(PemnError, match=r"a\.pt is no checkpoint of this program"):
        load_state(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PemnError, match=r"a\.pt cannot be read: No such file"):
        load_state(tmp_path / "a.pt")
