"""`vtr store`: what it holds by kind, what is out of use, and compacting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cli.runner import plain, run, run_json, run_on_terminal
from tests.store.stores import SHA256, make_config, make_record
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.config import create_config
from vtrcli.store.derived import TableSpec, derived_tables
from vtrcli.store.frames import FrameJpegs
from vtrcli.store.roots import Root, add_roots
from vtrcli.store.texts import TextRows, write_texts
from vtrcli.store.writer import StoreWriter, remove_videos


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three videos that count, two with frames; one superseded and one removed row; captions and derived tables."""
    store = tmp_path / "films.store"
    sampling = {"mode": "uniform", "num_frames": 2, "max_frames": None}
    create_config(store, replace(make_config(), sampling=sampling))
    (tmp_path / "a.mp4").write_bytes(b"there")
    for names in ("abd", "bc"):
        writer = StoreWriter(store, backbone_sha256=SHA256)
        for name in names:
            precision = "bfloat16" if name != "a" else None  # the first releases did not record it
            record = make_record(name, path=str(tmp_path / f"{name}.mp4"), precision=precision)
            jpegs = FrameJpegs((b"1" * 50, b"2" * 50)) if name != "a" else None
            writer.add(record, np.ones((2, 4)), np.arange(2.0), jpegs=jpegs)
        writer.flush()
    rows = TextRows(np.ones((5, 1, 4)), np.ones((5, 1), bool))
    write_texts(store, list("vwxyz"), rows, streams=["fusion"], tagger_id="t", backbone_sha256=SHA256)
    spec = TableSpec(name="sums", tensors={"sums": ("F32", None)}, version=1)
    derived_tables(open_catalog(store), spec, lambda shard: {"sums": np.zeros(len(shard.records))})
    remove_videos(store, ["d"])
    return store


def test_info_tells_what_there_is_by_kind_and_what_is_out_of_use(store: Path) -> None:
    body = run_json("store", "info", "--store", str(store))
    assert (body["num_videos"], body["num_frames"], body["num_shards"], body["has_frames"]) == (3, 6, 3, True)
    assert (body["num_missing"], body["num_superseded"], body["num_removed"]) == (2, 1, 1)
    assert body["num_dead_bytes"] == 2 * (2 * (2 * 4 + 4) + 100)
    assert body["kept_frames"] == {"num_whole": 0, "num_cut": 2, "short_sides": {}}
    assert body["precision"] == {"bfloat16": 2, "not recorded": 1}
    kinds = {name: (kind["num_files"], kind["num_parts"]) for name, kind in body["contents"].items()}
    assert kinds == {"features": (3, 3), "frames": (2, 2), "texts": (1, 5), "derived": (3, 3)}
    files = list(store.rglob("*.safetensors"))
    assert sum(kind["num_files"] for kind in body["contents"].values()) == len(files)
    assert body["num_bytes"] == sum(path.stat().st_size for path in files)


def test_the_older_row_of_a_video_that_was_taken_out_is_superseded(store: Path) -> None:
    remove_videos(store, ["b"])
    body = run_json("store", "info", "--store", str(store))
    assert (body["num_videos"], body["num_superseded"], body["num_removed"]) == (2, 1, 2)


def test_a_store_that_is_named_without_its_option_is_told_how(store: Path) -> None:
    result = run("store", "info", str(store))
    assert result.exit_code == 2 and "; a store is named with --store; see `" in result.output


def test_info_fits_a_terminal_of_eighty_columns(store: Path) -> None:
    code, shown = run_on_terminal("store", "info", "--store", str(store))
    lines = [line.rstrip() for line in plain(shown).splitlines()]
    assert code == 0 and max(map(len, lines)) <= 80
    for words in (
        "missing     2 files not there",
        "kept        frames as the encoder saw them, crop 32 bicubic: 2 videos",
        "precision   bfloat16 (2 videos), not recorded (1 video)",
        "out of use  1 superseded, 1 removed: 248 B (vtr store compact)",
    ):
        assert any(line.startswith(words) for line in lines), shown
    assert any(line.endswith("features of 5 captions") for line in lines), shown


def test_compact_frees_what_is_out_of_use_and_what_was_derived_of_it(store: Path) -> None:
    before = run_json("store", "info", "--store", str(store))
    body = run_json("store", "compact", "--store", str(store), "--quiet")
    after = run_json("store", "info", "--store", str(store))
    assert (body["num_dropped"], body["num_shards_before"], body["num_shards_after"]) == (2, 3, 1)
    # The catalogue has become smaller too.
    assert 0 < body["num_bytes_freed"] <= before["num_bytes"] - after["num_bytes"]
    assert (after["num_superseded"], after["num_removed"], after["num_dead_bytes"]) == (0, 0, 0)
    assert after["num_videos"] == 3 and after["contents"]["frames"]["num_parts"] == 2
    assert not list((store / "index" / "sums").iterdir())
    size = sum(path.stat().st_size for name in ("shards", "frames") for path in (store / name).iterdir())
    again = run("store", "compact", "--store", str(store))
    assert again.stdout == f"nothing to free: 1 shard, {size / 1000:.1f} kB\n"
    run("store", "compact", "--store", str(store), "--drop-frames")
    assert run_json("store", "info", "--store", str(store))["has_frames"] is False
    assert run_json("store", "verify", "--store", str(store))["problems"] == []


def test_a_store_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    result = run("store", "compact", "--store", str(tmp_path / "nowhere"))
    assert result.exit_code == 4 and "no feature store at" in result.stderr


def test_roots_that_share_a_folder_are_one_folder_and_no_piped_line_ends_in_blanks(store: Path) -> None:
    folder = str(store.parent)
    add_roots(store, [Root(name=name, folder=folder, origin=f"/was/{name}") for name in ("a", "b")])
    lines = run("store", "info", "--store", str(store)).stdout.splitlines()
    assert [line.split() for line in lines if line.endswith(folder)] == [["folders", folder]]
    assert lines == [line.rstrip() for line in lines]


def test_a_folder_of_which_the_store_knows_nothing_is_said_by_prune(store: Path) -> None:
    result = run("store", "prune", "--under", str(store / "nowhere"), "--store", str(store))
    assert (result.exit_code, result.stdout) == (0, "0 videos taken out\n")
    assert result.stderr == (
        f"note: the store holds no video of {store / 'nowhere'}; `vtr store info` shows its folders\n"
    )
    assert (
        run("store", "prune", "--under", str(store.parent), "--dry-run", "--store", str(store)).stderr.count(
            "note"
        )
        == 0
    )


def test_an_export_of_captions_does_not_point_at_settings_that_it_does_not_read(
    store: Path, tmp_path: Path
) -> None:
    result = run("store", "export", "--captions", "--store", str(store), "-o", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert result.stderr.endswith("; add --dataset; here vtr.toml does not set it\n"), result.stderr
