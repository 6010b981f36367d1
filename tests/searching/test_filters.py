"""Filters keep what they say, and refuse bounds that keep nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.errors import UsageError
from vtrcli.files import path_matcher
from vtrcli.searching.filters import Filters, VideoFacts

PATHS = ("/home/me/kitchen/pasta.mp4", "/home/me/2019/camping.mov", "/kitchen sink/pasta.mp4")


def kept(filters: Filters) -> list[int]:
    mask = filters.mask(
        VideoFacts(
            paths=PATHS,
            duration_seconds=np.array([10.0, np.nan, 30.0]),
            changed_at=np.array([100.0, 200.0, 300.0]),
            num_bytes=np.array([1, 2, 3]),
        )
    )
    return np.flatnonzero(mask).tolist()


def test_no_filter_keeps_everything() -> None:
    assert kept(Filters()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.mp4", [0, 2]),
        ("pasta*", [0, 2]),
        ("p*/pasta.mp4", []),
        ("kitchen/*", [0]),
        ("me/*.mp4", [0]),  # * crosses folders where the pattern has any
        ("itchen/*", []),
        ("/home/*", [0, 1]),
        ("*camp*", [1]),
        ("k*.mp4", []),  # a name, not a folder's
        ("*.MP4", [0, 2]),
        ("kitchen", [0]),
        ("Kitchen/", [0]),
        ("kitchen/pasta.mp4", [0]),
        ("kitch", []),
        ("pasta.mp4", [0, 2]),
        ("pasta.mp4/", []),
        ("/home/me", [0, 1]),
        ("/home/m", []),
        ("/home/me/", [0, 1]),
        ("2*/", [1]),
        ("kitchen/pasta.mp4/", []),
        ("/", [0, 1, 2]),
        ("k[i]tchen/*", [0]),
    ],
)
def test_a_path_filter_means_names_or_ends_of_paths(pattern: str, expected: list[int]) -> None:
    assert kept(Filters(paths=(pattern,))) == expected


def test_an_empty_pattern_is_refused_for_it_would_mean_every_folder() -> None:
    with pytest.raises(UsageError) as caught:
        path_matcher("")
    assert str(caught.value) == (
        "an empty pattern of paths; a name, a path, or a glob such as '*.mp4'; write one, or leave the option out"
    )


def test_one_of_several_patterns_is_enough() -> None:
    assert kept(Filters(paths=("*.mov", "kitchen/*"))) == [0, 1]
    assert path_matcher("b.mp4")("/a/b.mp4")


def test_names_are_compared_as_people_see_them() -> None:
    assert path_matcher("cafe\u0301")("/v/CAF\u00c9/a.mp4")
    assert path_matcher("clip [1080p].mp4")("/v/clip [1080p].mp4")
    assert path_matcher("raw")("raw/a.mp4") and path_matcher("raw/*")("raw/a.mp4")


@given(st.text("ab/*?[]._ ", min_size=1), st.text("abAB/._ []*", min_size=1))
def test_a_pattern_finds_itself_and_never_fails(pattern: str, path: str) -> None:
    path_matcher(pattern)(path)
    if path.strip("/"):
        assert path_matcher(path)(path) or path.endswith("/")


def test_the_filter_that_took_all_is_named() -> None:
    def why(filters: Filters) -> str:
        return filters.why_none(
            VideoFacts(
                paths=PATHS,
                duration_seconds=np.array([10.0, np.nan, 30.0]),
                changed_at=np.array([100.0, 200.0, 300.0]),
                num_bytes=np.array([1, 2, 3]),
            )
        )

    assert why(Filters(paths=("nowhere",), min_bytes=2)) == "--path nowhere left 0 of 3 videos"
    assert (
        why(Filters(paths=("kitchen",), min_duration_seconds=90)) == "--min-duration 1:30 left 0 of 3 videos"
    )
    assert why(Filters(paths=("2019",), max_bytes=1)) == (
        "the filters left 0 of 3 videos, each alone: --path 2019 1, --max-size 1 1"
    )


def test_bounds_are_inclusive_and_an_unknown_length_is_within_none() -> None:
    assert kept(Filters(min_duration_seconds=10.0)) == [0, 2]
    assert kept(Filters(max_duration_seconds=10.0)) == [0]
    assert kept(Filters(min_changed_at=200.0, max_changed_at=200.0)) == [1]
    assert kept(Filters(min_bytes=2)) == [1, 2]
    assert kept(Filters(max_bytes=0)) == []


def test_bounds_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Filters(min_duration_seconds=60.0, max_duration_seconds=10.0)
    assert str(caught.value) == (
        "the duration filter leaves nothing: from 1:00 to 0:10; a lower bound at or below the upper one; "
        "exchange the two, or leave one out"
    )
    with pytest.raises(UsageError, match=r"from 0:02\.5 to 0:02\.25; "):
        Filters(min_duration_seconds=2.5, max_duration_seconds=2.25)
    with pytest.raises(UsageError, match="the size filter leaves nothing: from 2000000 to 10; "):
        Filters(min_bytes=2_000_000, max_bytes=10)
    with pytest.raises(UsageError, match="an empty path filter; "):
        Filters(paths=("",))


LETTERS = st.text(st.sampled_from("aAsSΣσς\u0301e\u00e9/\0.mp4*[]?\udc80 "), max_size=8)


@given(patterns=st.lists(LETTERS.filter(bool), min_size=1, max_size=2), paths=st.lists(LETTERS, max_size=5))
def test_many_paths_at_once_pass_as_each_alone_does(patterns: list[str], paths: list[str]) -> None:
    """Also a name that no file has: a store may come from anywhere."""
    known = np.ones(len(paths))
    left = Filters(paths=tuple(patterns)).mask(VideoFacts(paths, known, known, known))
    matchers = list(map(path_matcher, patterns))
    assert left.tolist() == [any(matches(path) for matches in matchers) for path in paths]
