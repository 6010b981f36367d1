"""DiDeMo as paragraph retrieval: all descriptions of a video, in the file's order, are its one text.

That is how the published loaders (CLIP4Clip's and those made from it) join them. The file is not in the order of the
marked moments: joined by time, 795 of the 1,004 test texts would be other ones.
"""

from __future__ import annotations

from pathlib import Path

from vtrcli.datasets.files import Json, find_file, read_text, read_video_ids
from vtrcli.datasets.split import PARAGRAPH_TOKENS, DatasetInfo, Split, build_split

LISTS = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
DATA = {"train": "train_data.json", "val": "val_data.json", "test": "test_data.json"}


def load(folder: Path, split: str) -> Split:
    """One split: the videos of the list (fewer than the JSON has), one paragraph each. Raises InputError."""
    list_path = find_file(folder, LISTS[split])
    path = find_file(folder, DATA[split])
    descriptions: dict[str, list[str]] = {}
    for moment in Json.parse(read_text(path), path).each("entry"):
        descriptions.setdefault(moment["video"].string(), []).append(moment["description"].text())
    paragraphs = {video_id: [" ".join(texts)] for video_id, texts in descriptions.items()}
    return build_split(
        split,
        video_ids=read_video_ids(list_path),
        listed_in=list_path,
        captions_of=paragraphs,
        captions_in=path,
    )


INFO = DatasetInfo(
    name="didemo",
    load=load,
    summary="DiDeMo, paragraph retrieval: all descriptions of a video as one text",
    files=("train_data.json, val_data.json, test_data.json", ", ".join(LISTS.values())),
    source="GitHub: LisaAnne/LocalizingMoments (json); albanie/collaborative-experts, misc/datasets/didemo (lists)",
    splits=("train", "val", "test"),
    num_videos={"train": 8392, "val": 1065, "test": 1004},
    num_captions={"train": 8392, "val": 1065, "test": 1004},
    max_tokens=PARAGRAPH_TOKENS,
)
