from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vtrcli.errors import InputError, UsageError
from vtrcli.ranking.truth import Truth
from vtrcli.ranking.truth_files import read_text_to_video


def read(path: Path) -> list[tuple[int, int]]:
    truth = read_text_to_video(path, num_texts=3, num_videos=5)
    assert isinstance(truth, Truth)
    return list(zip(truth.text_index.tolist(), truth.video_index.tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "[4, 0, 4]"),
        ("a.txt", "4\n0\n4\n"),
        ("a.csv", "\ufeffvideo\r\n4\r\n0\r\n4\r\n"),
        ("b.csv", "text,video\n0,4\n2,4\n1,0\n"),
        ("c.csv", "0,4\n1,0\n\n2, 4"),
    ],
)
def test_the_video_of_each_text(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read(tmp_path / name) == [(0, 4), (1, 0), (2, 4)]


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([4, 0, 4], np.uint16))
    np.save(tmp_path / "b.npy", np.array([[0, 4], [1, 0], [2, 4]]))
    assert read(tmp_path / "a.npy") == read(tmp_path / "b.npy") == [(0, 4), (1, 0), (2, 4)]


def test_several_videos_per_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([[1, 0], 2, [3]]))
    assert read(tmp_path / "a.json") == [(0, 0), (0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "4\n0\n", "text 2 has no video"),
        ("a.txt", "4\n0\n4\n1\n", "videos for 4 texts; the scores have 3 texts"),
        ("a.txt", "4\n0\n5\n", "video index 5; with 5 videos an index is 0 to 4"),
        ("a.txt", "4\n0\n-1\n", "video index -1;"),
        ("a.txt", "4\nzero\n4\n", "cannot be read: invalid literal"),
        ("a.txt", "4\n0.5\n4\n", "cannot be read: invalid literal"),
        ("a.txt", "", "cannot be read: its lines hold"),
        ("a.csv", "1,2,3\n", r"cannot be read: its lines hold \[3\] values; a mapping holds whole numbers"),
        ("a.json", '{"0": 4}', "cannot be read: it is not a list"),
        ("a.json", "[4, true, 4]", "cannot be read: entry 1 is True"),
        ("a.json", "[4, null, 4]", "cannot be read: entry 1 is None"),
        ("a.json", "[4, []", "cannot be read"),
        ("a.json", "[4, [], 4]", "text 1 has no video"),
        ("a.json", f"[4, 0, {10**30}]", "cannot be read"),
    ],
)
def test_what_a_mapping_must_hold(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("array", [np.array([4.0, 0, 4]), np.zeros((3, 3), int), np.array([4, None, 4])])
def test_arrays_of_other_kinds_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "a.npy")


def test_missing_file_and_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none.txt")
    with pytest.raises(
        UsageError, match=r"a file of type \.xml; a mapping is read from \.npy, \.json, \.csv, \.txt"
    ):
        read(tmp_path / "a.xml")
