"""Parts of files are read or mapped as descriptors allow; what has become shorter or gone is named."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from vtrcli.errors import StoreError
from vtrcli.store.maps import PartFile, Rows, allow_open_files, most_descriptors

FLOATS = np.dtype("<f4")
no_limit = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of this kind")


def make_rows(path: Path, *, is_mapped: bool, num_rows: int = 100) -> tuple[Rows, np.ndarray]:
    rows = np.arange(num_rows * 3, dtype=FLOATS).reshape(num_rows, 3)
    path.write_bytes(b"12345678" + rows.tobytes())
    return Rows(PartFile(path), FLOATS, rows.shape, 8, is_mapped=is_mapped), rows


@pytest.mark.parametrize("is_mapped", [True, False])
def test_rows_are_those_of_the_file(tmp_path: Path, is_mapped: bool) -> None:
    rows, truth = make_rows(tmp_path / "x", is_mapped=is_mapped)
    assert (len(rows), rows.shape, rows.dtype) == (100, (100, 3), FLOATS)
    for part in (slice(0, 100), slice(7, 9), slice(90, 500), slice(50, 20), slice(-3, None)):
        np.testing.assert_array_equal(rows[part], truth[part])
    np.testing.assert_array_equal(rows[5], truth[5])
    np.testing.assert_array_equal(np.asarray(rows), truth)
    assert not rows[:].flags.writeable


def test_any_rows_are_taken_in_their_order(tmp_path: Path) -> None:
    rows, truth = make_rows(tmp_path / "x", is_mapped=False, num_rows=1000)
    wanted = np.random.default_rng(0).integers(0, 1000, 40)
    np.testing.assert_array_equal(rows.take(wanted), truth[wanted])
    assert rows.take(np.zeros(0, np.int64)).shape == (0, 3)


@pytest.mark.parametrize("is_mapped", [True, False])
def test_a_file_that_was_cut_short_since_is_an_error_and_no_crash(tmp_path: Path, is_mapped: bool) -> None:
    rows, _ = make_rows(tmp_path / "x", is_mapped=is_mapped, num_rows=10_000)
    os.truncate(tmp_path / "x", 5000)
    with pytest.raises(StoreError) as caught:
        _ = rows[9000:9010]
    assert str(caught.value) == (
        f"{tmp_path / 'x'} became shorter while it was read; files of a store that nobody writes into; "
        "run `vtr store verify`, then the same command again"
    )


@pytest.mark.parametrize("is_mapped", [True, False])
def test_a_file_that_has_gone_is_read_on(tmp_path: Path, is_mapped: bool) -> None:
    rows, truth = make_rows(tmp_path / "x", is_mapped=is_mapped)
    (tmp_path / "x").unlink()
    np.testing.assert_array_equal(rows[:], truth)


def test_where_nothing_can_be_mapped_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(mmap, "mmap", refuse)
    rows, truth = make_rows(tmp_path / "x", is_mapped=True)
    np.testing.assert_array_equal(rows[:], truth)


@no_limit
def test_with_few_descriptors_files_are_opened_when_they_are_read(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(64, hard), hard))
    try:
        made = [make_rows(tmp_path / str(number), is_mapped=number % 2 == 0) for number in range(100)]
        for rows, truth in made:
            np.testing.assert_array_equal(rows[:], truth)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@no_limit
def test_the_limit_of_open_files_is_raised_as_far_as_it_goes() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 300), hard))
    try:
        allow_open_files(500)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == most_descriptors() == min(hard, 1256)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@no_limit
def test_too_many_open_files_are_not_called_damage(tmp_path: Path) -> None:
    import resource

    (tmp_path / "x").write_bytes(b"x")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(StoreError) as caught:
            PartFile(tmp_path / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert str(caught.value) == (
        f"{tmp_path / 'x'} cannot be opened: too many open files; a few dozen open files at least; "
        "raise the limit (`ulimit -n 1024`), then run the same command again"
    )
