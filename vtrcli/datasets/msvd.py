"""MSVD: 1,970 videos with about 41 sentences each, so that one split has many more texts than videos.

Captions from captions_msvd.json, else from the pickle raw-captions.pkl (which is read without running it).
"""

from __future__ import annotations

from pathlib import Path

from vtrcli.datasets.building import build_split, clean_text
from vtrcli.datasets.json_values import as_list, as_object, as_string, parse_json
from vtrcli.datasets.plain_pickle import read_plain_pickle
from vtrcli.datasets.reading import find_file, read_text, read_video_ids, wrong
from vtrcli.datasets.types import Split

CAPTIONS = ("captions_msvd.json", "raw-captions.pkl")
LISTS = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
# A small pickle can name one long list a million times; the real file has 0.6 million words.
MAX_CHARACTERS = 64 * 2**20


def load(folder: Path, split: str) -> Split:
    """One split, all sentences of each video. Raises InputError."""
    list_path = find_file(folder, LISTS[split])
    path = find_file(folder, *CAPTIONS)
    raw = read_plain_pickle(path) if path.suffix == ".pkl" else parse_json(read_text(path), path)
    video_ids = read_video_ids(list_path)
    of_video = as_object(raw, path, "the file")
    captions: dict[str, list[str]] = {}
    room = MAX_CHARACTERS
    for video_id in video_ids:
        sentences = as_list(_listed(of_video.get(video_id, [])), path, f"the entry of {video_id}")
        captions[video_id] = []
        for sentence in sentences:
            text = _text(sentence, path, f"a caption of {video_id}", room)
            room -= len(text)
            captions[video_id].append(text)
    return build_split(
        split, video_ids=video_ids, listed_in=list_path, captions_of=captions, captions_in=path
    )


def _text(sentence: object, path: Path, what: str, room: int) -> str:
    """A caption given as a string (JSON) or as its words (pickle), of fewer than `room` characters."""
    words = _listed(sentence)
    checked: list[str] = []
    for word in words if isinstance(words, list) else [words]:
        checked.append(as_string(word, path, what))
        room -= 1 + len(checked[-1])
        if room < 0:
            raise wrong(path, "too much text", allowed=f"{MAX_CHARACTERS:,} characters in one split")
    return clean_text(" ".join(checked), path, what)


def _listed(value: object) -> object:
    """A pickle may hold tuples where JSON has lists."""
    return list(value) if isinstance(value, tuple) else value
