"""Which video is right for which text. Knows nothing of scores; reading it from a file is `files`' work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from vtrcli.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Correct pairs, each once, sorted by text and then video.

    Several texts may share a video (MSVD) and a text may have several videos. Every text has at least one
    video; a video without text is a rival for the texts but no query of its own (`videos_with_text`).

    Attributes:
        text_index, video_index: int64 [num_pairs].
        grades: int64 [num_pairs], how right each pair is, from 1; None: all alike.
    """

    num_texts: int
    num_videos: int
    text_index: np.ndarray = field(repr=False)
    video_index: np.ndarray = field(repr=False)
    grades: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def diagonal(cls, shape: tuple[int, int]) -> Truth:
        """Text i belongs to video i.

        Raises:
            InputError: the matrix is not square, or empty.
        """
        num_texts, num_videos = shape
        if num_texts != num_videos:
            raise InputError(
                f"{num_texts} texts and {num_videos} videos",
                allowed="without a mapping the matrix must be square, with the truth on its diagonal",
                to_do="give the file that holds the index of the video of each text",
            )
        return cls.from_videos(np.arange(num_texts), num_videos=num_videos)

    @classmethod
    def from_videos(cls, video_of_text: Sequence[int] | np.ndarray, *, num_videos: int) -> Truth:
        """Text i belongs to video `video_of_text[i]`; int [num_texts]."""
        videos = np.asarray(video_of_text)
        pairs = np.stack([np.arange(len(videos)), videos], axis=1)
        return cls.from_pairs(pairs, num_texts=len(videos), num_videos=num_videos)

    @classmethod
    def from_pairs(
        cls,
        pairs: Sequence[tuple[int, int]] | np.ndarray,
        *,
        num_texts: int,
        num_videos: int,
        grades: np.ndarray | None = None,
    ) -> Truth:
        """Pairs (text index, video index), in any order, and their grades; a pair named twice counts once.

        Raises:
            InputError: no text or no video at all, an index out of range, or a text without a video.
        """
        if num_texts < 1 or num_videos < 1:
            raise InputError(
                f"{num_texts} texts and {num_videos} videos",
                allowed="an evaluation needs at least one of each",
                to_do="check the split and the files that it was read from",
            )
        array, first = np.unique(np.asarray(pairs, dtype=np.int64).reshape(-1, 2), axis=0, return_index=True)
        _check_range(array[:, 0], num_texts, "text")
        _check_range(array[:, 1], num_videos, "video")
        missing = np.setdiff1d(np.arange(num_texts), array[:, 0])
        if missing.size:
            raise InputError(
                f"text {missing[0]} has no video ({missing.size} such texts of {num_texts})",
                allowed="every text must have at least one correct video",
                to_do="remove the text from the split or complete the mapping",
            )
        return cls(
            num_texts=num_texts,
            num_videos=num_videos,
            text_index=np.ascontiguousarray(array[:, 0]),
            video_index=np.ascontiguousarray(array[:, 1]),
            grades=None if grades is None else np.asarray(grades, np.int64)[first],
        )

    @cached_property
    def videos_with_text(self) -> np.ndarray:
        """int64, ascending: the queries of the direction v2t."""
        return np.unique(self.video_index)

    @cached_property
    def has_several_texts(self) -> bool:
        """Some video has more than one text, so that a rank over videos is not one over texts."""
        return len(self.video_index) > len(self.videos_with_text)

    @cached_property
    def one_video_each(self) -> bool:
        """No text has several videos."""
        return len(self.text_index) == self.num_texts

    def clusters(self) -> tuple[np.ndarray, np.ndarray]:
        """What depends on each other: int64 [num_texts] and int64 [len(videos_with_text)], equal within a cluster.

        The texts of a video are one cluster; where a text has several videos, all that are linked by texts.
        """
        videos, texts = np.arange(self.num_videos), np.full(self.num_texts, self.num_videos)
        while True:
            before = texts.copy()
            np.minimum.at(texts, self.text_index, videos[self.video_index])
            np.minimum.at(videos, self.video_index, texts[self.text_index])
            if (before == texts).all():
                return texts, videos[self.videos_with_text]

    def texts_by_video(self) -> np.ndarray:
        """int64 [num_texts]: an order of the texts that puts the texts of a video side by side."""
        first_pairs = np.searchsorted(self.text_index, np.arange(self.num_texts))
        return np.argsort(self.video_index[first_pairs], kind="stable")

    def take_texts(self, texts: np.ndarray) -> Truth:
        """The truth of these texts (int64, each at most once) against all videos; text i is then `texts[i]`."""
        position = np.full(self.num_texts, -1)
        position[texts] = np.arange(len(texts))
        kept = position[self.text_index] >= 0
        pairs = np.stack([position[self.text_index[kept]], self.video_index[kept]], axis=1)
        grades = None if self.grades is None else self.grades[kept]
        return Truth.from_pairs(pairs, num_texts=len(texts), num_videos=self.num_videos, grades=grades)

    def transposed(self) -> Truth:
        """Videos that have a text as rows and texts as columns, as if the videos were asked for."""
        rows = np.searchsorted(self.videos_with_text, self.video_index)
        pairs = np.stack([rows, self.text_index], axis=1)
        return Truth.from_pairs(
            pairs, num_texts=len(self.videos_with_text), num_videos=self.num_texts, grades=self.grades
        )


def _check_range(indices: np.ndarray, size: int, kind: str) -> None:
    wrong = indices[(indices < 0) | (indices >= size)]
    if wrong.size:
        raise InputError(
            f"{kind} index {wrong[0]}",
            allowed=f"with {size} {kind}s an index is 0 to {size - 1}",
            to_do="check that the mapping belongs to these scores and counts from 0",
        )
