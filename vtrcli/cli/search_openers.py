"""Opens what is searched: a store, by plain CLIP or a run, or Milvus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vtrcli.cli.output import StepBar, say
from vtrcli.cli.settings import newest_run_of
from vtrcli.errors import UsageError

if TYPE_CHECKING:
    from vtrcli.milvus.reader import MilvusIndex
    from vtrcli.milvus.searcher import MilvusSearcher
    from vtrcli.searching.query import VideoScore
    from vtrcli.searching.searcher import Searcher
    from vtrcli.searching.stores import StoresSearcher


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

    from vtrcli.errors import StoreError
    from vtrcli.milvus.searcher import MilvusSearcher

    cache = platformdirs.user_cache_path("vtr", appauthor=False) / "queries"
    if run is not None:
        named = None if run == "none" else Path(run)
        return MilvusSearcher(index, cache=cache, run=named, device=device)
    newest = newest_run_of(Path(index.name), index.backbone, quiet=quiet)
    if newest is not None:
        try:
            return MilvusSearcher(index, cache=cache, run=newest, device=device)
        except StoreError as error:  # its vectors were not pushed
            say(f"note: {error.came_in}: plain CLIP ranks", quiet=quiet)
    return MilvusSearcher(index, cache=cache, device=device)


def open_stores(
    stores: Sequence[Path], run: str | None, *, score: VideoScore | None = None, device: str, quiet: bool
) -> Searcher | StoresSearcher:
    """The searcher of one store or of several; see `open_searcher`. Raises StoreError for several backbones."""
    from vtrcli.searching.query import POOLING
    from vtrcli.searching.stores import StoresSearcher

    if len(stores) == 1:
        return open_searcher(stores[0], run, score=score, device=device, quiet=quiet)
    named = chosen_run(stores[0], run, score=score, quiet=quiet)
    with StepBar(unit="shards", quiet=quiet, transient=True) as bar:
        return StoresSearcher(
            stores, run=named, pooling=score or POOLING, device=device, on_progress=bar.update
        )


def open_searcher(
    store: Path, run: str | None, *, score: VideoScore | None = None, device: str, quiet: bool
) -> Searcher:
    """The searcher; with the newest run that fits the store where neither a run nor a score was named.

    Raises:
        UsageError: a run and a score: a run has its own.
    """
    from vtrcli.searching.query import POOLING
    from vtrcli.searching.searcher import Searcher

    named = chosen_run(store, run, score=score, quiet=quiet)
    with StepBar(unit="shards", quiet=quiet, transient=True) as bar:
        return Searcher(store, run=named, pooling=score or POOLING, device=device, on_progress=bar.update)


def chosen_run(store: Path, run: str | None, *, score: VideoScore | None, quiet: bool) -> Path | None:
    """The run that is to rank; None for plain CLIP. Raises UsageError for a run and a score."""
    from vtrcli.store.config import read_config

    if run is not None and run != "none":
        if score is None:
            return Path(run)
        raise UsageError(
            f"--score {score} with --run {run}", allowed="a run scores whole videos", to_do="leave one out"
        )
    if run == "none" or score is not None:
        return None
    return newest_run_of(store, read_config(store).backbone, quiet=quiet)
