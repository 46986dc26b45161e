"""Writers that are killed leave the old file or the new one."""

from __future__ import annotations

import os
from pathlib import Path

from kills import run_kills

KILLS = int(os.environ.get("PEMN_KILLS", "60"))


def test_kill_nine_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """`PEMN_KILLS` is the number of kills. A killed writer may also leave one temporary file, told by its name."""
    found = run_kills(tmp_path, KILLS)
    assert (found.kills, found.torn, found.other_files) == (KILLS, 0, 0)
    assert found.old + found.new == KILLS
    assert 0 < found.replacing < KILLS
    assert found.temporary_files > 0  # some were killed in the middle


def test_the_loop_of_kills_sees_files_that_are_torn(tmp_path: Path) -> None:
    found = run_kills(tmp_path, 15, tearing=True)
    assert found.torn > 0
    assert found.old + found.new + found.torn == 15
