"""`vtr milvus`: a store in Milvus, for what outgrows one machine; `vtr search --milvus` searches it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from vtrcli.cli import options
from vtrcli.cli.options import opt
from vtrcli.cli.output import ProgressBar, count, print_json, print_line, say
from vtrcli.cli.runs import chosen_run
from vtrcli.cli.settings import VtrCommand

EPILOG = "Example: [bold]vtr milvus push --store films.store --milvus http://host:19530[/bold]"
app = typer.Typer(no_args_is_help=True)  # its help is in cli/app.py
MAX_SHOWN = 10


@app.callback()
def _group() -> None:
    """Keep `push` a command of its own while it is the only one."""


@app.command(cls=VtrCommand, epilog=EPILOG)
def push(
    milvus: str = options.MILVUS_URI,
    store: Path = options.STORE,
    run: str | None = opt(
        "--run RUN", "For a trained run, or none for plain CLIP.", shown="the newest beside vtr.toml"
    ),
    prefix: str = options.MILVUS_PREFIX,
    token: str | None = options.MILVUS_TOKEN,
    timeout: float = options.MILVUS_TIMEOUT,
    device: str = options.DEVICE,
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Copy a store into Milvus: frames, and with --run its vectors. Again: only what is new, changed or gone."""
    from vtrcli.milvus.push import push as push_store
    from vtrcli.milvus.server import shown
    from vtrcli.store.reader import FeatureStore

    vectors = run_vectors(store, run, device=device, quiet=quiet)
    feature_store = FeatureStore(store)
    with ProgressBar(unit="videos", quiet=quiet, transient=True) as bar:
        result = push_store(
            feature_store,
            uri=milvus,
            token=token,
            prefix=prefix,
            vectors=vectors,
            timeout_seconds=timeout,
            on_progress=bar.update,
        )
    if json_output:
        body = {
            "store": str(store),
            "milvus": shown(milvus),
            "num_added": result.num_added,
            "num_changed": result.num_changed,
            "num_removed": result.num_removed,
            "num_unchanged": result.num_unchanged,
            "num_vectors": dict(result.num_vectors),
            "left_out": [{"video_id": video_id, "reason": reason} for video_id, reason in result.refused],
        }
        print_json("milvus push", body)
        return
    for video_id, reason in result.refused[:MAX_SHOWN]:
        say(f"left out: {video_id}: {reason}", quiet=quiet)
    parts = [
        f"{number:,} {what}"
        for number, what in (
            (result.num_added, "new"),
            (result.num_changed, "changed"),
            (result.num_removed, "removed"),
            (result.num_unchanged, "already there"),
            (len(result.refused), "left out"),
        )
        if number
    ]
    parts += [
        f"vectors of {space} for {count(number, 'video')}"
        for space, number in result.num_vectors.items()
        if number
    ]
    print_line(", ".join(parts) or "the store holds no video")


def run_vectors(store: Path, run: str | None, *, device: str, quiet: bool) -> dict[str, Any] | None:
    """The vectors of a run, by their name in Milvus; None for plain CLIP."""
    from vtrcli.milvus.searcher import space_name
    from vtrcli.searching.searcher import Searcher

    with ProgressBar(unit="shards", quiet=quiet, transient=True) as bar:
        chosen = chosen_run(run, store, quiet=quiet)
        searcher = Searcher(store, run=chosen, device=device, on_progress=bar.update)
        vectors = searcher.run_vectors()
    if searcher.run is None or vectors is None:
        return None
    return {space_name(searcher.run): (searcher.catalog.ids.all(), vectors)}
