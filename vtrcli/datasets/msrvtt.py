"""MSR-VTT in three protocols: 1k-A (9,000 / 1,000 videos), 7k (7,010 / 1,000) and the official full split.

1k-A and 7k test on the same 1,000 (video, sentence) pairs and have no validation split of their own: using
the test pairs to choose a checkpoint, as is often done, would be reading the answers.

The official captions are `videodatainfo` JSON, plain or in the zips it is handed on in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vtrcli.datasets.files import (
    Json,
    as_text,
    each_once,
    find_file,
    read_table,
    read_text,
    read_zip_member,
    wrong,
)
from vtrcli.datasets.split import SENTENCE_TOKENS, DatasetInfo, Split, build_split

COMBINED = "MSRVTT_data.json"
TRAIN_VAL = ("train_val_videodatainfo.json", "train_val_annotation.zip")
TEST = ("test_videodatainfo.json", "test_videodatainfo.json.zip")
PAIRS = "MSRVTT_JSFUSION_test.csv"
TRAIN_9K = "MSRVTT_train.9k.csv"
TRAIN_7K = "MSRVTT_train.7k.csv"

_OFFICIAL_NAMES = {"train": "train", "val": "validate", "test": "test"}


def load_1ka(folder: Path, split: str) -> Split:
    """1k-A, `train` (20 captions per video) or `test` (one sentence per video). Raises InputError."""
    return _test_pairs(folder) if split == "test" else _listed_train(folder, TRAIN_9K, TRAIN_VAL, TEST)


def load_7k(folder: Path, split: str) -> Split:
    """The 7k protocol: the official train and validation videos, and the 1k-A pairs. Raises InputError."""
    return _test_pairs(folder) if split == "test" else _listed_train(folder, TRAIN_7K, TRAIN_VAL)


def load_full(folder: Path, split: str) -> Split:
    """The official splits, as the JSON's own `split` says; 20 captions per video. Raises InputError."""
    official = read_official(folder, TEST if split == "test" else TRAIN_VAL)
    official_name = _OFFICIAL_NAMES[split]
    video_ids = [video_id for video_id, name in official.split_of.items() if name == official_name]
    return _with_official_captions(split, video_ids, official.path, official)


def _listed_train(folder: Path, list_name: str, *parts: tuple[str, ...]) -> Split:
    path = find_file(folder, list_name)
    video_ids = each_once([row["video_id"] for _, row in read_table(path, required=("video_id",)).rows], path)
    return _with_official_captions("train", video_ids, path, read_official(folder, *parts))


def _with_official_captions(name: str, video_ids: list[str], listed_in: Path, official: Official) -> Split:
    return build_split(
        name,
        video_ids=video_ids,
        listed_in=listed_in,
        captions_of=official.captions,
        captions_in=official.path,
        categories=official.categories,
    )


def _test_pairs(folder: Path) -> Split:
    path = find_file(folder, PAIRS)
    rows = read_table(path, required=("video_id", "sentence")).rows
    texts = [Json(row["sentence"], path, f"the sentence of line {line}").text() for line, row in rows]
    video_ids = each_once([row["video_id"] for _, row in rows], path)
    # The pairs alone are enough for testing; with the official JSON beside them categories are known too.
    has_official = any((folder / name).exists() for name in (COMBINED, *TEST))
    return build_split(
        "test",
        video_ids=video_ids,
        listed_in=path,
        captions_of={video_id: [text] for video_id, text in zip(video_ids, texts, strict=True)},
        captions_in=path,
        categories=read_official(folder, TEST).categories if has_official else None,
    )


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
        _add_videos(official, data["videos"], category_names)
        _add_sentences(official, data["sentences"])
    return official


def _read_json(path: Path, member_name: str) -> Json:
    if path.suffix == ".zip":
        content = read_zip_member(path, member_name)
        if content is None:
            raise wrong(path, f"the zip holds no {member_name}", allowed=f"{member_name} is read from it")
        text = as_text(content, path)
    else:
        text = read_text(path)
    return Json.parse(text, path)


def _add_videos(official: Official, videos: Json, names: dict[str, str]) -> None:
    for item in videos.items():
        video = Json(item, videos.path, "an entry of 'videos'").members()
        Json(video, videos.path, "a video")["video_id"]
        video_id = Json(video["video_id"], videos.path, "a 'video_id'").string()
        if video_id in official.split_of:
            raise wrong(videos.path, f"the video {video_id} is there twice", allowed="each video once")
        official.split_of[video_id] = video.get("split")
        if "category" in video:
            number = str(video["category"])
            official.categories[video_id] = names.get(number, number)


def _add_sentences(official: Official, sentences: Json) -> None:
    for sentence in sentences.each("sentence"):
        video_id = sentence.member("video_id", "the 'video_id'").string()
        text = sentence.member("caption", "the caption").text()
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


_JSON = (
    "train_val_videodatainfo.json (or train_val_annotation.zip)",
    "test_videodatainfo.json (or test_videodatainfo.json.zip)",
    "or both in one: MSRVTT_data.json",
)
_SOURCE = (
    "GitHub: WingsBrokenAngel/MSR-VTT-DataCleaning (the official JSON); foolwood/DRL, layer6ai-labs/xpool (the csv); "
    "ArrowLuo/CLIP4Clip (release v0.0, all of them)"
)
INFOS = (
    DatasetInfo(
        name="msrvtt-1ka",
        load=load_1ka,
        summary="MSR-VTT, 1k-A protocol: train on 9,000 videos, test on 1,000 (video, sentence) pairs",
        files=("MSRVTT_train.9k.csv", "MSRVTT_JSFUSION_test.csv", *_JSON),
        source=_SOURCE,
        splits=("train", "test"),
        num_videos={"train": 9000, "test": 1000},
        num_captions={"train": 180_000, "test": 1000},
        max_tokens=SENTENCE_TOKENS,
    ),
    DatasetInfo(
        name="msrvtt-7k",
        load=load_7k,
        summary="MSR-VTT, 7k protocol: train on the 7,010 official train and validation videos, test as 1k-A",
        files=("MSRVTT_train.7k.csv", "MSRVTT_JSFUSION_test.csv", _JSON[0], "or MSRVTT_data.json"),
        source=_SOURCE,
        splits=("train", "test"),
        num_videos={"train": 7010, "test": 1000},
        num_captions={"train": 140_200, "test": 1000},
        max_tokens=SENTENCE_TOKENS,
    ),
    DatasetInfo(
        name="msrvtt-full",
        load=load_full,
        summary="MSR-VTT, official splits, 20 sentences per video",
        files=_JSON,
        source=_SOURCE,
        splits=("train", "val", "test"),
        num_videos={"train": 6513, "val": 497, "test": 2990},
        num_captions={"train": 130_260, "val": 9940, "test": 59_800},
        max_tokens=SENTENCE_TOKENS,
    ),
)
