"""What every data set tells of itself and becomes: videos and captions of one split. Knows no file format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vtrcli.datasets.files import first_few, wrong

# What CLIP4Clip's family reads of a text (the `--max_words` of its scripts), start and end included.
SENTENCE_TOKENS, PARAGRAPH_TOKENS = 32, 64


@dataclass(frozen=True, slots=True)
class Caption:
    """One text of one video. `caption_id` is unique within its split: `<video id>#<number within the video>`; where a
    text has several videos (`beir`), it is the text's id, and there is one of these per video."""

    text: str
    video_id: str
    caption_id: str


@dataclass(frozen=True)
class Split:
    """A part of a data set. Every video has at least one caption (but for `beir`); captions stand in the order of the
    videos.

    `categories`: video id -> category, for those videos whose category is known; empty for most data sets.
    """

    name: str
    video_ids: tuple[str, ...]
    captions: tuple[Caption, ...]
    categories: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetInfo:
    """A row of `vtr datasets list`. `num_videos` and `num_captions` give the known count per split.

    `load` reads one split from the folder of its files; None: one's own captions. `has_split` tells whether the folder
    has one; None: it should have all.
    `max_tokens`: how much of a text the published protocol reads, start and end token included (CLIP4Clip's
    `max_words`, which counts both); None: as much as CLIP can.
    """

    name: str
    summary: str
    files: tuple[str, ...]
    source: str
    splits: tuple[str, ...]
    num_videos: Mapping[str, int]
    num_captions: Mapping[str, int]
    max_tokens: int | None = None
    load: Callable[[Path, str], Split] | None = None
    has_split: Callable[[Path, str], bool] | None = None


def build_split(
    name: str,
    *,
    video_ids: Sequence[str],
    listed_in: Path,
    captions_of: Mapping[str, Sequence[str]],
    captions_in: Path,
    categories: Mapping[str, str] | None = None,
) -> Split:
    """Put a split together; videos in the order of `video_ids`, captions of a video in their own order.

    Raises:
        InputError: no videos, or videos without a caption; the paths are for the message.
    """
    if not video_ids:
        raise wrong(listed_in, f"no video in the split {name}", allowed="a split has at least one video")
    without = [video_id for video_id in video_ids if not captions_of.get(video_id)]
    if without:
        raise wrong(
            listed_in,
            f"{len(without)} of {len(video_ids)} videos have no caption in {captions_in}: {first_few(without)}",
            allowed="every video of a split has a caption",
            to_do="use a list and captions of the same release",
        )
    captions = tuple(
        Caption(text, video_id, f"{video_id}#{number}")
        for video_id in video_ids
        for number, text in enumerate(captions_of[video_id])
    )
    all_categories = categories or {}
    own_categories = {
        video_id: all_categories[video_id] for video_id in video_ids if video_id in all_categories
    }
    return Split(name, tuple(video_ids), captions, own_categories)
