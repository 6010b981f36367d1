"""Features of captions go out and come in; with them a run is trained and evaluated where no text tower is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vtrcli as vtr
from tests.cli.runner import run, run_json
from vtrcli.datasets.split import Caption
from vtrcli.errors import InputError, UsageError, WeightsError
from vtrcli.extraction.imports import import_features
from vtrcli.store.exports import export_features
from vtrcli.store.reader import FeatureStore
from vtrcli.text.cache import open_text_cache
from vtrcli.text.exchange import export_captions, import_captions, load_splits

DIM = 8


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Twelve videos of a tower that is not here."""
    rng = np.random.default_rng(0)
    (tmp_path / "feats").mkdir()
    for number in range(12):
        np.save(tmp_path / f"feats/v{number}.npy", rng.normal(size=(3, DIM)).astype(np.float32))
    import_features(tmp_path / "feats", tmp_path / "store", fps=1, backbone="my-tower")
    return tmp_path / "store"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two captions each; train and test stand in turns."""
    rows = [f"v{n},caption {c} of {n},{('train', 'test')[n % 2]}" for n in range(12) for c in range(2)]
    (tmp_path / "captions.csv").write_text("\n".join(["video_id,caption,split", *rows]))
    return tmp_path / "captions.csv"


def _all(table: Path) -> list[Caption]:
    return [caption for split in load_splits("csv", table) for caption in split.captions]


def vectors(num: int = 24) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(num, DIM)).astype(np.float32)


def cached(store: Path, texts: list[str]) -> np.ndarray:
    rows = open_text_cache(FeatureStore(store), tagger_id="none").rows(texts)
    assert rows.mask.tolist() == [[True, False, False]] * len(texts)
    assert np.array_equal(rows.features[:, 1], rows.features[:, 0])
    return rows.features[:, 0]


def test_a_matrix_whose_rows_a_table_names_by_their_texts(store: Path, table: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", vectors())
    how = {"store": store, "dataset": "csv", "annotations": table, "table": table}
    done = import_captions(tmp_path / "m.npy", **how)  # type: ignore[arg-type]
    assert (done.num_captions, done.num_found, done.num_imported) == (24, 24, 24)
    texts = [f"caption {c} of {n}" for n in range(12) for c in range(2)]
    assert np.array_equal(cached(store, texts), vectors().astype(np.float16))
    assert import_captions(tmp_path / "m.npy", **how).num_imported == 0  # type: ignore[arg-type]
    np.save(tmp_path / "m.npy", -vectors())
    assert import_captions(tmp_path / "m.npy", **how).num_imported == 24  # type: ignore[arg-type]
    assert np.array_equal(cached(store, texts), -vectors().astype(np.float16))


def test_a_matrix_alone_is_of_one_split_in_its_order(store: Path, table: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", vectors(12))
    how = {"store": store, "dataset": "csv", "annotations": table}
    with pytest.raises(UsageError, match="for all splits of csv, in an order that nobody knows"):
        import_captions(tmp_path / "m.npy", **how)  # type: ignore[arg-type]
    import_captions(tmp_path / "m.npy", splits=["test"], **how)  # type: ignore[arg-type]
    texts = [caption.text for caption in load_splits("csv", table, ["test"])[0].captions]
    assert texts[0] == "caption 0 of 1"
    assert np.array_equal(cached(store, texts), vectors(12).astype(np.float16))
    np.save(tmp_path / "m.npy", vectors(11))
    with pytest.raises(InputError) as caught:
        import_captions(tmp_path / "m.npy", splits=["test"], **how)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"{tmp_path / 'm.npy'} has the shape [11, 8] for 12 captions; a row per caption, in the data set's order, or "
        "named by a table; choose the --split that it is of, or name its rows with --table"
    )


def test_a_file_per_caption_by_its_id_as_moment_detr_has_them(
    store: Path, table: Path, tmp_path: Path
) -> None:
    (tmp_path / "text").mkdir()
    for caption, vector in zip(_all(table), vectors(), strict=True):
        tokens = np.ones((5, DIM), np.float16)
        np.savez(
            tmp_path / f"text/qid{caption.caption_id}.npz", pooler_output=vector, last_hidden_state=tokens
        )
    np.savez(tmp_path / "text/qidv1#0.npz", last_hidden_state=np.ones((5, DIM)), x=np.ones(3))
    np.savez(tmp_path / "text/qidv1#1.npz", pooler_output=np.ones(DIM + 1))
    np.savez(tmp_path / "text/qidv3#0.npz", pooler_output=np.full(DIM, np.nan))
    (tmp_path / "text/qidv3#1.npz").unlink()
    at = ("--store", str(store), "--captions", "--dataset", "csv", "--annotations", str(table))
    result = run("store", "import", str(tmp_path / "text"), *at)
    assert result.exit_code == 5 and "20 captions found, 20 texts new, 3 failed" in result.stdout
    assert "qidv1#1.npz: it is float64 of shape [9], not 8 numbers" in result.stderr
    assert "note: 1 caption of csv not in" in result.stderr
    assert run_json("store", "import", str(tmp_path / "text"), *at, exit_code=5)["num_imported"] == 0
    for path in (tmp_path / "text").iterdir():
        np.savez(path, pooler_output=np.zeros(DIM))
    assert "not one feature of" in run("store", "import", str(tmp_path / "text"), *at).stderr


@pytest.mark.slow
def test_a_run_is_trained_and_evaluated_without_a_tower(store: Path, table: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", vectors())
    import_captions(tmp_path / "m.npy", store=store, dataset="csv", annotations=table, table=table)
    how = {"dataset": "csv", "annotations": table}
    with pytest.raises(WeightsError) as caught:
        vtr.evaluate(store=store, **how)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"captions cannot be split into nouns and verbs: store {store} holds imported features of 'my-tower', which "
        "vtr has no weights of; the imported features of whole captions, which are all there; add --tagger none"
    )
    vtr.train(store, out=tmp_path / "run", tagger="none", steps=2, device="cpu", **how)  # type: ignore[arg-type]
    result = vtr.evaluate(store=store, run=tmp_path / "run", tagger="none", dsl=True, device="cpu", **how)  # type: ignore[arg-type]
    assert {(row["direction"], row["method"]) for row in result.table()} == {
        (direction, method) for direction in ("t2v", "v2t") for method in ("none", "dsl")
    }
    hits = vtr.search(vtr.Query(like=("v3",)), store, run=tmp_path / "run").hits
    assert len(hits) == 10 and hits[0].path == ""
    with pytest.raises(WeightsError, match="ask with --like VIDEO"):
        vtr.search("a man cooking", store, run=tmp_path / "run")


@pytest.mark.parametrize("layout", ["npz", "npy"])
def test_what_is_exported_comes_back_bit_for_bit(demo: Path, layout: str, tmp_path: Path) -> None:
    """And says of a data set what the store says that it is from."""
    how = {"dataset": "csv", "annotations": demo}
    vtr.evaluate(store=demo / "store", **how)  # type: ignore[arg-type]
    export_features(demo / "store", tmp_path / "videos", layout="npz")
    import_features(tmp_path / "videos", tmp_path / "store")
    done = export_captions(
        demo / "store", tmp_path / "text", layout=layout, dtype="float32", splits=["test"], **how
    )  # type: ignore[arg-type]
    assert done.num_missing == 0
    back = import_captions(tmp_path / "text", store=tmp_path / "store", splits=["test"], **how)  # type: ignore[arg-type]
    assert back.num_found == done.num_captions and back.problems == {}
    ours = vtr.evaluate(store=tmp_path / "store", tagger="none", **how)  # type: ignore[arg-type]
    assert ours.table() == vtr.evaluate(store=demo / "store", **how).table()  # type: ignore[arg-type]


def test_what_is_not_there_is_not_exported(store: Path, table: Path, tmp_path: Path) -> None:
    how = {"layout": "npz", "dataset": "csv", "annotations": table}
    with pytest.raises(InputError, match="has features of not one of 24 captions"):
        export_captions(store, tmp_path / "out", **how)  # type: ignore[arg-type]
    np.save(tmp_path / "m.npy", vectors(12))
    import_captions(tmp_path / "m.npy", store=store, dataset="csv", annotations=table, splits=["test"])
    done = export_captions(store, tmp_path / "out", **how)  # type: ignore[arg-type]
    assert (done.num_captions, done.num_missing) == (12, 12)
    # As lighthouse's StartEndDataset opens a query.
    assert np.load(tmp_path / "out/qidv1#0.npz")["pooler_output"].astype(np.float32).shape == (DIM,)


def test_the_command_says_what_belongs_together(store: Path, table: Path, tmp_path: Path) -> None:
    for arguments, words in (
        (("import", "x", "--captions"), "--captions without --dataset"),
        (("import", "x", "--dataset", "csv"), "--dataset csv without --captions"),
        (("export", "-o", "x", "--captions", "--fps", "1"), "--captions with --as parquet, --path or --fps"),
        (("export", "-o", "x", "--captions"), "--dataset is not set"),
        (("export", "-o", "x", "--moments"), "--moments without --captions"),
        (("import", "x", "--captions", "--fps", "1"), "--captions with --backbone, --fps or --durations"),
    ):
        result = run("store", *arguments, "--store", str(store))
        assert result.exit_code == 2 and words in result.stderr, result.stderr


def test_an_archive_of_moment_detrs_finds_moments_without_a_tower(tmp_path: Path) -> None:
    """Videos of 24 s at a frame every 2 s, and queries as what is seen from 8 s to 16 s; all by QVHighlights' ids."""
    rng = np.random.default_rng(3)
    (tmp_path / "clip_features").mkdir()
    (tmp_path / "clip_text_features").mkdir()
    lines = []
    for number in range(4):
        vid, frames = f"Ror-{number}_60.0_84.0", rng.normal(size=(12, 64)).astype(np.float32)
        seen = rng.normal(size=64).astype(np.float32)
        frames[4:8] += 2 * seen
        np.savez(tmp_path / f"clip_features/{vid}.npz", features=frames)
        np.savez(tmp_path / f"clip_text_features/qid{7800 + number}.npz", pooler_output=seen)
        row = {"qid": 7800 + number, "query": "It is seen.", "duration": 24, "vid": vid}
        lines.append(json.dumps({**row, "query": f"It is seen, {number}.", "relevant_windows": [[8, 16]]}))
    (tmp_path / "highlight_val_release.jsonl").write_text("\n".join(lines))
    store = ("--store", str(tmp_path / "store"))
    about = ("--dataset", "qvhighlights", "--annotations", str(tmp_path))
    made = ("--fps", "0.5", "--backbone", "ViT-B/32+SlowFast")
    assert run("store", "import", str(tmp_path / "clip_features"), *made, *store).exit_code == 0
    body = run_json("store", "import", str(tmp_path / "clip_text_features"), "--captions", *about, *store)
    assert (body["num_captions"], body["num_found"], body["max_tokens"]) == (4, 4, None)
    found = vtr.evaluate_moments(
        store=tmp_path / "store", dataset="qvhighlights", annotations=tmp_path, tagger="none"
    )
    assert found.table()[0]["R1@0.5"] == 100
    out = ("store", "export", "-o", str(tmp_path / "out"), "--captions", *about, *store)
    assert run(*out).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.npz"))[0] == "qid7800.npz"
    names = ("store", "export", "-o", str(tmp_path / "videos"), *about, *store)
    assert run(*names).exit_code == 0 and (tmp_path / "videos/Ror-3_60.0_84.0.npz").is_file()
