from __future__ import annotations

import numpy as np
import pytest

from vtrcli.errors import InputError
from vtrcli.ranking.truth import Truth


def pairs(truth: Truth) -> list[tuple[int, int]]:
    return list(zip(truth.text_index.tolist(), truth.video_index.tolist(), strict=True))


def test_the_diagonal_pairs_equal_indices() -> None:
    assert pairs(Truth.diagonal((3, 3))) == [(0, 0), (1, 1), (2, 2)]


def test_a_rectangle_has_no_diagonal() -> None:
    with pytest.raises(InputError) as caught:
        Truth.diagonal((3, 4))
    assert str(caught.value) == (
        "3 texts and 4 videos; without a mapping the matrix must be square, with the truth on its diagonal; "
        "give the file that holds the index of the video of each text"
    )


def test_pairs_are_sorted_and_counted_once() -> None:
    truth = Truth.from_pairs([(1, 0), (0, 2), (1, 0), (0, 1)], num_texts=2, num_videos=3)
    assert pairs(truth) == [(0, 1), (0, 2), (1, 0)]


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (5, "video index 5; with 3 videos an index is 0 to 2;"),
        (-1, "video index -1; with 3 videos an index is 0 to 2;"),
    ],
)
def test_an_index_out_of_range_is_named(video: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Truth.from_videos([0, video], num_videos=3)


def test_a_text_without_a_video_is_named() -> None:
    with pytest.raises(InputError, match=r"text 1 has no video \(1 such texts of 3\); every text must have"):
        Truth.from_pairs([(0, 0), (2, 1)], num_texts=3, num_videos=2)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(InputError, match="0 texts and 0 videos; an evaluation needs at least one of each"):
        Truth.diagonal((0, 0))


def test_a_video_without_text_is_no_query() -> None:
    truth = Truth.from_videos([3, 0, 3], num_videos=5)
    assert truth.videos_with_text.tolist() == [0, 3]


def test_texts_by_video_puts_the_texts_of_a_video_side_by_side() -> None:
    truth = Truth.from_videos([2, 0, 1, 0, 2], num_videos=3)
    assert truth.texts_by_video().tolist() == [1, 3, 2, 0, 4]


def test_taken_texts_keep_their_videos() -> None:
    truth = Truth.from_pairs([(0, 1), (1, 0), (2, 1), (2, 2)], num_texts=3, num_videos=3)
    assert pairs(truth.take_texts(np.array([2, 0]))) == [(0, 1), (0, 2), (1, 1)]


def test_transposed_leaves_out_videos_without_text() -> None:
    truth = Truth.from_videos([2, 0, 2], num_videos=4).transposed()
    assert (truth.num_texts, truth.num_videos) == (2, 3)
    assert pairs(truth) == [(0, 1), (1, 0), (1, 2)]


def test_clusters_are_videos_or_what_is_linked_by_texts() -> None:
    texts, videos = Truth.from_videos([2, 0, 2, 0], num_videos=4).clusters()
    assert (texts.tolist(), videos.tolist()) == ([2, 0, 2, 0], [0, 2])
    # Text 1 links videos 0 and 2, text 3 links 2 and 3; video 1 stands alone.
    pairs = [(0, 0), (1, 0), (1, 2), (2, 1), (3, 2), (3, 3)]
    texts, videos = Truth.from_pairs(pairs, num_texts=4, num_videos=4).clusters()
    assert (texts.tolist(), videos.tolist()) == ([0, 0, 1, 0], [0, 1, 0, 0])
