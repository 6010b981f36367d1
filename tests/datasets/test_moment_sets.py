"""The data sets of moments by name: their authors' layouts, one's own files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.moments.made import truth_row, write_lines
from vtrcli.datasets.moment_sets import MOMENT_SETS, load_moments, read_truth
from vtrcli.datasets.moments import MomentTruth
from vtrcli.errors import InputError, UsageError


def spans(truth: MomentTruth) -> list[list[list[float]]]:
    return [truth.windows[query].tolist() for query in range(len(truth))]


@pytest.mark.parametrize("name", MOMENT_SETS)
def test_every_set_reads_qvhighlights_layout_of_the_split_that_results_are_published_on(
    tmp_path: Path, name: str
) -> None:
    info = MOMENT_SETS[name]
    file = next(file for file in info.files[info.default_split] if file.endswith(".jsonl"))
    write_lines(tmp_path / file, [truth_row()])
    for given in (tmp_path, tmp_path / file):
        truth, split = load_moments(name, given)
        assert (len(truth), split) == (1, info.default_split)


def test_charades_sta_has_no_durations_and_spans_without_a_length_are_left_out(tmp_path: Path) -> None:
    lines = "3MSZA 24.3 30.4##person turn a light on.\nAMT7R 4.0 4.0##a person stands.\n\n"
    (tmp_path / "charades_sta_test.txt").write_text(lines)
    truth, _ = load_moments("charades", tmp_path)
    assert (truth.video_ids, truth.texts, spans(truth)) == (
        ("3MSZA",),
        ("person turn a light on.",),
        [[[24.3, 30.4]]],
    )
    assert np.isnan(truth.durations).all()
    assert truth.notes == ("1 query of the truth without a window, left out: 2",)
    (tmp_path / "charades_sta_test.txt").write_text("3MSZA 24.3##a person\n")
    with pytest.raises(
        InputError, match=r"line 1 is '3MSZA 24.3##a person'; a video, start and end in seconds, ## and"
    ):
        load_moments("charades", tmp_path)


def test_activitynet_captions_have_a_span_per_sentence(tmp_path: Path) -> None:
    video = {
        "duration": 55.15,
        "timestamps": [[0.28, 55.15], [13.79, 54.32]],
        "sentences": ["One.", "  Two."],
    }
    (tmp_path / "val_1.json").write_text(json.dumps({"v_a": video}))
    truth, split = load_moments("activitynet", tmp_path)
    assert (split, truth.query_ids, truth.texts) == ("test", ("v_a#0", "v_a#1"), ("One.", "Two."))
    assert spans(truth) == [[[0.28, 55.15]], [[13.79, 54.32]]]
    (tmp_path / "val_1.json").write_text(json.dumps({"v_a": video | {"sentences": ["One."]}}))
    with pytest.raises(InputError, match="v_a has 1 sentences and 2 timestamps; as many as sentences; "):
        load_moments("activitynet", tmp_path)
    (tmp_path / "val_1.json").write_text(json.dumps({"v_a": video | {"duration": 1e300}}))
    with pytest.raises(
        InputError, match="'duration' of sentence 0 of v_a is 1e[+]300; seconds, a number above 0, up to"
    ):
        load_moments("activitynet", tmp_path)


def test_tacos_counts_frames(tmp_path: Path) -> None:
    video = {"timestamps": [[50, 100]], "sentences": ["She took out kiwi."], "fps": 25, "num_frames": 1000}
    (tmp_path / "test.json").write_text(json.dumps({"s30.avi": video}))
    truth, _ = load_moments("tacos", tmp_path)
    assert (spans(truth), truth.durations.tolist()) == ([[[2, 4]]], [40])
    (tmp_path / "test.json").write_text(json.dumps({"s30.avi": video | {"fps": 0}}))
    with pytest.raises(InputError, match="s30.avi has the fps 0; frames per second, above 0; "):
        load_moments("tacos", tmp_path)


def test_rows_of_one_video_and_text_are_the_windows_of_one_query(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(
        "video_id,caption,start,end,split,duration\n"
        "a.mp4,a man cooks,1:12,1:31.5,test,150\n"
        "a.mp4,a man cooks,100,110,test,\n"
        "a.mp4,a dog,0,2,test,\n"
        "b.mp4,a cat,0,2,train,\n"
    )
    truth, split = load_moments("csv", tmp_path)
    assert (split, truth.query_ids, truth.texts) == ("test", ("a.mp4#0", "a.mp4#1"), ("a man cooks", "a dog"))
    assert spans(truth) == [[[72, 91.5], [100, 110]], [[0, 2]]]
    assert truth.durations.tolist() == [150, 150]
    assert load_moments("csv", tmp_path, "train")[0].texts == ("a cat",)


def test_own_json_lines_may_list_windows(tmp_path: Path) -> None:
    rows = [
        {"video_id": "a", "text": "x", "windows": [[0, 2], [5, 9]]},
        {"video_id": "a", "text": "y", "start_seconds": 1, "end_seconds": 2.5},
    ]
    write_lines(tmp_path / "captions.jsonl", rows)
    assert spans(load_moments("jsonl", tmp_path)[0]) == [[[0, 2], [5, 9]], [[1, 2.5]]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.mp4,a dog,soon,2", "'start' of line 2 is 'soon'; seconds, M:SS or H:MM:SS; mend the row"),
        ("a.mp4,a dog,0,", "'end' of line 2 is ''; seconds, M:SS or H:MM:SS; mend the row"),
        ("a.mp4,a dog,nan,2", "'start' of line 2 is 'nan'; seconds, M:SS or H:MM:SS; "),
        ("a.mp4,a dog,9,2", "window 1 of line 2 ends before it starts: 9 to 2; "),
        ("a.mp4,,0,2", "'caption' of line 2 is empty; every caption has a text; "),
    ],
)
def test_own_rows_that_cannot_be_used_are_told(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "captions.csv"
    path.write_text(f"video_id,caption,start,end\n{row}\n")
    with pytest.raises(InputError) as caught:
        load_moments("csv", tmp_path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_file_of_captions_without_times_is_told(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("video_id,caption\na.mp4,a dog\n")
    with pytest.raises(InputError) as caught:
        load_moments("csv", tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'captions.csv'}: line 2 says not when: it has video_id, caption; rows with `start` and `end` in "
        "seconds or as 1:12; in jsonl also `windows`; add them, or name another truth with --truth"
    )


def test_names_and_splits_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_moments("msvd", tmp_path)
    assert str(caught.value) == (
        "no data set of moments is called 'msvd'; one of qvhighlights, charades, activitynet, tacos, tvr, csv, jsonl; "
        "moments of your own are read with csv or jsonl: see docs/moments.md"
    )
    with pytest.raises(
        UsageError, match="qvhighlights has no split 'test' with moments; its splits are val, train; "
    ):
        load_moments("qvhighlights", tmp_path, "test")
    with pytest.raises(
        UsageError, match="csv has no split 'dev'; its splits are train, val, test; choose one of them"
    ):
        load_moments("csv", tmp_path, "dev")
    (tmp_path / "captions.csv").write_text("video_id,caption,start,end,split\na.mp4,a dog,0,1,train\n")
    with pytest.raises(
        InputError, match="no row belongs to the split test; rows with video_id, caption, start and end"
    ):
        load_moments("csv", tmp_path)


def test_a_truth_of_any_layout_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("video_id,caption,start,end\na.mp4,a dog,0,1\n")
    (tmp_path / "a.txt").write_text("a.mp4 0 1##a dog\n")
    write_lines(tmp_path / "own.jsonl", [{"video_id": "a.mp4", "caption": "a dog", "start": 0, "end": 1}])
    write_lines(tmp_path / "qvh.jsonl", [truth_row(vid="a.mp4", query="a dog", relevant_windows=[[0, 1]])])
    for name in ("a.csv", "a.txt", "own.jsonl", "qvh.jsonl"):
        truth = read_truth(tmp_path / name)
        assert (truth.video_ids, truth.texts, spans(truth)) == (("a.mp4",), ("a dog",), [[[0, 1]]]), name


def test_ones_own_lines_may_be_in_qvhighlights_layout(tmp_path: Path) -> None:
    write_lines(tmp_path / "moments.jsonl", [truth_row()])
    truth, _ = load_moments("jsonl", tmp_path / "moments.jsonl")
    assert truth.query_ids == read_truth(tmp_path / "moments.jsonl").query_ids and len(truth) == 1
