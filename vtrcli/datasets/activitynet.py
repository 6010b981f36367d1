"""ActivityNet Captions as paragraph retrieval: all sentences of a video, joined in time order, are its one text.

Testing is on val_1.json, as the field does ("val1"): the captions of the official test videos are not public.
There is no other validation split; val_2.json holds the same videos, described by other people.
"""

from __future__ import annotations

from pathlib import Path

from vtrcli.datasets.building import build_split, clean_text, join_in_time_order, start_of
from vtrcli.datasets.json_values import as_list, as_object, as_string, member, parse_json
from vtrcli.datasets.reading import find_file, read_text, wrong
from vtrcli.datasets.types import Split

FILES = {"train": "train.json", "test": "val_1.json"}


def load(folder: Path, split: str) -> Split:
    """One split, one paragraph per video. Raises InputError."""
    path = find_file(folder, FILES[split])
    videos = as_object(parse_json(read_text(path), path), path, "the file")
    paragraphs = {video_id: [_paragraph(entry, path, video_id)] for video_id, entry in videos.items()}
    return build_split(
        split, video_ids=list(paragraphs), listed_in=path, captions_of=paragraphs, captions_in=path
    )


def _paragraph(entry: object, path: Path, video_id: str) -> str:
    video = as_object(entry, path, as_string(video_id, path, "a video id"))
    sentences = as_list(member(video, "sentences", path, video_id), path, f"'sentences' of {video_id}")
    spans = as_list(member(video, "timestamps", path, video_id), path, f"'timestamps' of {video_id}")
    if not sentences or len(sentences) != len(spans):
        what = f"{video_id} has {len(sentences)} sentences and {len(spans)} timestamps"
        raise wrong(path, what, allowed="as many as sentences, at least one")
    starts = [start_of(span, path, f"a timestamp of {video_id}") for span in spans]
    texts = [clean_text(sentence, path, f"a sentence of {video_id}") for sentence in sentences]
    return join_in_time_order(zip(starts, texts, strict=True))
