"""mteb's own evaluation of a store and a run: its tasks, its metrics, our numbers."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vtrcli as vtr
from tests.cli.runner import run, run_json

NO_INTEROP = 'pip install "vtrcli[interop]": nothing is asked of mteb'
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _their_warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Warnings of other packages are not ours; nothing is looked for in a network."""
    pytest.importorskip("mteb", reason=NO_INTEROP)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def rows_of(demo: Path, *, form: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Texts and videos of the demo's test split, with ids of mteb's kind."""
    with open(demo / "captions.csv", newline="") as file:
        captions = [row for row in csv.DictReader(file) if row["split"] == "test"]
    names = list(dict.fromkeys(row["video_id"] for row in captions))
    texts = [
        {"id": f"t{n}", "text": row["caption"], "video": row["video_id"]} for n, row in enumerate(captions)
    ]
    videos = []
    for number, name in enumerate(names):
        path = next((demo / "videos").glob(f"{Path(name).name}*"))
        content = path.read_bytes() if form == "bytes" else None
        videos.append(
            {
                "id": str(number),
                "video": {"path": f"clip-{number}.mp4" if content else str(path), "bytes": content},
            }
        )
    place = {name: str(number) for number, name in enumerate(names)}
    return [{**row, "video": place[row["video"]]} for row in texts], videos


def task(demo: Path, *, direction: str, form: str = "bytes") -> Any:
    """A task of mteb's own class with the demo's test clips."""
    import datasets
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    texts, videos = rows_of(demo, form=form)
    of_texts = datasets.Dataset.from_list([{"id": row["id"], "text": row["text"]} for row in texts])
    of_videos = datasets.Dataset.from_list(videos)
    if form == "bytes":
        of_videos = of_videos.cast_column("video", datasets.Video(decode=False))
    pairs = [(row["id"], row["video"]) for row in texts]
    relevant: dict[str, dict[str, int]] = {}
    for text, video in pairs if direction == "t2v" else [pair[::-1] for pair in pairs]:
        relevant.setdefault(text, {})[video] = 1
    queries, corpus = (of_texts, of_videos) if direction == "t2v" else (of_videos, of_texts)

    class DemoRetrieval(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=f"Demo{direction.upper()}", description="drawn clips", reference=None, type="Any2AnyRetrieval",
            dataset={"path": "none", "revision": "1"}, eval_langs=["eng-Latn"], eval_splits=["test"],
            main_score="ndcg_at_10", category=direction, modalities=["text", "video"],
        )  # fmt: skip

        def load_data(self, **_: Any) -> None:
            split = {"queries": queries, "corpus": corpus, "relevant_docs": relevant, "top_ranked": None}
            self.dataset, self.data_loaded = {"default": {"test": split}}, True

    return DemoRetrieval()


def ask(model: Any, asked: Any) -> dict[str, float]:
    """By the task's own way, which `mteb.evaluate` goes too."""
    return dict(asked.evaluate(model, "test", encode_kwargs={})["default"])


def test_mteb_evaluate_takes_it_as_a_model(demo: Path) -> None:
    import mteb

    from vtrcli.evaluation.mteb_model import StoreModel

    try:
        import sentence_transformers  # noqa: F401
    except (ImportError, RuntimeError) as cause:
        pytest.skip(
            f"mteb.evaluate needs sentence-transformers, which cannot be imported here: {str(cause)[:60]}"
        )
    model, asked = StoreModel(demo / "store", device="cpu"), task(demo, direction="t2v")
    (result,) = mteb.evaluate(model, asked, cache=None, show_progress_bar=False).task_results
    (scores,) = result.scores["test"]
    assert scores["main_score"] == ask(model, asked)["main_score"]


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("with_run", [False, True])
def test_mteb_gets_the_numbers_of_vtr_eval(demo: Path, direction: str, with_run: bool) -> None:
    from vtrcli.evaluation.mteb_model import StoreModel

    ranks = next((demo / "runs").iterdir()) if with_run else None
    scores = ask(StoreModel(demo / "store", run=ranks, device="cpu"), task(demo, direction=direction))
    names = {"nDCG@10": "ndcg_at_10", "AP@5": "map_at_5", "RR@10": "mrr_at_10", "Success@1": "hit_rate_at_1"}
    ours = vtr.evaluate(
        store=demo / "store", run=ranks, dataset="csv", annotations=demo, device="cpu", v2t_over="captions",
        metrics=list(names), num_bootstrap=0,
    )  # fmt: skip
    metrics = ours.evaluations[0].t2v if direction == "t2v" else ours.evaluations[0].v2t
    assert metrics is not None
    if metrics.num_ties == 0:
        expected = {other: metrics.more[name] for name, other in names.items()}
        assert {name: scores[name] for name in expected} == pytest.approx(
            expected, abs=6e-6
        )  # theirs: five places
    assert 0 < scores["main_score"] <= 1


def test_a_video_is_found_by_its_name_where_the_task_has_no_bytes(demo: Path) -> None:
    from vtrcli.evaluation.mteb_model import StoreModel

    model = StoreModel(demo / "store", device="cpu")
    by_name, by_content = (ask(model, task(demo, direction="t2v", form=form)) for form in ("paths", "bytes"))
    assert by_name["ndcg_at_10"] == by_content["ndcg_at_10"]


def test_videos_that_the_store_lacks_are_named_and_can_be_written(demo: Path, tmp_path: Path) -> None:
    import datasets

    from vtrcli.evaluation.mteb_model import StoreModel, save_videos

    asked = task(demo, direction="t2v")
    asked.load_data()
    corpus = asked.dataset["default"]["test"]["corpus"]
    strange = datasets.Dataset.from_list(
        [{"id": "x", "video": {"path": "../other.mp4", "bytes": b"no video"}}]
    )
    with pytest.raises(vtr.VtrError) as caught:
        StoreModel(demo / "store", device="cpu").index(strange)
    assert str(caught.value) == (
        "1 of 1 videos of the task are not in the store: other.mp4; every video of a task takes part, else its numbers "
        "are no numbers of the task; write them with save_videos(task, FOLDER), and run `vtr extract FOLDER`"
    )
    assert [path.relative_to(tmp_path) for path in save_videos(strange, tmp_path / "a")] == [
        Path("a/0-other.mp4")
    ]
    written = save_videos(corpus, tmp_path / "b")
    assert len(written) == len(corpus)
    vtr.extract(tmp_path / "b", tmp_path / "store", backbone="demo", frames=4, device="cpu")
    assert ask(StoreModel(tmp_path / "store", device="cpu"), asked)["main_score"] > 0


def test_another_run_is_another_model_for_mteb(demo: Path) -> None:
    from vtrcli.evaluation.mteb_model import StoreModel

    ranks = next((demo / "runs").iterdir())
    one, other = (
        StoreModel(demo / "store", run=which, device="cpu").mteb_model_meta for which in (None, ranks)
    )
    assert (one.name, other.name) == ("vtr/demo-mean-of-frames", "vtr/demo-camoe")
    assert one.revision != other.revision


def test_the_protocol_of_mteb_is_named(demo: Path) -> None:
    store = ("--store", str(demo / "store"), "--dataset", "csv", "--annotations", str(demo), "--run", "none")
    how = (*store, "--protocol", "mteb", "--bootstrap", "0", "--device", "cpu")
    result = run("eval", *how)
    assert "nDCG@10" in result.stdout
    assert "note: mteb: no task of this data set is known here" in result.stderr
    notes = run_json("eval", *how)["notes"]
    assert any(note.startswith("mteb: its main score is nDCG@10") for note in notes)
