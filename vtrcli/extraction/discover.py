"""From paths to candidate video files: walks folders, knows what to pass over, opens nothing but regular files."""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vtrcli.errors import InputError, UsageError
from vtrcli.files import as_on_disk, path_matcher
from vtrcli.store.config import CONFIG_NAME, STORE_FOLDERS, is_store
from vtrcli.store.roots import normal
from vtrcli.video.files import (
    VIDEO_SUFFIXES,
    is_unfinished,
    looks_like_video,
    sniff,
)

MAX_PLAYLIST_BYTES = 4 << 20
BATCH_FILES = 8192  # that are asked about together, and no more are held of those that need nothing
# Paths and stats of files -> which of them need nothing, bool [num_files].
AreKnown = Callable[[list[str], list[os.stat_result]], Iterable[bool]]


@dataclass(frozen=True)
class Candidate:
    """A file to try. The video id is made from `path` as seen from `root`."""

    path: Path
    root: Path


@dataclass(frozen=True)
class Part:
    """The files that are number `number`'s (1, 2, ...) where `of` runs share the work and never speak to each other.

    A file's part is told by its path below the given folder alone (CRC-32, our choice): whatever else is there, and
    wherever a machine mounts the folder. So a run that comes back later, or twice, has the same files.

    Raises:
        UsageError: numbers that are no part.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UsageError(
                f"--part {self.number}/{self.of}",
                allowed="1/N to N/N: the first of N parts to the last",
                to_do=f"write `--part {min(max(self.number, 1), max(self.of, 1))}/{max(self.of, 1)}`",
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Part:
        """`3/16`. Raises UsageError for anything else."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if match is None:
            raise UsageError(
                f"--part {text}", allowed="two whole numbers, such as 3/16", to_do="write `--part 3/16`"
            )
        return cls(int(match[1]), int(match[2]))

    def has(self, path: Path, root: Path) -> bool:
        """Whether a file below `root` is of this part."""
        name = normal(path.relative_to(root).as_posix()).encode("utf-8", "surrogatepass")
        return zlib.crc32(name) % self.of == self.number - 1


@dataclass
class Discovery:
    """What was found. `problems` holds (path, reason, detail) of things that could not even be looked at.

    `num_ignored` counts all files that were passed over; `num_unfinished` of them are downloads on their way,
    `num_excluded` met a pattern of the user (files and whole folders). `num_others` are files of other parts, and
    `num_known` those that were known to need nothing; no candidate is one.
    """

    candidates: list[Candidate] = field(default_factory=list)
    problems: list[tuple[Path, str, str]] = field(default_factory=list)
    num_ignored: int = 0
    num_unfinished: int = 0
    num_excluded: int = 0
    num_others: int = 0
    num_known: int = 0

    @property
    def num_videos(self) -> int:
        """All that are videos, or are called so."""
        return len(self.candidates) + len(self.problems) + self.num_known


def discover(
    paths: Iterable[Path],
    *,
    must_exist: bool = True,
    exclude: Sequence[str] = (),
    not_yet: Collection[Path] = (),
    part: Part | None = None,
    are_known: AreKnown | None = None,
) -> Discovery:
    """Find the candidates below `paths`, each file once, in a fixed order.

    A file that is named is always tried, but for a playlist of files that are tried themselves. In a folder, hidden
    names, feature stores, unfinished downloads and what neither is called a video nor begins like one are passed over.
    Links are followed; a loop of links ends.

    Args:
        must_exist: whether a missing path is an error, or (a list from stdin) a row among the problems.
        exclude: patterns (`vtrcli.files.path_matcher`) of files and folders to pass over, as seen from the given
            folder unless they begin with `/`.
        not_yet: files that are still being written.
        part: whose files are wanted; None for all.
        are_known: of the files of folders, which need not become candidates: with a million of them that is most of the
            memory of a run. Not asked where a file is named: what it is may rest on its neighbours (playlists).

    Raises:
        InputError: a path does not exist.
    """
    matchers = [(path_matcher(pattern), os.path.isabs(pattern)) for pattern in exclude]

    def is_excluded(path: Path, root: Path, behind: str = "") -> bool:
        names = {True: path.as_posix() + behind, False: path.relative_to(root).as_posix() + behind}
        return any(matches(names[is_absolute]) for matches, is_absolute in matchers)

    found, paths = Discovery(), list(paths)
    sieve = _Sieve(found, are_known if all(map(os.path.isdir, paths)) else None)
    seen: set[str] | None = set() if len(paths) > 1 else None  # one walk meets each file once
    named: list[Path] = []
    for given in paths:
        path = as_on_disk(Path(os.path.abspath(given)))
        if must_exist and not os.path.lexists(path):
            raise InputError(
                f"{given} does not exist",
                allowed="files, folders, or - for a list on stdin",
                to_do="check the path; a name that begins with a dash needs ./ before it",
            )
        is_folder = os.path.isdir(path)
        entries = _walk(path, found, is_excluded) if is_folder else iter([str(path)])
        root = path if is_folder else path.parent
        for entry in entries:
            if seen is not None:
                if entry in seen:
                    continue
                seen.add(entry)
            if part is not None and not part.has(Path(entry), root):
                found.num_others += 1
            elif not_yet and Path(entry) in not_yet:
                found.num_ignored += 1
            elif matchers and is_excluded(Path(entry), root):
                found.num_ignored += 1
                found.num_excluded += 1
            else:
                _classify(entry, root, found, sieve, is_named=not is_folder)
                named += [] if is_folder else [path]
        sieve.flush()
    _drop_playlists(found, named)
    return found


def _drop_playlists(found: Discovery, named: Sequence[Path]) -> None:
    """Pass over the named playlists whose every entry is tried itself: `vtr extract recording/*` names both."""
    if not named:
        return
    tried = {candidate.path for candidate in found.candidates}
    lists = {path: entries for path in named if path in tried and (entries := _playlist_entries(path))}
    # A list of lists: those that go in a round are no longer asked for in the next.
    while True:
        needless = [
            path for path, entries in lists.items() if entries <= tried | lists.keys() and path in tried
        ]
        if not needless:
            break
        tried.difference_update(needless)
    dropped = [candidate for candidate in found.candidates if candidate.path not in tried]
    found.num_ignored += len(dropped)
    found.candidates = [candidate for candidate in found.candidates if candidate.path in tried]


def _playlist_entries(path: Path) -> set[Path]:
    """The files that an M3U or ffconcat list names, none of which is opened; empty for anything else."""
    try:
        if sniff(path) != "playlist" or path.stat().st_size > MAX_PLAYLIST_BYTES:
            return set()
        text = path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except OSError:
        return set()
    if text.startswith("#EXTM3U"):
        lines = [line.strip() for line in text.splitlines()]
        names = [line for line in lines if line and not line.startswith("#")]
        names += re.findall(r'^#EXT-X-(?:MAP|MEDIA):.*?\bURI="([^"]+)"', text, re.MULTILINE)
    elif text.startswith("ffconcat"):
        names = [name for _, name in re.findall(r"^\s*file\s+(['\"]?)(.+)\1\s*$", text, re.MULTILINE)]
    else:
        return set()
    return {Path(os.path.abspath(path.parent / name)) for name in names if "\0" not in name}


def _walk(root: Path, found: Discovery, is_excluded: Callable[..., bool]) -> Iterator[str]:
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
        unfinished_names = set(filter(is_unfinished, names))
        unfinished = set(map(os.path.splitext, unfinished_names))
        skipped = STORE_FOLDERS if holds_store else frozenset()
        kept = []
        for name in sorted(subfolders):
            if name.startswith(".") or name in skipped:
                continue
            if is_excluded(Path(folder, name), root, "/"):
                found.num_excluded += 1
            elif name.lower().endswith(".download") and os.path.exists(
                os.path.join(folder, name, "Info.plist")
            ):
                found.num_unfinished += 1  # Safari's
            else:
                kept.append(name)
        subfolders[:] = kept
        for name in sorted(names):
            if name.startswith("."):
                found.num_ignored += 1
            elif name in unfinished_names:
                found.num_ignored += 1
                found.num_unfinished += _holds_a_video(name)
            elif unfinished and _is_downloading(Path(folder, name), unfinished):
                found.num_ignored += 1
                found.num_unfinished += 1
            else:
                yield os.path.join(folder, name)


def _is_downloading(path: Path, unfinished: Collection[tuple[str, str]]) -> bool:
    """Whether `clip.mp4.aria2` tells that `clip.mp4` is not whole, or it is the empty one beside `clip.mp4.part`."""
    suffixes = [suffix.lower() for stem, suffix in unfinished if stem == path.name]
    return ".aria2" in suffixes or (bool(suffixes) and path.stat().st_size == 0)


def _holds_a_video(name: str) -> bool:
    """Whether an unfinished file will be a video: `clip.mp4.part`, but no notes beside one, and no other `.tmp`."""
    stem, suffix = os.path.splitext(name)
    return os.path.splitext(stem)[1].lower() in VIDEO_SUFFIXES and suffix.lower() not in (".aria2", ".ytdl")


class _Sieve:
    """Makes candidates of video files, but for those that are known to need nothing."""

    def __init__(self, found: Discovery, are_known: AreKnown | None) -> None:
        self._found, self._are_known = found, are_known
        self._paths: list[str] = []
        self._statuses: list[os.stat_result] = []
        self._root = Path()

    def add(self, path: str, status: os.stat_result, root: Path) -> None:
        """Take a file; all that are taken before `flush` have one root."""
        self._root = root
        self._paths.append(path)
        self._statuses.append(status)
        if len(self._paths) >= BATCH_FILES:
            self.flush()

    def flush(self) -> None:
        """Sort out what has gathered."""
        paths, statuses = self._paths, self._statuses
        self._paths, self._statuses = [], []
        known = [False] * len(paths) if self._are_known is None else self._are_known(paths, statuses)
        new = [path for path, is_known in zip(paths, known, strict=True) if not is_known]
        self._found.candidates += [Candidate(Path(path), self._root) for path in new]
        self._found.num_known += len(paths) - len(new)


def _classify(path: str, root: Path, found: Discovery, sieve: _Sieve, *, is_named: bool) -> None:
    """Sort one directory entry into candidates, problems or the ignored."""
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            if is_named or looks_like_video(path):
                sieve.add(path, status, root)
            else:
                found.num_ignored += 1
            return
        problem = ("not-a-file", "not a regular file")
    except PermissionError as error:
        problem = ("no-permission", error.strerror or str(error))
    except OSError as error:  # gone, a dangling link or a loop of links
        problem = ("not-found", error.strerror or str(error))
    if is_named or os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES:
        found.problems.append((Path(path), *problem))
    else:
        found.num_ignored += 1
