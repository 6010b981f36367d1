from __future__ import annotations

import numpy as np

from tests.ranking import brute_force
from vtrcli.ranking.methods import Settings
from vtrcli.ranking.scores import DenseScores, Transposed
from vtrcli.ranking.top_items import top_videos

MATRIX = 0.01 + 0.3 * np.random.default_rng(0).random((150, 140))
SMALLEST = 8 * 64 * 64 * 8


def test_the_first_videos_of_every_text() -> None:
    top = top_videos(MATRIX, k=5, memory_bytes=SMALLEST)
    np.testing.assert_array_equal(top.videos, np.argsort(-MATRIX, axis=1)[:, :5])
    np.testing.assert_array_equal(top.scores, -np.sort(-MATRIX, axis=1)[:, :5])


def test_the_first_texts_of_every_video_after_correction() -> None:
    top = top_videos(
        Transposed(DenseScores(MATRIX)), k=4, settings=Settings(method="dsl"), memory_bytes=SMALLEST
    )
    wanted = brute_force.corrected(MATRIX.T, "dsl")
    np.testing.assert_array_equal(top.videos, np.argsort(-wanted, axis=1)[:, :4])


def test_equal_scores_stand_in_the_order_of_their_indices() -> None:
    assert top_videos(np.full((2, 200), 0.5), k=3, memory_bytes=SMALLEST).videos.tolist() == [[0, 1, 2]] * 2


def test_how_often_each_video_is_found() -> None:
    top = top_videos(np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.1]]), k=2)
    assert top.counts(3).tolist() == [2, 1, 1]


def test_fewer_videos_than_asked_for() -> None:
    assert top_videos(np.ones((2, 3)), k=10).videos.shape == (2, 3)
