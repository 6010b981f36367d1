"""ActivityNet Captions as paragraph retrieval: all sentences of a video, in the file's order, are its one text.

The published loaders (CLIP4Clip's and those made from it) join them as the file has them; in 131 of the 4,917 test
videos that is not the order of their starts.

Testing is on val_1.json, as the field does ("val1"): the captions of the official test videos are not public.
There is no other validation split; val_2.json holds the same videos, described by other people.
"""

from __future__ import annotations

from pathlib import Path

from vtrcli.datasets.files import (
    as_list,
    as_object,
    as_string,
    find_file,
    member,
    parse_json,
    read_text,
    wrong,
)
from vtrcli.datasets.split import Split, build_split, clean_text

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
    return " ".join(clean_text(sentence, path, f"a sentence of {video_id}") for sentence in sentences)
