"""Video ids: the relative path without its suffix, and never two files under one id in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.extraction.discover import Candidate
from vtrcli.extraction.identify import choose_video_id


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/v/a.mp4", "/v", "a"),
        ("/v/kitchen/pasta.mp4", "/v", "kitchen/pasta"),
        ("/v/v1.2-final", "/v", "v1.2-final"),
        ("/v/-4wsuPCjDBc_5_15.avi", "/v", "-4wsuPCjDBc_5_15"),
        ("/v/UPPER.MP4", "/v", "UPPER"),
    ],
)
def test_the_id_is_the_path_below_the_root_without_a_video_suffix(
    path: str, root: str, expected: str
) -> None:
    assert choose_video_id(Candidate(Path(path), Path(root)), {}) == (expected, None)


def test_a_second_suffix_keeps_its_suffix_and_says_so() -> None:
    chosen = choose_video_id(Candidate(Path("/v/a.mkv"), Path("/v")), {"a": "/v/a.mp4"})
    assert chosen == ("a.mkv", "id 'a' belongs to /v/a.mp4; /v/a.mkv is stored as 'a.mkv'")


def test_the_same_name_below_another_root_gets_the_folder_before_it() -> None:
    taken = {"intro": "/home/Videos/intro.mp4", "intro.mp4": "/x/intro.mp4"}
    assert (
        choose_video_id(Candidate(Path("/home/Films/intro.mp4"), Path("/home/Films")), taken)[0]
        == "Films/intro.mp4"
    )


def test_a_file_that_owns_its_id_keeps_it() -> None:
    assert choose_video_id(Candidate(Path("/v/a.mp4"), Path("/v")), {"a": "/v/a.mp4"}) == ("a", None)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y"]), st.sampled_from(["mp4", "mkv"])),
        max_size=12,
    )
)
def test_no_two_files_ever_share_an_id(files: list[tuple[str, str, str]]) -> None:
    taken: dict[str, str] = {}
    paths = sorted({Path(f"/{root}/{name}.{suffix}") for root, name, suffix in files})
    for path in paths:
        video_id, _ = choose_video_id(Candidate(path, path.parent), taken)
        assert video_id not in taken
        taken[video_id] = str(path)
    assert len(taken) == len(paths)
