"""DiDeMo as paragraph retrieval: all descriptions of a video, joined in time order, are its one text.

Several people marked the moment of each description in chunks of five seconds; a description begins at the
mean of their starts (our choice of time; CLIP4Clip computes the same mean, but joins in the order of the file).
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from vtrcli.datasets.building import build_split, clean_text, join_in_time_order, start_of
from vtrcli.datasets.json_values import as_list, as_object, as_string, member, parse_json
from vtrcli.datasets.reading import find_file, read_text, read_video_ids, wrong
from vtrcli.datasets.types import Split

LISTS = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
DATA = {"train": "train_data.json", "val": "val_data.json", "test": "test_data.json"}


def load(folder: Path, split: str) -> Split:
    """One split: the videos of the list (fewer than the JSON has), one paragraph each. Raises InputError."""
    list_path = find_file(folder, LISTS[split])
    path = find_file(folder, DATA[split])
    moments: dict[str, list[tuple[float, str]]] = {}
    for number, item in enumerate(as_list(parse_json(read_text(path), path), path, "the file")):
        what = f"entry {number}"
        moment = as_object(item, path, what)
        video_id = as_string(member(moment, "video", path, what), path, f"'video' of {what}")
        text = clean_text(member(moment, "description", path, what), path, f"'description' of {what}")
        spans = as_list(member(moment, "times", path, what), path, f"'times' of {what}")
        if not spans:
            raise wrong(path, f"'times' of {what} is empty", allowed="at least one [first, last] chunk")
        start = fmean(start_of(span, path, f"a time of {what}") for span in spans)
        moments.setdefault(video_id, []).append((start, text))
    paragraphs = {video_id: [join_in_time_order(pairs)] for video_id, pairs in moments.items()}
    return build_split(
        split,
        video_ids=read_video_ids(list_path),
        listed_in=list_path,
        captions_of=paragraphs,
        captions_in=path,
    )
