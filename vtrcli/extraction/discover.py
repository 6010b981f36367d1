"""From paths to candidate video files: walks folders, knows what to pass over, opens nothing but regular files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vtrcli.errors import InputError
from vtrcli.store.config import CONFIG_NAME
from vtrcli.video.formats import VIDEO_SUFFIXES, sniff

STORE_FOLDERS = frozenset({"shards", "frames", "text", "index"})


@dataclass(frozen=True)
class Candidate:
    """A file to try. The video id is made from `path` as seen from `root`."""

    path: Path
    root: Path


@dataclass
class Discovery:
    """What was found. `problems` holds (path, reason, detail) of things that could not even be looked at."""

    candidates: list[Candidate] = field(default_factory=list)
    problems: list[tuple[Path, str, str]] = field(default_factory=list)
    num_ignored: int = 0


def discover(paths: Iterable[Path], *, must_exist: bool = True) -> Discovery:
    """Find the candidates below `paths`, each file once, in a fixed order.

    A file that is named is always tried. In a folder, hidden names, feature stores and files that neither are
    named nor look like media are passed over. Links are followed; a loop of links ends.

    Args:
        must_exist: whether a missing path is an error, or (a list from stdin) a row among the problems.

    Raises:
        InputError: a path does not exist.
    """
    found = Discovery()
    seen: set[Path] = set()
    for given in paths:
        path = Path(os.path.abspath(given))
        if must_exist and not os.path.lexists(path):
            raise InputError(
                f"{given} does not exist",
                allowed="files, folders, or - for a list on stdin",
                to_do="check the path; a name that begins with a dash needs ./ before it",
            )
        is_folder = os.path.isdir(path)
        entries = _walk(path, found) if is_folder else iter([(path, True)])
        root = path if is_folder else path.parent
        for entry, is_named in entries:
            if entry not in seen:
                seen.add(entry)
                _classify(entry, root, found, is_named=is_named)
    return found


def is_store(folder: Path) -> bool:
    """Whether the folder's `store.json` is one of ours, and no other program's."""
    try:
        return '"vtr-store"' in (folder / CONFIG_NAME).read_text(encoding="utf-8", errors="replace")[:200]
    except OSError:
        return False


def _walk(root: Path, found: Discovery) -> Iterator[tuple[Path, bool]]:
    """Files below `root` in sorted order; each folder once, however many links lead to it."""

    def note(error: OSError) -> None:
        found.problems.append((Path(error.filename), "no-permission", error.strerror or str(error)))

    visited: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, onerror=note, followlinks=True):
        status = os.stat(folder)
        holds_store = CONFIG_NAME in names and is_store(Path(folder))
        if (status.st_dev, status.st_ino) in visited or (holds_store and Path(folder) != root):
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        skipped = STORE_FOLDERS if holds_store else frozenset()
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and name not in skipped
        )
        for name in sorted(names):
            if name.startswith("."):
                found.num_ignored += 1
            else:
                yield Path(folder, name), False


def _classify(path: Path, root: Path, found: Discovery, *, is_named: bool) -> None:
    """Sort one directory entry into candidates, problems or the ignored."""
    looks_like_video = is_named or path.suffix.lower() in VIDEO_SUFFIXES
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
        if is_regular and (looks_like_video or sniff(path) is not None):
            found.candidates.append(Candidate(path, root))
            return
        problem = ("not-a-file", "not a regular file")
    except PermissionError as error:
        problem = ("no-permission", error.strerror or str(error))
    except OSError as error:  # gone, a dangling link or a loop of links
        problem = ("not-found", error.strerror or str(error))
    if looks_like_video:
        found.problems.append((path, *problem))
    else:
        found.num_ignored += 1
