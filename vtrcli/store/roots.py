"""The folders that a store was made from, by name, so that they can move: `roots.jsonl`.

A record keeps the name of its root and its path below it. The first line of a name makes the root; later ones that are
marked `moved` say where it lies now. Records that were written before there were roots find theirs by the folder of the
first line. Lines are only ever appended.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from vtrcli.files import append_lines, read_lines

ROOTS_NAME = "roots.jsonl"


class Place(NamedTuple):
    """Where a file is: its path, and the same as a root's name and a path (with /) below it."""

    path: str
    root: str | None
    relative_path: str | None


@dataclass(frozen=True, kw_only=True)
class Root:
    """A folder that videos were extracted from. `is_mount`: whether it was itself a mount point."""

    name: str
    folder: str
    is_mount: bool = False
    origin: str = ""

    def is_there(self) -> bool:
        """Whether the folder can be looked into: what is missing below it is then really gone.

        A mount point without its disk is an ordinary, mostly empty folder.
        """
        return os.path.isdir(self.folder) and (not self.is_mount or os.path.ismount(self.folder))


@dataclass(frozen=True)
class Roots:
    """All roots of a store, by name."""

    by_name: Mapping[str, Root] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The same for the same folders: names what was derived from the paths."""
        rows = [[root.name, root.folder, root.origin] for root in self.by_name.values()]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:32] if rows else ""

    def place(self, path: str, root: str | None, relative_path: str | None) -> Place:
        """Where a record's file is now, from what is written in the record."""
        if root is None or relative_path is None:
            found = holding(path, self.by_name.values(), by_origin=True)
            if found is None:
                return Place(path, None, None)
            root, relative_path = found.name, below(path, found.origin)
        known = self.by_name.get(root)
        if known is None:
            return Place(path, root, relative_path)
        return Place(joined(known.folder, relative_path), root, relative_path)

    def of(self, path: str) -> Root | None:
        """The innermost root whose folder holds `path` now."""
        return holding(path, self.by_name.values())

    def new_name(self, folder: str, taken: Collection[str | None] = ()) -> str:
        """A free name for a folder: its last part, with a number when that is another's.

        Args:
            taken: names that rows go by, which may have lost their lines.
        """
        stem = os.path.basename(folder.rstrip(os.sep)) or "root"
        numbered = (f"{stem}-{number}" for number in range(2, len(self.by_name) + len(taken) + 3))
        return next(name for name in (stem, *numbered) if name not in self.by_name and name not in taken)


NO_ROOTS = Roots()


def read_roots(store: Path) -> Roots:
    """The roots of a store; none for stores of the first releases. Lines of another kind are passed over.

    Raises:
        StoreError: the file is there but cannot be read.
    """
    to_do = "make it readable, or move it away to use the paths that were recorded first"
    lines = read_lines(store / ROOTS_NAME, to_do=to_do)
    by_name: dict[str, Root] = {}
    for root, is_moved in filter(None, map(_parsed, lines)):
        before = by_name.get(root.name)
        if before is None or is_moved:
            by_name[root.name] = replace(root, origin=before.origin if before else root.folder)
    return Roots(by_name)


def add_roots(store: Path, roots: Iterable[Root]) -> dict[str, str]:
    """Make folders roots of a store.

    Returns:
        The name that each got: another one where another process gave the name away meanwhile.

    Raises:
        StoreError: the file cannot be read or written.
    """
    names: dict[str, str] = {}
    for root in roots:
        name = root.name
        while True:
            there = read_roots(store).by_name.get(name)
            if there is None:
                append_lines(store / ROOTS_NAME, [_line(replace(root, name=name))])
            elif there.origin == root.folder:
                break
            else:
                name = read_roots(store).new_name(root.folder)
        names[root.name] = name
    return names


def move_roots(store: Path, roots: Iterable[Root]) -> None:
    """Note where roots of a store are now, all in one write.

    Raises:
        StoreError: the file cannot be written.
    """
    lines = [_line(root, moved=True) for root in roots]
    if lines:
        append_lines(store / ROOTS_NAME, lines)


def holding(path: str, roots: Iterable[Root], *, by_origin: bool = False) -> Root | None:
    """The innermost of `roots` whose folder (or first folder) holds `path`."""
    found, longest = None, -1
    for root in roots:
        folder = root.origin if by_origin else root.folder
        if len(folder) > longest and is_below(path, folder):
            found, longest = root, len(folder)
    return found


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it, by name."""
    return path == folder or path.startswith(folder if folder.endswith(os.sep) else folder + os.sep)


def below(path: str, folder: str) -> str:
    """The path of a file as seen from a folder that holds it, with /. Either may be in another Unicode form."""
    num_parts = len(folder.rstrip(os.sep).split(os.sep))
    return "/".join(path.split(os.sep)[num_parts:])


def joined(folder: str, relative_path: str) -> str:
    """The path of a file below a folder."""
    rest = relative_path if os.sep == "/" else relative_path.replace("/", os.sep)
    return folder + rest if folder.endswith(os.sep) else folder + os.sep + rest


def mount_below(path: Path, folder: Path) -> Path:
    """The innermost mount point between a file and the folder that it was found in; `folder` where there is none."""
    for parent in path.parents:
        if parent == folder or len(parent.parts) <= len(folder.parts):
            return folder
        if os.path.ismount(parent):
            return parent
    return folder


def normal(name: str) -> str:
    """A name or path in Unicode's composed form: file systems and people write é in one character or in two."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _line(root: Root, **marks: bool) -> str:
    body = {"name": root.name, "folder": root.folder, "is_mount": root.is_mount}
    return json.dumps({**body, **marks, "when": time.time()})


def _parsed(line: str) -> tuple[Root, bool] | None:
    """A root, and whether the line says that it moved."""
    try:
        body = json.loads(line)
        name, folder, is_mount = body["name"], body["folder"], body.get("is_mount", False)
        is_moved = body.get("moved") is True
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    sound = isinstance(name, str) and isinstance(folder, str) and folder and isinstance(is_mount, bool)
    return (Root(name=name, folder=folder, is_mount=is_mount), is_moved) if sound else None
