"""Predictions in both layouts; every odd file ends in an error or in a counted note."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.moments.made import predicted_row, truth_row, write_lines
from vtrcli.datasets.moments import MomentTruth, read_moment_truth
from vtrcli.errors import InputError
from vtrcli.moments.files import Predictions, read_predictions, write_predictions

NAN = float("nan")


@pytest.fixture
def truth(tmp_path: Path) -> MomentTruth:
    rows = [truth_row(1), truth_row(2, vid="v2", query="a dog runs")]
    return read_moment_truth(write_lines(tmp_path / "truth.jsonl", rows))


def read(folder: Path, truth: MomentTruth, *rows: dict[str, Any], **options: Any) -> Predictions:
    return read_predictions(write_lines(folder / "pred.jsonl", rows), truth, **options)


def good(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two rows, the first of which is changed; in another order than the truth's."""
    return predicted_row(2, vid="v2"), predicted_row(1) | changes


def test_rows_are_joined_by_their_queries_not_by_their_order(tmp_path: Path, truth: MomentTruth) -> None:
    found = read(tmp_path, truth, *good(pred_relevant_windows=[[1, 2, 0.5], [3, 4, 0.4]]))
    assert found.windows is not None
    assert [found.windows[query].tolist() for query in (0, 1)] == [
        [[1, 2, 0.5], [3, 4, 0.4]],
        [[10, 18, 0.9]],
    ]


def test_one_json_list_of_rows_is_read_too(tmp_path: Path, truth: MomentTruth) -> None:
    path = tmp_path / "pred.json"
    path.write_text(json.dumps(good(), indent=1))
    assert read_predictions(path, truth).windows is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pred_relevant_windows": [[20, 10, 1]]},
            "window 1 of line 2 ends before it starts: 20 to 10; a window is [start, end] in seconds, the start first; "
            "mend the file; centre and width are not start and end",
        ),
        (
            {"pred_relevant_windows": [[NAN, 10, 1]]},
            "a window of line 2 holds NaN or infinity; a list of [start, end, ",
        ),
        (
            {"pred_relevant_windows": [[1, 10, NAN]]},
            "a window of line 2 holds NaN or infinity; a list of [start, end, ",
        ),
        (
            {"pred_relevant_windows": [["1", "2", "3"]]},
            "the windows of line 2 hold text instead of numbers; a list of ",
        ),
        (
            {"pred_relevant_windows": [1, 2, 3]},
            "the windows of line 2 are no list of [start, end, score] or [start, end]",
        ),
        (
            {"pred_relevant_windows": None},
            "the windows of line 2 are no list of [start, end, score] or [start, end]; ",
        ),
        (
            {"vid": "v9"},
            "predictions for other videos: 1; query 1 is about 'v1', not 'v9'; the video of the query in ",
        ),
        ({"qid": 2}, "1 prediction there twice: 2; each query once; delete the rows that are not meant"),
        (
            {"qid": 9},
            "1 of the truth's 2 queries missing: 1; 1 query not in the truth: 9; predictions and truth must be "
            "about the same queries; predict for all of them, or pass --allow-missing to evaluate those that both have",
        ),
        (
            {"pred_saliency_scores": [1.0]},
            "1 of 2 predictions without 'pred_saliency_scores'; all of them have saliency",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_told(
    tmp_path: Path, truth: MomentTruth, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, truth, *good(**changes))
    assert str(caught.value).startswith(f"{tmp_path / 'pred.jsonl'}: {message}")


@pytest.mark.parametrize("scores", [[1, NAN], ["a"], [[1, 2]], [1, [2]]])
def test_saliency_that_is_none(tmp_path: Path, truth: MomentTruth, scores: list[Any]) -> None:
    rows = [row | {"pred_saliency_scores": scores} for row in good()]
    with pytest.raises(
        InputError, match="'pred_saliency_scores' of line 2 are not finite numbers; a list of finite"
    ):
        read(tmp_path, truth, *rows)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        (
            {"pred_relevant_windows": [[n, n + 5, 1 - n / 50] for n in range(50)]},
            "40 windows of 1 query behind the first 10: not counted (--max-windows)",
        ),
        (
            {"pred_relevant_windows": [[5, 5, 1]]},
            "1 empty predicted window (start and end the same): no match possible",
        ),
        (
            {"pred_relevant_windows": [[-2, 5, 1], [140, 151, 1]]},
            "2 predicted windows beyond the video: counted as given",
        ),
        ({"pred_relevant_windows": []}, "1 query without a predicted window: counted as not found"),
        (
            {"pred_relevant_windows": [[1, 2]]},
            "windows without a score are ranked in the order in which they are listed",
        ),
        (
            {"duration": 75},
            "1 video of another duration in the predictions than in the truth (by more than 1 s): v1; "
            "is it the same cut?",
        ),
    ],
)
def test_what_evaluators_let_pass_is_counted(
    tmp_path: Path, truth: MomentTruth, changes: dict[str, Any], note: str
) -> None:
    assert read(tmp_path, truth, *good(**changes)).notes == (note,)


def test_queries_that_only_one_side_has_can_be_left_out(tmp_path: Path, truth: MomentTruth) -> None:
    found = read(tmp_path, truth, predicted_row(1), predicted_row(9), allow_missing=True)
    assert found.truth.query_ids == (1,)
    cannot = "left out, so that the numbers cannot be compared with published ones"
    assert found.notes == (
        f"1 of the truth's 2 queries missing: 2; {cannot}",
        f"1 query not in the truth: 9; {cannot}",
    )
    with pytest.raises(InputError, match="it has no query of the truth; 1 query not in the truth: 9; "):
        read(tmp_path, truth, predicted_row(9), allow_missing=True)


def test_saliency_without_a_truth_of_it_is_told(tmp_path: Path, truth: MomentTruth) -> None:
    found = read(tmp_path, truth, *(row | {"pred_saliency_scores": [0.1] * 75} for row in good()))
    assert found.notes == ("the truth has no saliency: highlights are not evaluated",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty; one prediction per line"),
        ("{not json\n", "the file is not JSON: "),
        ('{"qid": 1}\n{oops\n', "line 2 is not JSON: "),
        (
            '{"video2idx": {"v1": 0}}\n',
            "neither QVHighlights' nor TVR's layout; one JSON object per line with qid, ",
        ),
        ('{"VCMR": []}\n', "neither QVHighlights' nor TVR's layout; "),
        ('{"a": 1}\n', "neither QVHighlights' nor TVR's layout; "),
        ("[1, 2]\n", "entry 0 is a number; it must be an object; "),
    ],
)
def test_what_is_no_file_of_predictions(
    tmp_path: Path, truth: MomentTruth, content: str, message: str
) -> None:
    path = tmp_path / "pred.jsonl"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_predictions(path, truth)
    assert str(caught.value).startswith(f"{path}: {message}")


def tvr(**changes: Any) -> dict[str, Any]:
    rows = [
        {"desc_id": 1, "desc": "a man cooks", "predictions": [[5, 10, 18, 0.9], [6, 0, 3, 0.8]]},
        {"desc_id": 2, "desc": "a dog runs", "predictions": [[5, 0, 3, 0.9], [6, 10, 20, 0.8]]},
    ]
    return {"video2idx": {"v1": 5, "v2": 6}, "VCMR": rows, "SVMR": rows, "VR": rows} | changes


def test_tvr_layout_gives_all_tasks_and_the_windows_in_the_right_video(
    tmp_path: Path, truth: MomentTruth
) -> None:
    path = tmp_path / "tvr.json"
    path.write_text(json.dumps(tvr(), indent=2))
    found = read_predictions(path, truth)
    assert tuple(found.corpus) == ("VCMR", "SVMR", "VR")
    assert found.corpus_truth.videos.tolist() == [5, 6]
    assert found.windows is not None
    assert [found.windows[query].tolist() for query in (0, 1)] == [[[10, 18, 0.9]], [[10, 20, 0.8]]]
    again = tmp_path / "again.json"
    write_predictions(again, found)
    assert json.loads(again.read_text()) == tvr()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"video2idx": {"v1": 5}},
            "1 video of the truth not in 'video2idx': v2; it numbers every video of the corpus",
        ),
        ({"video2idx": {"v1": "5"}}, "'video2idx' holds '5'; name of a video -> its whole number; "),
        (
            {"video2idx": {"v1": 2**64}},
            f"'video2idx' holds {2**64}; name of a video -> its whole number; ",
        ),
        ({"VR": tvr()["VR"][:1]}, "VCMR and VR are about other queries; all tasks have the same queries; "),
        ({"VCMR": tvr()["VCMR"] * 2}, "2 VCMR predictions there twice: 1, 2; each query once; "),
        (
            {"VCMR": [{"desc_id": n, "predictions": [[5, 9, 1, 0.5]]} for n in (1, 2)]},
            "window 1 of VCMR entry 0 ends before it starts: 9 to 1; ",
        ),
    ],
)
def test_a_tvr_file_that_cannot_be_used(
    tmp_path: Path, truth: MomentTruth, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "tvr.json"
    path.write_text(json.dumps(tvr(**changes)))
    with pytest.raises(InputError) as caught:
        read_predictions(path, truth)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_what_was_written_is_read_back(tmp_path: Path, truth: MomentTruth) -> None:
    rows = [row | {"pred_saliency_scores": [0.1, 1 / 3]} for row in good()]
    found = read(tmp_path, truth, *rows)
    again = tmp_path / "again.jsonl"
    write_predictions(again, found)
    same = read_predictions(again, truth)
    assert same.windows is not None and found.windows is not None
    assert same.windows.values.tolist() == found.windows.values.tolist()
    assert same.saliency is not None and found.saliency is not None
    assert same.saliency.values.tolist() == found.saliency.values.tolist()
    assert [json.loads(line)["qid"] for line in again.read_text().splitlines()] == [1, 2]


def test_a_truth_is_no_prediction(tmp_path: Path, truth: MomentTruth) -> None:
    with pytest.raises(
        InputError, match="it holds a truth; predictions have 'pred_relevant_windows'; give predictions"
    ):
        read(tmp_path, truth, truth_row(1), truth_row(2))


def test_windows_go_from_one_layout_to_the_other_and_back(tmp_path: Path, truth: MomentTruth) -> None:
    found, as_tvr = read(tmp_path, truth, *good()), tmp_path / "tvr.json"
    write_predictions(as_tvr, found)
    assert list(json.loads(as_tvr.read_text())) == ["video2idx", "SVMR"]
    back = read_predictions(as_tvr, truth)
    assert back.windows is not None and found.windows is not None
    assert back.windows.values.tolist() == found.windows.values.tolist()


def test_a_corpus_alone_has_no_windows_for_qvhighlights_layout(tmp_path: Path, truth: MomentTruth) -> None:
    body = tvr()
    del body["SVMR"]
    (tmp_path / "tvr.json").write_text(json.dumps(body))
    found = read_predictions(tmp_path / "tvr.json", truth)
    assert found.windows is None
    with pytest.raises(InputError) as caught:
        write_predictions(tmp_path / "m.jsonl", found)
    assert str(caught.value) == (
        f"{tmp_path / 'm.jsonl'}: there are no windows in the right video (SVMR); QVHighlights' layout has those "
        f"alone; write all tasks to {tmp_path / 'm.json'}"
    )
