"""What people mark is kept whole, by whomever it is made, and is what evaluation and training read."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import vtrcli as vtr
from vtrcli.datasets.moments import read_moment_truth
from vtrcli.errors import InputError, StoreError
from vtrcli.files import locked
from vtrcli.serve.marks import RIGHT, WRONG, Verdict, change_marks, moments_file, read_rows
from vtrcli.store.compact import compact
from vtrcli.store.reader import FeatureStore

QUERY = "a red circle moves right"


def mark(store: Path, start: float, end: float, verdict: Verdict = "right", **changes: Any) -> Any:
    asked = {"query": QUERY, "video_id": "a.mp4", "duration_seconds": 10.0} | changes
    return change_marks(store, changes=[((start, end), verdict)], **asked)


def test_marks_are_lines_in_qvhighlights_layout(tmp_path: Path) -> None:
    mark(tmp_path, 4, 6)
    mark(tmp_path, 1, 2)
    row, _ = mark(tmp_path, 7, 8, "wrong", who="Ada", query=f"  {QUERY.replace(' ', '  ')} ")
    mark(tmp_path, 0, 3, "wrong", video_id="ü/b c.mp4", duration_seconds=None)
    rows = [json.loads(line) for line in moments_file(tmp_path).read_text("utf-8").splitlines()]
    assert rows[0] == row and list(row) == [
        *("qid", "query", "vid", "duration", "relevant_windows", "wrong_windows", "who", "when")
    ]
    assert (row["query"], row["vid"], row["duration"], row["who"]) == (QUERY, "a.mp4", 10.0, "Ada")
    assert row[RIGHT] == [[1, 2], [4, 6]] and row[WRONG] == [[7, 8]]
    truth = read_moment_truth(moments_file(tmp_path))
    assert truth.texts == (QUERY,) and truth.windows[0].tolist() == [[1, 2], [4, 6]]
    assert truth.notes == (f"1 query of the truth without a window, left out: {rows[1]['qid']}",)


def test_a_window_has_one_verdict_and_the_last_counts(tmp_path: Path) -> None:
    mark(tmp_path, 1, 2)
    row, undo = mark(tmp_path, 1.0001, 2, "wrong")
    assert row[RIGHT] == [] and row[WRONG] == [[1, 2]] and undo == [((1, 2), "right")]
    row, undo = mark(tmp_path, 1, 2, "none")
    assert row is None and undo == [((1, 2), "wrong")]
    assert moments_file(tmp_path).read_text() == ""


CHANGES = st.lists(
    st.tuples(
        st.sampled_from([(0.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), st.sampled_from(["right", "wrong", "none"])
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=15)  # each writes three files, to the disk
@given(CHANGES, CHANGES)
def test_what_a_change_says_takes_it_back(first: list[Any], then: list[Any]) -> None:
    """Whatever was there, and in whatever order windows change."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        asked: dict[str, Any] = {"query": QUERY, "video_id": "a.mp4", "duration_seconds": 10.0}
        change_marks(Path(folder), changes=first, **asked)
        before = [(row[RIGHT], row[WRONG]) for row in read_rows(Path(folder))]
        _, undo = change_marks(Path(folder), changes=then, **asked)
        change_marks(Path(folder), changes=undo, **asked)
        assert [(row[RIGHT], row[WRONG]) for row in read_rows(Path(folder))] == before


def test_all_changes_are_made_or_none(tmp_path: Path) -> None:
    mark(tmp_path, 1, 2)
    before = moments_file(tmp_path).read_bytes()
    with pytest.raises(InputError):
        change_marks(
            tmp_path,
            query=QUERY,
            video_id="a.mp4",
            duration_seconds=10.0,
            changes=[((1, 2), "none"), ((5, 4), "right")],
        )
    assert moments_file(tmp_path).read_bytes() == before


@pytest.mark.parametrize(
    ("start", "end", "changes", "message"),
    [
        (
            3,
            3,
            {},
            "a mark from 3 s to 3 s; it ends after its start, within the video, the video is 10 s long; ",
        ),
        (4, 2, {}, "a mark from 4 s to 2 s; "),
        (-1, 2, {}, "a mark from -1 s to 2 s; "),
        (1, 11.5, {}, "a mark from 1 s to 11.5 s; "),
        (1, float("inf"), {"duration_seconds": None}, "a mark from 1 s to inf s; "),
        (float("nan"), 2, {}, "a mark from nan s to 2 s; "),
        (
            1,
            2,
            {"query": " "},
            "a mark without a sentence; marks say what is right or wrong for a sentence; ",
        ),
        (
            1,
            2,
            {"query": "a \ud800"},
            "a sentence that is not valid Unicode; marks are kept as Unicode text; ",
        ),
        (1, 2, {"video_id": "\udcff.mp4"}, "a video's id that is not valid Unicode; "),
    ],
)
def test_what_cannot_be_marked_is_told(
    tmp_path: Path, start: float, end: float, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        mark(tmp_path, start, end, **changes)
    assert str(caught.value).startswith(message)
    assert not moments_file(tmp_path).exists()


def test_a_mark_a_little_beyond_the_end_is_moved_to_it(tmp_path: Path) -> None:
    """A player's end is not to the millisecond the store's."""
    assert mark(tmp_path, 8, 10.4)[0][RIGHT] == [[8, 10]]


def test_what_others_wrote_in_the_file_stays(tmp_path: Path) -> None:
    theirs = {
        "qid": 7,
        "query": "a dog",
        "vid": "d",
        "relevant_windows": [[0, 2]],
        "saliency_scores": [[4, 4, 4]],
    }
    moments_file(tmp_path).parent.mkdir()
    moments_file(tmp_path).write_text(json.dumps(theirs) + "\n\n")
    mark(tmp_path, 1, 2)
    mark(tmp_path, 0, 2, "none", query="a dog", video_id="d")
    first = json.loads(moments_file(tmp_path).read_text().splitlines()[0])
    assert first["qid"] == 7 and first["saliency_scores"] == [[4, 4, 4]] and first[RIGHT] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 2 is not JSON"),
        ('{"query": "a"}', "line 2 has no key 'vid'"),
        (
            '{"query": "a", "vid": "b", "relevant_windows": [[1]]}',
            "'relevant_windows' of line 2 are no windows",
        ),
        (
            '{"query": "a", "vid": "b", "wrong_windows": [[1, NaN]]}',
            "'wrong_windows' of line 2 are no windows",
        ),
        ("[1]", "line 2 is a list"),
    ],
)
def test_a_file_that_cannot_be_read_is_never_written_over(tmp_path: Path, text: str, told: str) -> None:
    mark(tmp_path, 1, 2)
    with open(moments_file(tmp_path), "a") as file:
        file.write(text)
    before = moments_file(tmp_path).read_bytes()
    with pytest.raises(StoreError) as caught:
        mark(tmp_path, 3, 4)
    assert told in caught.value.came_in and caught.value.to_do == "mend that line, or move the file away"
    assert moments_file(tmp_path).read_bytes() == before


def _mark_many(store: Path, number: int) -> None:
    for step in range(3):
        mark(store, step, step + 0.5, query=f"query {number}")
        mark(store, number, number + 0.25 + step / 100)


@pytest.mark.parametrize("num_servers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_two_servers_and_two_tabs_lose_nothing(tmp_path: Path, num_servers: int) -> None:
    new_process = multiprocessing.get_context("spawn").Process
    processes = [new_process(target=_mark_many, args=(tmp_path, number)) for number in range(num_servers)]
    threads = [
        threading.Thread(target=_mark_many, args=(tmp_path, number))
        for number in range(num_servers, num_servers + 3)
    ]
    for one in (*processes, *threads):
        one.start()
    for one in (*processes, *threads):
        one.join(60)
    assert [process.exitcode for process in processes] == [0] * num_servers
    rows = {row["query"]: row for row in read_rows(tmp_path)}
    assert len(rows.pop(QUERY)[RIGHT]) == 3 * (num_servers + 3)
    assert [len(row[RIGHT]) for row in rows.values()] == [3] * (num_servers + 3)


@pytest.fixture
def own_store(demo: Path, tmp_path: Path) -> Path:
    shutil.copytree(demo / "store", tmp_path / "store", ignore=shutil.ignore_patterns("index"))
    return tmp_path / "store"


def test_marks_survive_the_care_for_a_store(own_store: Path) -> None:
    """Also that a folder of derived files may be deleted."""
    mark(own_store, 1, 2)
    before = moments_file(own_store).read_bytes()
    compact(own_store)
    vtr.search(QUERY, own_store, device="cpu")
    shutil.rmtree(own_store / "index")
    assert moments_file(own_store).read_bytes() == before
    assert FeatureStore(own_store).videos


def test_the_api_marks_and_takes_back(client: TestClient, demo: Path) -> None:
    best = client.get("/api/search", params={"q": QUERY}).json()["results"][0]
    window = {"start_seconds": 0.5, "end_seconds": 1.25, "verdict": "right"}
    asked = {"q": QUERY, "id": best["video_id"], "changes": [window], "who": "<b>Ada</b>"}
    try:
        made = client.post("/api/annotations", json=asked).json()
        assert made["annotation"]["relevant_windows"] == [[0.5, 1.25]] and made["store"] == "store"
        assert made["undo"] == [{"start_seconds": 0.5, "end_seconds": 1.25, "verdict": "none"}]
        found = client.get("/api/annotations", params={"q": QUERY, "id": best["video_id"]}).json()
        assert found["annotations"] == [made["annotation"]] and found["num_rows"] == 1
        assert found["file"] == str(demo / "store" / "annotations" / "moments.jsonl")
        assert client.get("/api/annotations?q=another").json()["annotations"] == []
        undone = client.post("/api/annotations", json={**asked, "changes": made["undo"]}).json()
        assert undone["annotation"] is None
    finally:
        shutil.rmtree(demo / "store" / "annotations", ignore_errors=True)
    assert client.post("/api/annotations", json={**asked, "id": "nothing"}).status_code == 404
    assert client.post("/api/annotations", json={**asked, "changes": []}).status_code == 400
    beyond = {**window, "end_seconds": 1e6}
    assert client.post("/api/annotations", json={**asked, "changes": [beyond]}).status_code == 400
    assert not (demo / "store" / "annotations" / "moments.jsonl").exists()


@pytest.mark.slow
def test_evaluation_and_training_take_the_file(own_store: Path, tmp_path: Path) -> None:
    """The commands of the documentation, from marks alone."""
    from typer.testing import CliRunner

    from vtrcli.cli.app import app

    searcher = vtr.Searcher(own_store, device="cpu")
    for query in (QUERY, "a blue square", "a small green arrow rises", "a yellow star"):
        for hit in searcher.search(query).hits[:4]:
            start, end = hit.moment.start_seconds, hit.moment.end_seconds
            verdict: Verdict = "right" if hit.rank < 4 else "wrong"
            mark(own_store, start, end, verdict, query=query, video_id=hit.video_id, duration_seconds=None)
    marks = str(moments_file(own_store))

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(app, [*arguments, "--store", str(own_store), "--device", "cpu", "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    evaluated = run("eval", "--moments", "--truth", marks)
    assert evaluated["num_queries"] == 12 and evaluated["results"][0]["R1@0.5"] == 100
    run(
        *("train", "--dataset", "jsonl", "--annotations", marks, "--out", str(tmp_path / "run")),
        *("--recipe", "demo", "--epochs", "1"),
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["dataset"] == "jsonl"
    # Some videos are kept for validation; what was marked as wrong is in neither part.
    assert 0 < config["num_train_texts"] <= 12 and config["num_train_videos"] + config["num_val_videos"] <= 12


HOLDER = """
import sys, time
from pathlib import Path
from vtrcli.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_that_another_process_holds_is_waited_for_and_told(tmp_path: Path) -> None:
    """And one whose holder was killed is free."""
    path = tmp_path / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(StoreError) as caught, locked(path, timeout_seconds=0.05):
        raise AssertionError("two hold it")
    assert str(caught.value) == (
        f"{path} is locked for more than 0.05 s; one writer at a time; each takes milliseconds; "
        "try again; if it stays so, end the process that hangs"
    )
    holder.kill()
    holder.wait(30)
    holder.stdout.close()
    with locked(path, timeout_seconds=5):
        pass
