"""One collection of Milvus: made, read and written, and the label that says whose it is and what made its vectors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from vtrcli.errors import StoreError, UsageError
from vtrcli.milvus.rows import ABOUT_VIDEO, MAX_VARCHAR_BYTES, in_list
from vtrcli.milvus.server import MilvusServer
from vtrcli.store.config import MALFORMED, BackboneInfo

FORMAT = "vtr-milvus"
FORMAT_VERSION = 1
LABEL = "vtr"  # name of the collection's property that holds the label
PREFIX = "vtr"
FRAMES = "frames"
PAGE_ROWS = 8192  # Milvus answers with at most 16,384 rows
KEYS_PER_DELETE = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Label:
    """Whose a collection is, and what made its vectors."""

    prefix: str
    space: str
    backbone: BackboneInfo

    def to_json(self) -> str:
        """One line."""
        body = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            **asdict(self),
            "backbone": self.backbone.to_json(),
        }
        return json.dumps(body)


def collection_name(prefix: str, space: str) -> str:
    """`<prefix>_<space>`. Raises UsageError where Milvus would not take it."""
    for what, name in (("prefix", prefix), ("space", space)):
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{what} {name!r} cannot be part of the name of a Milvus collection",
                allowed="up to 100 letters, digits and underscores, no digit first",
                to_do=f"choose another {what}, such as {PREFIX if what == 'prefix' else 'run_first'}",
            )
    return f"{prefix}_{space}"


class Collection:
    """One collection of a server. Its methods raise StoreError as `MilvusServer.calling`."""

    def __init__(self, server: MilvusServer, name: str) -> None:
        self.server, self.name = server, name

    def __str__(self) -> str:
        return f"{self.name} at {self.server.name}"

    def exists(self) -> bool:
        """Whether it is there."""
        return bool(self._call("asking for its collections", "has_collection"))

    @cached_property
    def label(self) -> Label:
        """Raises StoreError for one that is not ours, is damaged, or was written by a newer vtr."""
        label = self.find_label()
        if label is None:
            raise StoreError(
                f"collection {self} was not made by vtr",
                allowed="collections as `vtr milvus push` makes them",
                to_do="choose another --prefix",
            )
        return label

    def find_label(self) -> Label | None:
        """As `label`; None where it is not ours."""
        description = self._description()
        # milvus-lite drops the description, a server may drop properties that it does not know.
        text = dict(description.get("properties") or {}).get(LABEL) or description.get("description") or ""
        try:
            body = json.loads(text)
            if body["format"] != FORMAT:
                return None
            version = body["version"]
            if type(version) is int and version > FORMAT_VERSION:
                raise StoreError(
                    f"collection {self} has format version {version}",
                    allowed=f"this vtr reads versions up to {FORMAT_VERSION}",
                    to_do="update vtr: pip install -U vtrcli",
                )
            return Label(
                prefix=str(body["prefix"]),
                space=str(body["space"]),
                backbone=BackboneInfo.from_json(body["backbone"]),
            )
        except MALFORMED:
            return None

    def width(self) -> int:
        """The width of its vectors."""
        fields = self._description()["fields"]
        return next(int(field["params"]["dim"]) for field in fields if field["name"] == "vector")

    def make(self, label: Label, *, width: int) -> None:
        """Make it with its index."""
        from pymilvus import DataType

        text = {"datatype": DataType.VARCHAR, "max_length": MAX_VARCHAR_BYTES}
        key = {"datatype": DataType.VARCHAR, "max_length": 64}
        with self.server.calling(f"making collection {self.name}") as client:
            schema = client.create_schema(
                auto_id=False, enable_dynamic_field=False, description=label.to_json()
            )
            schema.add_field("id", is_primary=True, **key)
            for field in ("video_key", "version"):
                schema.add_field(field, **key)
            for field in ("video_id", "path", "name"):
                schema.add_field(field, **text)
            for field in ("frame", "num_frames", "num_bytes"):
                schema.add_field(field, datatype=DataType.INT64)
            for field in ("duration_seconds", "changed_at"):
                schema.add_field(field, datatype=DataType.DOUBLE)
            schema.add_field("seconds", datatype=DataType.FLOAT)
            schema.add_field("vector", datatype=DataType.FLOAT_VECTOR, dim=width)
            client.create_collection(
                self.name,
                schema=schema,
                properties={LABEL: label.to_json()},
                consistency_level="Strong",  # what was pushed is found at once, and push sees what it wrote
                timeout=self.server.timeout_seconds,
            )

    def load(self) -> None:
        """Load it unless it is loaded; make its index where making it was interrupted."""
        with self.server.calling(f"loading collection {self.name}") as client:
            if not client.list_indexes(self.name, timeout=self.server.timeout_seconds):
                params = client.prepare_index_params()
                # milvus-lite's AUTOINDEX is approximate; a server's own choice suits its size.
                kind = "FLAT" if self.server.is_local else "AUTOINDEX"
                params.add_index("vector", index_type=kind, metric_type="IP")
                client.create_index(self.name, params, timeout=self.server.load_timeout_seconds)
            state = client.get_load_state(self.name, timeout=self.server.timeout_seconds)["state"]
            if getattr(state, "name", str(state)) != "Loaded":
                client.load_collection(self.name, timeout=self.server.load_timeout_seconds)

    def flush_local(self) -> None:
        """Let milvus-lite write out its memory, which it searches ten times slower; servers do so by themselves."""
        if self.server.is_local:
            with self.server.calling(f"flushing {self.name}") as client:
                client.flush(self.name, timeout=self.server.load_timeout_seconds)

    def num_rows(self, where: str = "") -> int:
        """How many rows fulfil an expression."""
        doing = f"counting the rows of {self.name}"
        answer = self._call(doing, "query", filter=where, output_fields=["count(*)"])
        return int(answer[0]["count(*)"])

    def pages(self, where: str, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """All rows that fulfil an expression, some thousands at a time, in the order of their ids."""
        doing = f"listing {self.name}"
        # One of the iterator's calls has no timeout, and would be tried 75 times.
        more = {"batch_size": PAGE_ROWS, "filter": where, "output_fields": list(columns), "retry_times": 1}
        iterator = self._call(doing, "query_iterator", **more)
        while True:
            with self.server.calling(doing):
                rows = list(iterator.next())
            if not rows:
                return
            yield rows

    def listed(self) -> dict[str, tuple[str, int]]:
        """Video key -> version and number of rows, of all videos whose frame 0 is there."""
        return {
            row["video_key"]: (row["version"], int(row["num_frames"]))
            for page in self.pages("frame == 0", ("video_key", "version", "num_frames"))
            for row in page
        }

    def rows(self, ids: Sequence[str], columns: Sequence[str], *, per_read: int) -> list[dict[str, Any]]:
        """The rows of some ids that are there, in any order."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(ids), per_read):
            where = in_list("id", ids[start : start + per_read])
            found += self._call(f"reading {self.name}", "query", filter=where, output_fields=list(columns))
        return found

    def nearest(self, query: np.ndarray, where: str, *, limit: int, is_grouped: bool) -> list[dict[str, Any]]:
        """The rows with the largest inner products, with their `score`; of a video the best one where grouped."""
        group = {"group_by_field": "video_key"} if is_grouped else {}
        (hits,) = self._call(
            f"searching {self.name}",
            "search",
            [np.asarray(query, np.float32).tolist()],
            filter=where,
            limit=limit,
            output_fields=["video_key", *ABOUT_VIDEO],
            search_params={"metric_type": "IP"},
            **group,
        )
        return [{**hit["entity"], "score": hit["distance"]} for hit in hits]

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Add rows, or put them in the place of those with the same ids."""
        if rows:
            self._call(f"writing to {self.name}", "upsert", rows)

    def delete_videos(self, keys: Iterable[str]) -> None:
        """Delete all rows of videos."""
        rest = iter(keys)
        while some := list(islice(rest, KEYS_PER_DELETE)):
            self._call(f"deleting from {self.name}", "delete", filter=in_list("video_key", some))

    def _description(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call(f"reading the description of {self.name}", "describe_collection")
        return found

    def _call(self, doing: str, method: str, *arguments: Any, **more: Any) -> Any:
        with self.server.calling(doing) as client:
            call = getattr(client, method)
            return call(self.name, *arguments, timeout=self.server.timeout_seconds, **more)
