"""Many files are mapped at once, and one that has gone is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vtrcli.errors import StoreError
from vtrcli.store.maps import Maps


def test_files_are_mapped_when_asked_for(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    for path in paths[:2]:
        path.write_bytes(path.name.encode())
    maps = Maps(paths)
    assert maps[1][:] == b"1" and maps[0][:] == b"0"
    with pytest.raises(
        StoreError, match="2 cannot be mapped: No such file or directory; a shard that stays "
    ):
        maps[2]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of this kind")
def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 300), hard))
    try:
        Maps([tmp_path] * 500)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 1756)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
