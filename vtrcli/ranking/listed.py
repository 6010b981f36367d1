"""Scores of a run that lists some videos for each text, the best ones as a rule, and says nothing of the others.

What is not listed ranks below all that is, and level with what else is not listed. So a block has -inf there: every
rule for a matrix holds, and a right answer that is not listed ties with the rest (`ranks.count_ranks`). Rows are
texts; there is no other direction, because what a text's list leaves out may still be a video's best text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtrcli.errors import InputError
from vtrcli.ranking.scores import Index, fresh

# What is looked at at once: about 50 MB with all that is made of it.
_ENTRIES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Entries:
    """Listed scores of the texts `first_text` to `first_text + num_texts`: `rows` int64 (from 0), `videos` int64 and
    `scores` float64, [num_entries] each; the entries of a text stand together."""

    first_text: int
    num_texts: int
    rows: np.ndarray
    videos: np.ndarray
    scores: np.ndarray


class ListedScores:
    """A score source (`scores.ScoreSource`) of lists.

    Args:
        starts, lengths: int64 [num_texts], where the entries of a text stand; a length may be 0.
        videos: int32 [num_entries]; scores: float64 [num_entries], finite. Mapped files are read piece by piece.
        keep: what must live as long as the source: the folder of such files.
    """

    def __init__(
        self,
        starts: np.ndarray,
        lengths: np.ndarray,
        videos: np.ndarray,
        scores: np.ndarray,
        *,
        num_videos: int,
        keep: object = None,
    ) -> None:
        self._starts, self._videos, self._scores, self._keep = starts, videos, scores, keep
        self.lengths = lengths
        self.shape: tuple[int, int] = (len(starts), num_videos)
        self.dtype: np.dtype[Any] = np.dtype(np.float64)

    def chunks(self) -> Iterator[Entries]:
        """All entries, some texts at a time."""
        first = 0
        ends = np.cumsum(self.lengths)
        while first < self.shape[0]:
            before = int(ends[first - 1]) if first else 0
            stop = max(first + 1, int(np.searchsorted(ends, before + _ENTRIES_AT_ONCE, "right")))
            yield self.entries(np.arange(first, stop))
            first = stop

    def entries(self, texts: np.ndarray) -> Entries:
        """Those of some texts (int64); `rows` are places in `texts`."""
        starts, lengths = self._starts[texts], self.lengths[texts]
        rows = np.repeat(np.arange(len(texts)), lengths)
        begin = int(starts[0]) if len(texts) else 0
        if (starts[1:] == starts[:-1] + lengths[:-1]).all():
            where: Index = slice(begin, begin + len(rows))
        else:
            where = np.arange(len(rows)) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        videos, scores = (np.array(fresh(part)[where]) for part in (self._videos, self._scores))
        return Entries(int(texts[0]) if len(texts) else 0, len(texts), rows, videos.astype(np.int64), scores)

    def block(self, texts: Index, videos: Index) -> np.ndarray:
        """[texts, videos] in float64; -inf where nothing is listed."""
        numbers = np.arange(self.shape[0])[texts]
        found = self.entries(numbers)
        if isinstance(videos, slice):
            start, stop, _ = videos.indices(self.shape[1])
            places, num_columns = found.videos - start, stop - start
            inside = (places >= 0) & (places < num_columns)
        else:
            at = np.full(self.shape[1], -1)
            at[videos] = np.arange(len(videos))
            places, num_columns = at[found.videos], len(videos)
            inside = places >= 0
        block = np.full((len(numbers), num_columns), -np.inf)
        block[found.rows[inside], places[inside]] = found.scores[inside]
        return block

    def bound(self) -> float:
        """The largest absolute score."""
        return max((float(np.abs(part.scores).max(initial=0)) for part in self.chunks()), default=0.0)

    def dense(self) -> np.ndarray | None:
        """float64 [num_texts, num_videos] where every video is listed for every text; else None."""
        if not self.is_complete:
            return None
        matrix = np.empty(self.shape)
        for part in self.chunks():
            matrix[part.first_text + part.rows, part.videos] = part.scores
        return matrix

    @property
    def listed_in_words(self) -> str:
        """How many videos a text lists, in words: `100`, or `1 to 100`."""
        low, high = int(self.lengths.min()), int(self.lengths.max())
        return f"{high:,}" if low == high else f"{low:,} to {high:,}"

    @property
    def is_complete(self) -> bool:
        """Whether every video is listed for every text, so that both directions and all corrections are defined."""
        return bool((self.lengths == self.shape[1]).all())

    def lacks_pairs(self, method: str) -> InputError:
        """The error about a correction, by its name, of what is not complete."""
        num_listed, (num_texts, num_videos) = int(self.lengths.sum()), self.shape
        return InputError(
            f"{method} on a run that lists {num_listed:,} of {num_texts * num_videos:,} pairs",
            allowed="a correction weighs every score of a video against all texts: it needs all pairs",
            to_do="write the run with all videos for every text, or give the matrix with --similarities",
        )

    def listed_videos(self, *, name: str, text_ids: Sequence[str], video_ids: Sequence[str]) -> np.ndarray:
        """bool [num_videos]: is it in any list? Raises InputError where a text lists a video twice."""
        anywhere = np.zeros(self.shape[1], np.bool_)
        for part in self.chunks():
            anywhere[part.videos] = True
            keys = np.sort(part.rows * self.shape[1] + part.videos)
            twice = np.flatnonzero(keys[1:] == keys[:-1])
            if twice.size:
                row, video = divmod(int(keys[twice[0]]), self.shape[1])
                raise InputError(
                    f"{name}: the query {text_ids[part.first_text + row]!r} lists {video_ids[video]!r} twice",
                    allowed="each item once per query: which of the scores counts is not known",
                    to_do="leave one of the two out",
                )
        return anywhere
