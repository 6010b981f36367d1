"""MSR-VTT's official captions: `videodatainfo` JSON, plain or in the zips it is handed on in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vtrcli.datasets.building import clean_text
from vtrcli.datasets.json_values import as_list, as_object, as_string, member, parse_json
from vtrcli.datasets.reading import as_text, find_file, read_text, read_zip_member, wrong

COMBINED = "MSRVTT_data.json"
TRAIN_VAL = ("train_val_videodatainfo.json", "train_val_annotation.zip")
TEST = ("test_videodatainfo.json", "test_videodatainfo.json.zip")


@dataclass
class Official:
    """Video id -> captions in the order of the file, official split and category. `path` is for messages."""

    path: Path
    captions: dict[str, list[str]] = field(default_factory=dict)
    split_of: dict[str, object] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)


def read_official(folder: Path, *parts: tuple[str, ...]) -> Official:
    """The videos of `parts` (TRAIN_VAL, TEST): all from the combined file where it is, else from each part's own.

    Raises:
        InputError: a file is missing or does not hold what it must.
    """
    member_names = {find_file(folder, COMBINED, *part): part[0] for part in parts}
    official = Official(next(iter(member_names)) if len(member_names) == 1 else folder)
    category_names = _read_category_names(folder)
    for path, member_name in member_names.items():
        data = _read_json(path, member_name)
        _add_videos(official, data, path, category_names)
        _add_sentences(official, data, path)
    return official


def _read_json(path: Path, member_name: str) -> dict[str, object]:
    if path.suffix == ".zip":
        content = read_zip_member(path, member_name)
        if content is None:
            raise wrong(path, f"the zip holds no {member_name}", allowed=f"{member_name} is read from it")
        text = as_text(content, path)
    else:
        text = read_text(path)
    return as_object(parse_json(text, path), path, "the file")


def _add_videos(official: Official, data: dict[str, object], path: Path, names: dict[str, str]) -> None:
    for item in as_list(member(data, "videos", path, "the file"), path, "'videos'"):
        video = as_object(item, path, "an entry of 'videos'")
        video_id = as_string(member(video, "video_id", path, "a video"), path, "a 'video_id'")
        if video_id in official.split_of:
            raise wrong(path, f"the video {video_id} is there twice", allowed="each video once")
        official.split_of[video_id] = video.get("split")
        if "category" in video:
            number = str(video["category"])
            official.categories[video_id] = names.get(number, number)


def _add_sentences(official: Official, data: dict[str, object], path: Path) -> None:
    for number, item in enumerate(as_list(member(data, "sentences", path, "the file"), path, "'sentences'")):
        what = f"sentence {number}"
        sentence = as_object(item, path, what)
        video_id = as_string(member(sentence, "video_id", path, what), path, f"the 'video_id' of {what}")
        text = clean_text(member(sentence, "caption", path, what), path, f"the caption of {what}")
        official.captions.setdefault(video_id, []).append(text)


def _read_category_names(folder: Path) -> dict[str, str]:
    """Category number -> name from category.txt (in the folder or in the zip); without it numbers stay numbers."""
    path = folder / "category.txt"
    if path.exists():
        text = read_text(path)
    elif (folder / TRAIN_VAL[1]).exists():
        path = folder / TRAIN_VAL[1]
        text = as_text(read_zip_member(path, "category.txt") or b"", path)
    else:
        return {}
    pairs = [line.rpartition("\t") for line in text.split("\n")]
    return {number.strip(): name.strip() for name, _, number in pairs if name}
