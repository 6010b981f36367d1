"""Small annotation folders in the layouts of the real ones; every row is made up."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from vtrcli.errors import InputError


def message(caught: pytest.ExceptionInfo[InputError]) -> str:
    assert caught.value.exit_code == 3
    return str(caught.value)


def official(split_of: dict[str, str], *, captions_each: int = 2) -> dict[str, object]:
    """videodatainfo as MSR-VTT has it; `split_of`: video id -> official split."""
    videos = [
        {"category": number, "video_id": video_id, "split": split, "id": number}
        for number, (video_id, split) in enumerate(split_of.items())
    ]
    sentences = [
        {"caption": f"caption {number} of {video_id}", "video_id": video_id, "sen_id": number}
        for number in range(captions_each)
        for video_id in split_of
    ]
    return {"info": {}, "videos": videos, "sentences": sentences}


def write_json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_zip(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_msrvtt(folder: Path) -> Path:
    """Four train and validation videos (two of each), three test videos; 1k-A tests on v5 and v6."""
    train_val = official({"v0": "train", "v1": "train", "v2": "validate", "v3": "validate"})
    test = official({"v4": "test", "v5": "test", "v6": "test"})
    categories = "".join(f"kind {number}\t{number}\r\n" for number in range(5))
    write_zip(
        folder / "train_val_annotation.zip",
        {"train_val_videodatainfo.json": json.dumps(train_val), "category.txt": categories},
    )
    write_zip(folder / "test_videodatainfo.json.zip", {"test_videodatainfo.json": json.dumps(test)})
    (folder / "MSRVTT_train.9k.csv").write_text("video_id\nv0\nv1\nv2\nv3\nv4\n")
    (folder / "MSRVTT_train.7k.csv").write_text("video_id\nv3\nv2\nv1\nv0\n")
    pairs = 'key,vid_key,video_id,sentence\nret0,msr6,v6,"a dog, asleep"\nret1,msr5,v5,a cat walks\n'
    (folder / "MSRVTT_JSFUSION_test.csv").write_text(pairs)
    return folder


def write_lists(folder: Path, **video_ids: list[str]) -> None:
    for split, names in video_ids.items():
        (folder / f"{split}_list.txt").write_text("".join(f"{name}\n" for name in names))
