"""The stores of one server, opened once and kept warm. Knows nothing of HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vtrcli.errors import NotFoundError, UsageError, VideoError, VtrError
from vtrcli.searching.encoding import Towers
from vtrcli.searching.presence import Presence
from vtrcli.searching.searcher import Searcher
from vtrcli.store.catalog import Catalog
from vtrcli.store.config import CONFIG_NAME, is_store
from vtrcli.store.state import store_state

ChooseRun = Callable[[Path], Path | None]


@dataclass(frozen=True)
class OpenedStore:
    """One store as it was when it was opened, or last looked at; it can be asked on when the store changes.

    `state` is that of its files then, `vtrcli.store.state.store_state`.
    """

    name: str
    path: Path
    searcher: Searcher
    state: str

    @property
    def catalog(self) -> Catalog:
        """Its videos."""
        return self.searcher.catalog

    def video(self, video_id: str) -> int:
        """The number of a video. Raises NotFoundError for an id that the store does not have."""
        number = self.catalog.number_of.get(video_id)
        if number is None:
            raise NotFoundError(
                f"no video {video_id[:200]!r} in store {self.name}",
                allowed="the video_id of a result, or of /api/videos",
                to_do="ask for another, or search again: the store may have changed",
            )
        return number

    def file(self, video_id: str) -> Path:
        """The file of a video, which is there and still the one that was extracted.

        Raises:
            NotFoundError: no such video.
            VideoError: its file is gone, replaced, or was never known.
        """
        video = self.video(video_id)
        path = self.catalog.paths[video]
        state = Presence(self.catalog, show_missing=True).state(video)
        if state == "replaced":
            raise VideoError("changed", "it is not the file that was extracted", path=path)
        if state != "there":
            raise VideoError("not-found", "its file is gone" if path else "no file is known", path=video_id)
        return Path(path)


class Library:
    """Stores by name.

    Args:
        stores: folders of stores, or folders that hold some.
        choose_run: the run that ranks in a store, None for plain CLIP; may raise.
    """

    def __init__(
        self,
        stores: Sequence[Path],
        *,
        choose_run: ChooseRun = lambda store: None,
        device: str = "auto",
    ) -> None:
        self.device, self._choose_run = device, choose_run
        self._towers = Towers()  # of all stores, also when one is opened again
        self.paths = dict(zip(unique_names(found := store_folders(stores)), found, strict=True))
        self._opened: dict[str, OpenedStore | VtrError] = {name: self._open(name) for name in self.paths}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the stores, in their order; also of those that cannot be opened."""
        return tuple(self.paths)

    def store(self, name: str | None = None) -> OpenedStore:
        """A store as it is now; the first for None.

        Raises:
            NotFoundError: no store of that name.
            StoreError, WeightsError: it cannot be opened.
        """
        name = self.names[0] if name is None else name
        if name not in self.paths:
            raise NotFoundError(
                f"no store {name[:200]!r} here", allowed=", ".join(self.names), to_do="name one of these"
            )
        opened = self._opened[name]
        if isinstance(opened, VtrError):
            raise type(opened)(opened.came_in, allowed=opened.allowed, to_do=opened.to_do)
        return opened

    def warm(self) -> None:
        """Load the text towers, which takes seconds, before the first query asks for them.

        Where one cannot be loaded, the query that needs it will tell.
        """
        for opened in list(self._opened.values()):
            if isinstance(opened, OpenedStore):
                with contextlib.suppress(VtrError):
                    opened.searcher.encoder.warm()

    def _open(self, name: str) -> OpenedStore | VtrError:
        path = self.paths[name]
        try:
            state = _state(path)  # before: what comes meanwhile is another one
            searcher = Searcher(path, run=self._choose_run(path), device=self.device, towers=self._towers)
        except VtrError as error:
            return error
        return OpenedStore(name, path, searcher, state)


def _state(path: Path) -> str:
    """Empty where there is no store, which opening it will tell."""
    try:
        return store_state(path)
    except OSError:
        return ""


def store_folders(given: Sequence[Path]) -> list[Path]:
    """The stores that are meant: a folder that is none stands for those in it.

    Raises:
        UsageError: none was named.
    """
    found: list[Path] = []
    for folder in given:
        inside = [] if is_store(folder) else sorted(file.parent for file in folder.glob(f"*/{CONFIG_NAME}"))
        found += inside or [folder]
    if not found:
        raise UsageError("no store was named", allowed="one or more stores", to_do="add --store DIR")
    return list(dict.fromkeys(path.absolute() for path in found))


def unique_names(stores: Sequence[Path]) -> list[str]:
    """A short name for each: its folder's, with the folder's above where two are called alike, or a number."""
    names: list[str] = []
    for path in stores:
        for name in (path.name, f"{path.parent.name}/{path.name}"):
            if name and name not in names:
                break
        else:
            name = f"{path.name or 'store'} {len(names) + 1}"
        names.append(name)
    return names
