"""Which stored video belongs to which video of a data set, and what is missing. Joins names; reads nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace

from vtrcli.datasets.files import first_few
from vtrcli.datasets.split import Caption, Split
from vtrcli.errors import InputError
from vtrcli.store.roots import normal
from vtrcli.video.files import VIDEO_SUFFIXES

# What extraction takes off an id, and the other endings in DiDeMo's names (172 end in a bare dot). Nothing else:
# LSMDC ids end in `.644` and a user's in `.one`.
_EXTENSIONS = VIDEO_SUFFIXES | {".", ".3gpp", ".null"}


@dataclass(frozen=True)
class JoinedSplit:
    """A split seen through a store: ids are store ids, in the order of the split.

    `missing_videos` are ids of the data set; their captions are left out and counted.
    """

    video_ids: tuple[str, ...]
    captions: tuple[Caption, ...]
    missing_videos: tuple[str, ...]
    num_missing_captions: int
    categories: Mapping[str, str] = field(default_factory=dict)


def join_with_store(
    split: Split, store_ids: Iterable[str], *, paths: Mapping[str, str] | None = None
) -> JoinedSplit:
    """Find each video of the split among the ids of a store, in time linear in both.

    Tried in this order: the same id; the same path where one of the two begins in a higher folder
    (`TrainValVideo/video7010` is `video7010`); the path of the file, or an end of it, where it is now; without the file
    extension; with or without the `v_` of ActivityNet; the file's path without its extension. Both Unicode forms of a
    name are one name.

    Args:
        paths: store id -> path of its file, which a rename has parted from the id.

    Raises:
        InputError: a name fits two stored videos, or two names fit one.
    """
    names = _StoreNames(store_ids, paths or {}, split.video_ids)
    store_id_of: dict[str, str] = {}
    owner: dict[str, str] = {}
    for video_id in split.video_ids:
        store_id = names.find(video_id)
        if store_id is None:
            continue
        if owner.setdefault(store_id, video_id) != video_id:
            raise InputError(
                f"the videos {owner[store_id]!r} and {video_id!r} of the data set both fit the stored {store_id!r}",
                allowed="one stored video per video of the data set",
                to_do="extract the missing one, or write store ids into the annotations",
            )
        store_id_of[video_id] = store_id
    captions = tuple(
        replace(caption, video_id=store_id_of[caption.video_id])
        for caption in split.captions
        if caption.video_id in store_id_of
    )
    return JoinedSplit(
        video_ids=tuple(store_id_of.values()),
        captions=captions,
        missing_videos=tuple(video_id for video_id in split.video_ids if video_id not in store_id_of),
        num_missing_captions=len(split.captions) - len(captions),
        categories={store_id_of[key]: value for key, value in split.categories.items() if key in store_id_of},
    )


def ids_in_store(names: Iterable[str], store_ids: Iterable[str], paths: Mapping[str, str]) -> dict[str, str]:
    """Name -> the stored video that `join_with_store` finds for it; several names may fit the same. Raises
    InputError where a name fits two."""
    wanted = list(dict.fromkeys(names))
    known = _StoreNames(store_ids, paths, wanted)
    return {name: found for name in wanted if (found := known.find(name)) is not None}


def require_complete(joined: JoinedSplit, *, allow_missing: bool) -> None:
    """Go on only when every video is in the store, or some are and `allow_missing` is set.

    Raises:
        InputError: videos are missing; all of them are more than `allow_missing` allows.
    """
    missing = joined.missing_videos
    if not missing or (allow_missing and joined.video_ids):
        return
    num_videos = len(missing) + len(joined.video_ids)
    what = (
        f"{len(missing)} of {num_videos} videos ({joined.num_missing_captions} captions) are not in the store"
    )
    if not joined.video_ids:
        raise InputError(
            f"{what}: {first_few(missing)}",
            allowed="store ids are file names below the extracted folder, with or without folders and extension",
            to_do="check --store and --dataset, or extract the videos with `vtr extract`",
        )
    raise InputError(
        f"{what}: {first_few(missing)}",
        allowed="a number is comparable only when every video of the split takes part",
        to_do="extract them with `vtr extract` (`vtr store failures` says which failed), or pass --allow-missing",
    )


class _StoreNames:
    """Finds stored videos by id and by path, with and without the extension.

    Only what can be asked for is indexed: a store may hold a million videos, and a test split a thousand.

    Args:
        wanted: the names that will be asked for.
    """

    def __init__(self, store_ids: Iterable[str], paths: Mapping[str, str], wanted: Iterable[str]) -> None:
        self._ids = store_ids if isinstance(store_ids, Mapping) else dict.fromkeys(store_ids)
        self._exact, self._bare, self._paths, self._bare_paths = (_Index() for _ in range(4))
        keys = {key for video_id in wanted if video_id not in self._ids for key in _asked(video_id)}
        if not keys:
            return
        for store_id in self._ids:
            name = normal(store_id)
            self._exact.add(name, store_id, keys)
            self._bare.add(_without_extension(name), store_id, keys)
        for store_id, path in paths.items():
            if path:
                name = normal(path).replace(os.sep, "/")
                self._paths.add(name, store_id, keys)
                self._bare_paths.add(_without_extension(name), store_id, keys)

    def find(self, video_id: str) -> str | None:
        """The store id, or None. Raises InputError when several fit equally well."""
        if video_id in self._ids:
            return video_id
        name = normal(video_id)
        bare = _without_extension(name)
        by_path = self._by_path(name)
        matches = (
            self._exact.find(name)
            or (by_path if len(by_path) == 1 else [])
            or self._exact.find(bare)
            or self._bare.find(bare)
            or self._bare.find(_other_prefix(bare))
            or by_path
            or self._bare_paths.find(bare)
        )
        if len(matches) > 1:
            raise InputError(
                f"the video {video_id!r} fits the stored videos {matches[0]!r} and {matches[1]!r}",
                allowed="one stored video per video of the data set",
                to_do="extract into a store of its own, or write store ids into the annotations",
            )
        return matches[0] if matches else None

    def _by_path(self, name: str) -> list[str]:
        """Store ids by a path as search prints it."""
        return next(filter(None, map(self._paths.find, _path_forms(name))), [])


def _asked(video_id: str) -> Iterator[str]:
    """All that `_StoreNames.find` looks up for a name, and the ends of it."""
    name = normal(video_id)
    bare = _without_extension(name)
    for form in (name, bare, _other_prefix(bare), *_path_forms(name)):
        yield form
        yield from _lower_tails(form)


def _path_forms(name: str) -> Iterator[str]:
    """A path absolute, below the home folder, or below the working folder."""
    for form in (name, os.path.expanduser(name), os.path.abspath(name)):
        yield form.replace(os.sep, "/")


class _Index:
    """Store ids by path and by every tail of it: a/b/c is found as a/b/c, b/c and c."""

    def __init__(self) -> None:
        self._by_path: dict[str, list[str]] = {}
        self._by_tail: dict[str, list[str]] = {}

    def add(self, path: str, store_id: str, keys: Set[str]) -> None:
        """Index a path by those of its forms that are among `keys`."""
        if path in keys:
            self._by_path.setdefault(path, []).append(store_id)
        for tail in _lower_tails(path):
            if tail in keys:
                self._by_tail.setdefault(tail, []).append(store_id)

    def find(self, name: str) -> list[str]:
        """Store ids of this path, else those below other folders, else those that lack `name`'s upper folders."""
        matches = self._by_path.get(name) or self._by_tail.get(name)
        if matches:
            return matches
        return next((self._by_path[tail] for tail in _lower_tails(name) if tail in self._by_path), [])


def _lower_tails(path: str) -> Iterator[str]:
    """b/c and c of a/b/c."""
    start = path.find("/")
    while start >= 0:
        yield path[start + 1 :]
        start = path.find("/", start + 1)


def _without_extension(path: str) -> str:
    dot = path.rfind(".")
    return path[:dot] if dot > 0 and path[dot:].lower() in _EXTENSIONS else path


def _other_prefix(path: str) -> str:
    """ActivityNet's files are called with and without the `v_` of its ids."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name[2:] if name.startswith("v_") else f"v_{name}")
