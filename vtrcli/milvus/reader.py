"""Searching what `push` put into Milvus: no feature store is needed on the machine that searches.

pymilvus is imported when a server is opened, not with this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from vtrcli.errors import InputError, StoreError
from vtrcli.milvus.collection import FRAMES, PREFIX, Collection, collection_name
from vtrcli.milvus.rows import decode_text, expression, in_list, known_seconds, mask, row_id, video_key
from vtrcli.milvus.server import TIMEOUT_SECONDS, MilvusServer
from vtrcli.searching.filters import Filters
from vtrcli.store.config import BackboneInfo

MAX_LIMIT = 16_384  # of Milvus, for one search
READ_BYTES = 8 * 1024 * 1024
KEYS_PER_READ = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundVideo:
    """A candidate. `score`: inner product with its best frame, or its vector. `changed_at`: seconds since 1970."""

    video_id: str
    path: str
    score: float
    duration_seconds: float | None
    changed_at: float
    num_bytes: int


class VideoFrames(NamedTuple):
    """`vectors` float32 [num_frames, dim] of length 1, `timestamps` float32 [num_frames] seconds, ascending."""

    vectors: np.ndarray
    timestamps: np.ndarray
    duration_seconds: float | None
    path: str


class MilvusIndex:
    """What `push` put into a server or a milvus-lite file under a prefix. Close it, or use it in a `with`.

    Attributes:
        backbone: what made the frames; a query must be encoded with the same weights.

    Raises:
        UsageError: pymilvus is not installed, or a prefix that Milvus cannot take as a name.
        StoreError: a wrong address, no server, a wrong token, nothing pushed there, or collections that are not ours.
            Every method raises it when the connection is lost.
    """

    def __init__(
        self,
        uri: str,
        *,
        token: str | None = None,
        prefix: str = PREFIX,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.prefix = prefix
        self._collections: dict[str, Collection] = {}
        frames = collection_name(prefix, FRAMES)
        self._server = MilvusServer(uri, token=token, must_exist=True, timeout_seconds=timeout_seconds)
        try:
            self._frames = self._opened(frames)
            self.backbone: BackboneInfo = self._frames.label.backbone
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> MilvusIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    @property
    def name(self) -> str:
        """The address, without a password."""
        return self._server.name

    def require_space(self, space: str) -> None:
        """Raises StoreError when no vectors of that name were pushed."""
        self._opened(collection_name(self.prefix, space))

    @cached_property
    def num_videos(self) -> int:
        """How many videos there are."""
        return self._frames.num_rows("frame == 0")

    def search_frames(
        self, query_vector: np.ndarray, *, top_k: int, filters: Filters | None = None
    ) -> list[FoundVideo]:
        """Videos by their best frame, best first; exact where the server's index is (milvus-lite's is).

        Args:
            query_vector: float [dim] of length 1.

        Raises:
            InputError: a query of another width.
        """
        if query_vector.shape != (self.backbone.dim,):
            raise _wrong_width(query_vector, self.backbone.dim)
        return self._search(self._frames, query_vector, top_k, filters or Filters(), grouped=True)

    def search_vectors(
        self, space: str, query_vector: np.ndarray, *, top_k: int, filters: Filters | None = None
    ) -> list[FoundVideo]:
        """Videos by the inner product of their vector in a space with the query, best first.

        Args:
            query_vector: float [width of the space].

        Raises:
            InputError: a query of another width.
            StoreError: no such space.
        """
        collection = self._opened(collection_name(self.prefix, space))
        width = collection.width()
        if query_vector.shape != (width,):
            raise _wrong_width(query_vector, width)
        return self._search(collection, query_vector, top_k, filters or Filters(), grouped=False)

    def frames_of(self, video_ids: Sequence[str]) -> dict[str, VideoFrames]:
        """The frames of some videos, for exact scores and moments; videos that are not there are left out.

        Raises:
            StoreError: a video of which frames are missing, because a push was stopped or is running.
        """
        key_of = {video_id: video_key(video_id) for video_id in video_ids}
        firsts = {
            row["video_key"]: row
            for row in self._frames.rows(
                [row_id(key, 0) for key in key_of.values()],
                ("video_key", "path", "duration_seconds", "num_frames"),
                per_read=KEYS_PER_READ,
            )
        }
        wanted = [row_id(key, frame) for key, row in firsts.items() for frame in range(row["num_frames"])]
        found: dict[str, dict[int, tuple[float, np.ndarray]]] = {key: {} for key in firsts}
        per_read = max(1, min(MAX_LIMIT // 2, READ_BYTES // (4 * self.backbone.dim)))
        for row in self._frames.rows(wanted, ("video_key", "frame", "seconds", "vector"), per_read=per_read):
            found[row["video_key"]][row["frame"]] = (row["seconds"], np.asarray(row["vector"], np.float32))
        return {
            video_id: self._video(video_id, firsts[key], found[key])
            for video_id, key in key_of.items()
            if key in firsts
        }

    def _video(
        self, video_id: str, first: dict[str, Any], frames: dict[int, tuple[float, np.ndarray]]
    ) -> VideoFrames:
        if len(frames) != first["num_frames"]:
            raise StoreError(
                f"{self._frames} holds {len(frames):,} of {first['num_frames']:,} frames of {video_id}",
                allowed="whole videos",
                to_do="wait for the running `vtr milvus push`, or run it again",
            )
        ordered = [frames[number] for number in range(len(frames))]
        return VideoFrames(
            np.stack([vector for _, vector in ordered]),
            np.array([seconds for seconds, _ in ordered], np.float32),
            known_seconds(first["duration_seconds"]),
            decode_text(first["path"]),
        )

    def _search(
        self, collection: Collection, query: np.ndarray, top_k: int, filters: Filters, *, grouped: bool
    ) -> list[FoundVideo]:
        """Ask until enough videos pass, each time without those seen before.

        An answer is the beginning of the ranking among the others, though it may be shorter than asked for: milvus-lite
        groups ten times `limit` frames, an index may find too few. So only an empty answer is the end.
        """
        found: list[FoundVideo] = []
        seen: list[str] = []
        where = expression(filters)
        limit = max(1, min(top_k, MAX_LIMIT))
        while len(found) < top_k:
            without_seen = f"not ({in_list('video_key', seen)})" if seen else ""
            both = " and ".join(f"({clause})" for clause in (where, without_seen) if clause)
            rows = collection.nearest(query, both, limit=limit, is_grouped=grouped)
            if not rows:
                break
            allowed = mask(filters, rows)
            found += [_found(row) for row, passed in zip(rows, allowed.tolist(), strict=True) if passed]
            seen += [row["video_key"] for row in rows]
            limit = min(4 * limit, MAX_LIMIT)
        return found[:top_k]

    def _opened(self, name: str) -> Collection:
        """A collection that is there, is ours and is loaded."""
        if name not in self._collections:
            collection = Collection(self._server, name)
            if not collection.exists():
                raise StoreError(
                    f"no collection {collection}",
                    allowed="collections that `vtr milvus push` made",
                    to_do=f"run `vtr milvus push --milvus {self._server.name}`, or correct --prefix",
                )
            _ = collection.label
            collection.load()
            self._collections[name] = collection
        return self._collections[name]


def _found(row: dict[str, Any]) -> FoundVideo:
    return FoundVideo(
        video_id=decode_text(row["video_id"]),
        path=decode_text(row["path"]),
        score=float(row["score"]),
        duration_seconds=known_seconds(row["duration_seconds"]),
        changed_at=float(row["changed_at"]),
        num_bytes=int(row["num_bytes"]),
    )


def _wrong_width(query: np.ndarray, width: int) -> InputError:
    return InputError(
        f"a query vector of shape {list(query.shape)}",
        allowed=f"[{width}], as the vectors in Milvus",
        to_do="encode the query with the model that made them",
    )
