"""ActivityNet Captions as paragraph retrieval: all sentences of a video, in the file's order, are its one text.

The published loaders (CLIP4Clip's and those made from it) join them as the file has them; in 131 of the 4,917 test
videos that is not the order of their starts.

Testing is on val_1.json, as the field does ("val1"): the captions of the official test videos are not public.
There is no other validation split; val_2.json holds the same videos, described by other people.
"""

from __future__ import annotations

from pathlib import Path

from vtrcli.datasets.files import Json, find_file, read_text, wrong
from vtrcli.datasets.split import PARAGRAPH_TOKENS, DatasetInfo, Split, build_split

FILES = {"train": "train.json", "test": "val_1.json"}


def load(folder: Path, split: str) -> Split:
    """One split, one paragraph per video. Raises InputError."""
    path = find_file(folder, FILES[split])
    videos = Json.parse(read_text(path), path)
    paragraphs = {video_id: [_paragraph(videos, video_id)] for video_id in videos.members()}
    return build_split(
        split, video_ids=list(paragraphs), listed_in=path, captions_of=paragraphs, captions_in=path
    )


def _paragraph(videos: Json, video_id: str) -> str:
    name = Json(video_id, videos.path, "a video id").string()
    video = Json(videos.members()[video_id], videos.path, name)
    sentences, spans = video["sentences"].items(), video["timestamps"].items()
    if not sentences or len(sentences) != len(spans):
        what = f"{name} has {len(sentences)} sentences and {len(spans)} timestamps"
        raise wrong(videos.path, what, allowed="as many as sentences, at least one")
    return " ".join(Json(each, videos.path, f"a sentence of {name}").text() for each in sentences)


INFO = DatasetInfo(
    name="activitynet",
    load=load,
    summary="ActivityNet Captions, paragraph retrieval, testing on val_1 (`val1`)",
    files=tuple(FILES.values()),
    source="https://cs.stanford.edu/people/ranjaykrishna/densevid; GitHub: v-iashin/BMT",
    splits=("train", "test"),
    num_videos={"train": 10_009, "test": 4917},
    num_captions={"train": 10_009, "test": 4917},
    max_tokens=PARAGRAPH_TOKENS,
)
