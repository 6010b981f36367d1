"""What counts as a video, and what is passed over, without opening anything that could block."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vtrcli.errors import InputError
from vtrcli.extraction.discover import discover

GIF = b"GIF89a" + bytes(20)


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found_names(root: Path) -> list[str]:
    return [candidate.path.relative_to(root).as_posix() for candidate in discover([root]).candidates]


def test_folders_are_searched_below_and_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "sub/a.mkv", "a.MOV"):
        touch(tmp_path / name)
    assert found_names(tmp_path) == ["a.MOV", "b.mp4", "sub/a.mkv"]


def test_other_and_hidden_files_are_counted_not_tried(tmp_path: Path) -> None:
    for name in ("notes.txt", ".hidden.mp4", "._a.mp4", "a.mp4", ".git/b.mp4"):
        touch(tmp_path / name)
    found = discover([tmp_path])
    assert [candidate.path.name for candidate in found.candidates] == ["a.mp4"]
    assert found.num_ignored == 3


def test_a_video_under_a_wrong_name_is_found_by_its_content(tmp_path: Path) -> None:
    touch(tmp_path / "clip.dat", GIF)
    assert found_names(tmp_path) == ["clip.dat"]


def test_a_named_file_is_always_tried(tmp_path: Path) -> None:
    path = touch(tmp_path / "notes.txt")
    assert [candidate.path for candidate in discover([path]).candidates] == [path]


def test_a_file_named_twice_is_tried_once(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.mp4")
    assert len(discover([path, tmp_path, tmp_path / "." / "a.mp4"]).candidates) == 1


def test_a_feature_store_inside_the_folder_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "store" / "store.json", b'{"format": "vtr-store", "version": 1}')
    touch(tmp_path / "store" / "x.mp4")
    touch(tmp_path / "a.mp4")
    assert found_names(tmp_path) == ["a.mp4"]


def test_only_our_own_stores_are_passed_over_and_a_store_may_lie_in_the_folder_itself(tmp_path: Path) -> None:
    touch(tmp_path / "shop" / "store.json", b'{"shop": 1}')
    touch(tmp_path / "shop" / "a.mp4")
    touch(tmp_path / "store.json", b'{"format": "vtr-store", "version": 1}')
    touch(tmp_path / "frames" / "x.mp4")
    touch(tmp_path / "b.mp4")
    assert found_names(tmp_path) == ["b.mp4", "shop/a.mp4"]


def test_a_name_that_no_file_can_have_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        discover([tmp_path / ("é" * 300)])


@pytest.mark.skipif(os.name == "nt", reason="POSIX links")
def test_a_loop_of_links_ends_and_linked_folders_are_searched_once(tmp_path: Path) -> None:
    touch(tmp_path / "sub" / "a.mp4")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "self.mp4").symlink_to(tmp_path / "self.mp4")
    found = discover([tmp_path])
    assert [candidate.path.name for candidate in found.candidates] == ["a.mp4"]
    assert [(path.name, reason) for path, reason, _ in found.problems] == [("self.mp4", "not-found")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe")
    found = discover([tmp_path])
    assert [(path.name, reason) for path, reason, _ in found.problems] == [("pipe.mp4", "not-a-file")]


def test_a_missing_path_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        discover([tmp_path / "no.mp4"])
    assert str(caught.value) == (
        f"{tmp_path / 'no.mp4'} does not exist; files, folders, or - for a list on stdin; "
        "check the path; a name that begins with a dash needs ./ before it"
    )


def test_a_missing_path_of_a_list_is_a_row_among_the_problems(tmp_path: Path) -> None:
    found = discover([tmp_path / "no.mp4"], must_exist=False)
    assert [reason for _, reason, _ in found.problems] == ["not-found"]
