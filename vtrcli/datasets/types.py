"""What every data set becomes: videos and captions of one split. Knows no file format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Caption:
    """One text of one video. `caption_id` is unique within its split: `<video id>#<number within the video>`."""

    text: str
    video_id: str
    caption_id: str


@dataclass(frozen=True)
class Split:
    """A part of a data set. Every video has at least one caption; captions stand in the order of the videos.

    `categories`: video id -> category, for those videos whose category is known; empty for most data sets.
    """

    name: str
    video_ids: tuple[str, ...]
    captions: tuple[Caption, ...]
    categories: Mapping[str, str] = field(default_factory=dict)
