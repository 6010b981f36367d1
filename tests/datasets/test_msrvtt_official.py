"""The official JSON, plain, zipped or combined; what is not in it is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.datasets.layouts import message, official, write_json, write_msrvtt, write_zip
from vtrcli.datasets.msrvtt_official import TEST, TRAIN_VAL, read_official
from vtrcli.errors import InputError


def test_zips_plain_files_and_the_combined_file_say_the_same(tmp_path: Path) -> None:
    for name in ("zips", "plain", "combined"):
        (tmp_path / name).mkdir()
    zips = read_official(write_msrvtt(tmp_path / "zips"), TRAIN_VAL, TEST)
    splits = zips.split_of
    train_val = official({video_id: str(split) for video_id, split in splits.items() if split != "test"})
    test = official({video_id: "test" for video_id, split in splits.items() if split == "test"})
    write_json(tmp_path / "plain" / TRAIN_VAL[0], train_val)
    write_json(tmp_path / "plain" / TEST[0], test)
    both = {key: [*train_val[key], *test[key]] for key in ("videos", "sentences")}  # type: ignore[misc]
    write_json(tmp_path / "combined" / "MSRVTT_data.json", both)
    for name in ("plain", "combined"):
        found = read_official(tmp_path / name, TRAIN_VAL, TEST)
        assert (found.captions, found.split_of) == (zips.captions, zips.split_of)
        assert set(found.categories.values()) == {"0", "1", "2", "3"}


def test_a_zip_without_the_json_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / TEST[1], {"readme.txt": "nothing here"})
    with pytest.raises(InputError) as caught:
        read_official(tmp_path, TEST)
    assert message(caught) == (
        f"{path}: the zip holds no test_videodatainfo.json; test_videodatainfo.json is read from it; "
        "mend the file or get it again; `vtr datasets list` says where from"
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], "the file is a list; it must be an object"),
        ({"sentences": []}, "the file has no key 'videos'; it has 'sentences', and must have 'videos'"),
        ({"videos": {}, "sentences": []}, "'videos' is an object; it must be a list"),
        ({"videos": [{"video_id": 1}], "sentences": []}, "a 'video_id' is a number; it must be a string"),
        ({"videos": [{"video_id": "v"}] * 2, "sentences": []}, "the video v is there twice; each video once"),
        ({"videos": [], "sentences": ["a"]}, "sentence 0 is a string; it must be an object"),
        (
            {"videos": [], "sentences": [{"video_id": "v", "caption": ["a"]}]},
            "the caption of sentence 0 is a list; it must be a string",
        ),
    ],
)
def test_a_json_of_another_shape_is_refused(tmp_path: Path, data: object, expected: str) -> None:
    path = tmp_path / TEST[0]
    path.write_text(json.dumps(data))
    with pytest.raises(InputError) as caught:
        read_official(tmp_path, TEST)
    assert message(caught) == (
        f"{path}: {expected}; mend the file or get it again; `vtr datasets list` says where from"
    )
