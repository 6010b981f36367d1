"""Opens what is searched: a store, by plain CLIP or a run, or Milvus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vtrcli.cli.output import say
from vtrcli.cli.progress import StepBar
from vtrcli.cli.settings import find_settings
from vtrcli.errors import UsageError

if TYPE_CHECKING:
    from vtrcli.milvus.reader import MilvusIndex
    from vtrcli.retrieval.frame_scores import VideoScore
    from vtrcli.searching.milvus_searcher import MilvusSearcher
    from vtrcli.searching.searcher import Searcher


@contextmanager
def open_milvus(
    uri: str,
    run: str | None,
    *,
    token: str | None,
    prefix: str,
    timeout_seconds: float,
    device: str,
    quiet: bool,
) -> Iterator[MilvusSearcher]:
    """The searcher of an address; the connection is closed behind it."""
    from vtrcli.milvus.reader import MilvusIndex

    with MilvusIndex(uri, token=token, prefix=prefix, timeout_seconds=timeout_seconds) as index:
        yield _milvus_searcher(index, run, device=device, quiet=quiet)


def _milvus_searcher(index: MilvusIndex, run: str | None, *, device: str, quiet: bool) -> MilvusSearcher:
    """Searches an index, by the newest run beside vtr.toml where its vectors were pushed and no run was named.

    Vectors of texts are kept in the user's cache folder.
    """
    import platformdirs

    from vtrcli.errors import StoreError, WeightsError
    from vtrcli.searching.milvus_searcher import MilvusSearcher

    cache = platformdirs.user_cache_path("vtr", appauthor=False) / "queries"
    if run is not None:
        named = None if run == "none" else Path(run)
        return MilvusSearcher(index, cache=cache, run=named, device=device)
    newest = newest_run_if_any()
    if newest is not None:
        try:
            return MilvusSearcher(index, cache=cache, run=newest, device=device)
        except (StoreError, WeightsError) as error:
            say(f"vtr: {error.came_in}: plain CLIP ranks", quiet=quiet)
    return MilvusSearcher(index, cache=cache, device=device)


def open_searcher(
    store: Path, run: str | None, *, score: VideoScore | None = None, device: str, quiet: bool
) -> Searcher:
    """The searcher; with the newest run beside vtr.toml where neither a run nor a score was named and it can be used.

    Raises:
        UsageError: a run and a score: a run has its own.
    """
    from vtrcli.searching.options import POOLING
    from vtrcli.searching.searcher import Searcher

    named = None if run in (None, "none") else Path(str(run))
    if named is not None and score is not None:
        raise UsageError(
            f"--score {score} with --run {run}", allowed="a run scores whole videos", to_do="leave one out"
        )
    if run is None and score is None:
        named = newest_usable_run(store, device=device, quiet=quiet)
    with StepBar(unit="shards", quiet=quiet, transient=True) as bar:
        return Searcher(store, run=named, pooling=score or POOLING, device=device, on_progress=bar.update)


def newest_usable_run(store: Path, *, device: str, quiet: bool) -> Path | None:
    """The newest run beside vtr.toml, unless it has no weights yet or is of another backbone; that is told."""
    from vtrcli.errors import StoreError, WeightsError
    from vtrcli.searching.run_model import RunModel
    from vtrcli.store.config import read_config

    newest = newest_run_if_any()
    if newest is None:
        return None
    backbone = read_config(store).backbone
    try:
        RunModel(newest, source=store, backbone=backbone, device=device)
    except (StoreError, WeightsError) as error:
        say(f"vtr: {error.came_in}: plain CLIP ranks", quiet=quiet)
        return None
    return newest


def newest_run_if_any() -> Path | None:
    """The newest run beside vtr.toml; None without vtr.toml or without a run."""
    from vtrcli.cli.train import newest_run

    if find_settings(Path.cwd()) is None:
        return None
    try:
        return newest_run(Path.cwd())
    except UsageError:
        return None
