"""`vtr datasets`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.runner import run


def test_the_error_of_a_check_counts_the_splits_and_names_what_came_in_first(tmp_path: Path) -> None:
    result = run("datasets", "check", "msvd", "--annotations", str(tmp_path))
    assert result.exit_code == 3
    assert result.stderr == (
        f"vtr: msvd in {tmp_path}: 3 splits with a problem, first train: {tmp_path} holds no train_list.txt; "
        "the published files, whole; see `vtr datasets list` for where they come from\n"
    )
