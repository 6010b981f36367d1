"""What is to be done with each candidate: skip it, give it the features of its content, or decode it.

A stored video stays with its content: its id follows a file that was renamed or moved. In this order, so that neither
twins nor files that were swapped take each other's ids:

1. A file whose path has a stored video of its content is that video.
2. A file with the same path below another folder and the same content is that video too, at its new place.
3. A file with the content of a stored video whose own path holds it no more was renamed.
4. A file with new content takes over the id that its path had; any other gets a new one.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vtrcli.extraction.discover import Candidate, Discovery
from vtrcli.extraction.pipeline import Job
from vtrcli.extraction.recognize import (
    File,
    Stored,
    are_apart,
    choose_video_id,
    content_key,
    find_contents,
    is_displaced,
    places,
    root_folder,
)
from vtrcli.extraction.unchanged import Unchanged
from vtrcli.store.failures import Failure, make_failure
from vtrcli.store.frames import kept_frames
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import FileState, VideoRecord, file_state, place_of
from vtrcli.store.roots import Root, Roots, below, joined, normal

MAX_NEW_ROOTS = 8  # a list of files from many folders gets one root that holds them all


@dataclass
class Worklist:
    """The work, and what needs none.

    Attributes:
        jobs: files to decode.
        copies: files that get the rows of the same content.
        refreshed: the same for stored videos that are known but not by this path or time of change.
        num_unchanged: files that need nothing, those of `num_moved` included.
        num_moved: stored videos that were recognised at another place or under another name.
        removed: ids whose path now belongs to another stored video, while their own content is nowhere.
        new_roots, moved_roots: what is to be said of the store's roots before any row is written.
        known_failures: those that are not tried again.
        moved_failures: those of `known_failures` whose file failed at another place.
        new_failures: files that could not even be looked at.
    """

    jobs: list[Job] = field(default_factory=list)
    copies: list[Job] = field(default_factory=list)
    refreshed: list[Job] = field(default_factory=list)
    num_unchanged: int = 0
    num_moved: int = 0
    removed: list[str] = field(default_factory=list)
    new_roots: list[Root] = field(default_factory=list)
    moved_roots: list[Root] = field(default_factory=list)
    known_failures: list[Failure] = field(default_factory=list)
    moved_failures: list[Failure] = field(default_factory=list)
    new_failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def num_to_do(self) -> int:
        """Files that are decoded, copied or failed: the progress of a run ends there."""
        return len(self.jobs) + len(self.copies) + len(self.new_failures)

    @property
    def num_bytes(self) -> int:
        """Of the files to decode."""
        return sum(job.state.num_bytes for job in self.jobs)


def make_worklist(
    found: Discovery,
    store: FeatureStore,
    failures: dict[str, Failure],
    *,
    retry_failed: bool,
    keep_size: int | None = None,
    renew_frames: bool = False,
    known: Unchanged | None = None,
) -> Worklist:
    """Compare what was found with the store. An unchanged file costs one stat, a new one two small reads; one that may
    be a stored video at another place, or with another time of change, is read whole.

    Args:
        failures: path -> what is known to have failed.
        keep_size: short side of kept frames; stored videos without any are to be done again. None: none are kept.
        renew_frames: and those whose frames an older program cut, or that were kept smaller.
        known: the files that are no candidates because they need nothing.
    """
    again: set[str] = set()
    outdated: set[str] = set()
    if keep_size is not None:
        kept = kept_frames(store)
        again, outdated = kept.missing, kept.outdated(store, size=keep_size)
    if renew_frames:
        again, outdated = again | outdated, set()
    planner = _Planner(Stored(store, again), _Failures(failures, retry_failed=retry_failed))
    if known is not None:
        planner.settle_known(known.ids())
    planner.plan(found.candidates)
    for path, reason, detail in found.problems:
        planner.failures.note(path, reason, detail, planner.work)
    if outdated and keep_size is not None:
        planner.work.notes.append(
            f"the kept frames of {len(outdated):,} stored videos are cut as one encoder saw them, or smaller than"
            f" {keep_size}; they stay as they are: --renew-frames decodes those videos again"
        )
    _name_roots(planner.work, planner.stored, found.candidates)
    return planner.work


def settled_worklist(
    found: Discovery, known: Unchanged | None, failures: dict[str, Failure], *, retry_failed: bool
) -> Worklist | None:
    """The worklist where stats say all that there is to say: every file is known, or failed and is as it was then.

    None where one needs a closer look. It is then the worklist that `make_worklist` makes; that one needs the records
    of all stored videos.

    Args:
        failures: path -> the last that is known to have failed, whether or not it was extracted since.
    """
    if known is None or retry_failed:
        return None
    work, noted = Worklist(num_unchanged=found.num_known), _Failures(failures, retry_failed=False)
    for candidate in found.candidates:
        failure = failures.get(str(candidate.path))
        if failure is None or known.has(str(candidate.path)) or not _is_as_it_failed(failure):
            return None
        work.known_failures.append(failure)
    for path, reason, detail in found.problems:
        if known.has(str(path)):
            return None
        noted.note(path, reason, detail, work)
    return work


def _is_as_it_failed(failure: Failure) -> bool:
    try:
        status = os.stat(failure.path)
    except (OSError, ValueError):
        return False
    return (failure.num_bytes, failure.mtime_ns) == (status.st_size, status.st_mtime_ns)


class _Failures:
    """What is known to have failed, by path and, for files that moved, by name, size and time of change."""

    def __init__(self, by_path: dict[str, Failure], *, retry_failed: bool) -> None:
        self.by_path = by_path
        self.retry_failed = retry_failed
        self._by_file: dict[tuple[str, int | None, int | None], list[Failure]] = defaultdict(list)
        for failure in by_path.values():
            name = normal(os.path.basename(failure.path))
            self._by_file[name, failure.num_bytes, failure.mtime_ns].append(failure)

    def note(self, path: Path, reason: str, detail: str, work: Worklist) -> None:
        """A file that could not even be looked at."""
        known = self.by_path.get(str(path))
        if known is not None and known.reason == reason and not self.retry_failed:
            work.known_failures.append(known)
        else:
            work.new_failures.append(make_failure(path, reason, detail, state=None))

    def moved(self, candidate: Candidate, state: FileState, roots: Roots) -> Failure | None:
        """What is known of a file that failed below another folder: its path there, size and time of change."""
        key = (normal(candidate.path.name), state.num_bytes, state.mtime_ns)
        for failure in self._by_file.get(key, []):
            if any(normal(failure.path).endswith(os.sep + name) for _, name in places(candidate, roots)):
                return replace(failure, path=str(candidate.path))
        return None


@dataclass
class _Move:
    """A stored video at another place. `folders` are (old folder, new folder) where its relative path is the same."""

    file: File
    record: VideoRecord
    folders: tuple[str, str] | None


class _Planner:
    """Decides file by file; what is settled by one rule is not asked again by the next."""

    def __init__(self, stored: Stored, failures: _Failures) -> None:
        self.work = Worklist()
        self.stored = stored
        self.failures = failures
        # A file may be what a video without one was made of: it takes over that id.
        self.owner = {one.video_id: one.path for one in stored.current.values() if one.has_file}
        self.paths: set[str] = set()  # of all candidates
        self.pending: set[str] = set()  # of those that their stat did not recognise
        self.id_at: dict[str, str] = {}  # path -> id, of everything that is settled
        self.settled: set[str] = set()
        self.moves: list[_Move] = []
        self.decoded: dict[str, File] = {}  # content -> the file that will be decoded
        self.num_elsewhere = 0
        self.left: set[str] | None = None  # folders whose videos are elsewhere now

    def settle_known(self, video_ids: Iterable[str]) -> None:
        """Stored videos whose files are there and as they were."""
        for video_id in video_ids:
            record = self.stored.current.get(video_id)
            if record is not None:  # nobody took it out meanwhile
                self._settle(record.video_id, record.path)
                self.paths.add(record.path)
            self.work.num_unchanged += 1

    def plan(self, candidates: list[Candidate]) -> None:
        """The rules in the order of the module's docstring; each takes the files that the ones before left."""
        self.paths.update(str(candidate.path) for candidate in candidates)
        files = [file for file in map(self._look, candidates) if file is not None]
        find_contents(files, self.stored.by_fingerprint)
        self.pending = {str(file.path) for file in files}
        for step in (self._is_touched, self._is_linked, self._is_elsewhere, self._is_renamed):
            files = [file for file in files if not step(file)]
        self._settle_moves(files)
        for file in files:
            self._add(file)
        self._remove_replaced()
        if self.num_elsewhere:
            self.work.notes.append(
                f"{self.num_elsewhere:,} files have the path and the content of another below another folder: "
                "one video each"
            )

    def _look(self, candidate: Candidate) -> File | None:
        """A file that needs a closer look; None where its stat says enough."""
        path = candidate.path
        failure = self.failures.by_path.get(str(path))
        try:
            status = path.stat()
            record = self.stored.at(str(path), status, self.paths)
            is_known = record is not None and record.path == str(path) and record.is_file(status)
            if record and is_known and failure is None and record.video_id not in self.stored.again:
                self._settle(record.video_id, str(path))
                self.work.num_unchanged += 1
                return None
            state = file_state(path)
        except OSError as error:
            reason = "no-permission" if isinstance(error, PermissionError) else "not-found"
            self.work.new_failures.append(make_failure(path, reason, error.strerror or "", state=None))
            return None
        if self.failures.retry_failed:
            return File(candidate, state, record)
        moved = None if failure else self.failures.moved(candidate, state, self.stored.roots)
        if moved:
            self.work.moved_failures.append(moved)
        failure = failure or moved
        if failure and failure.is_about(state):
            self.work.known_failures.append(failure)
            return None
        return File(candidate, state, record)

    def _is_touched(self, file: File) -> bool:
        """1: the content is what its path had."""
        record = file.record
        if record is None or content_key(record) not in file.keys:
            return False
        self._settle(record.video_id, str(file.path))
        self._refresh(file, record)
        return True

    def _is_linked(self, file: File) -> bool:
        """1, too: the very file of a stored video, its folder reached by another link."""
        if file.record is not None or not file.keys:
            return False
        for record in self.stored.of_content(file):
            is_free = record.video_id not in self.settled and record.path not in self.paths
            if is_free and _in_real_folder(record.path) == _in_real_folder(str(file.path)):
                self._move(file, record, None)
                return True
        return False

    def _is_elsewhere(self, file: File) -> bool:
        """2: the relative path and the content of a stored video, below another folder."""
        if file.record is not None:
            return False
        own_places = places(file.candidate, self.stored.roots) if file.keys else []
        for record in self.stored.of_content(file):
            old_folder, relative_path = place_of(record, self.stored.roots)
            for folder, name in own_places:
                if name == relative_path and are_apart(folder, old_folder):
                    if record.video_id in self.settled:
                        self._skip_copy()
                    else:
                        self._move(file, record, (old_folder, folder))
                    return True
        return False

    def _is_renamed(self, file: File) -> bool:
        """3: the content of a stored video that is no more where it was."""
        free = [record for record in self.stored.of_content(file) if record.video_id not in self.settled]
        name = normal(file.path.name)
        for record in sorted(free, key=lambda record: normal(os.path.basename(record.path)) != name):
            if record.path in self.pending or self._is_left(record) or is_displaced(record):
                self._move(file, record, None)
                return True
        return False

    def _add(self, file: File) -> None:
        """4: an id that is free, or that the path had; features of a known content, else decoding."""
        twin = self.decoded.get(file.content) if file.content and not file.keys else None
        if twin is not None and self._is_copy_of(file, twin):
            self._skip_copy()
            return
        if file.record is not None and file.record.video_id not in self.settled:
            video_id = file.record.video_id
        else:
            video_id, note = choose_video_id(file.candidate, self.owner)
            if note:
                self.work.notes.append(note)
        self._settle(video_id, str(file.path))
        key = self.stored.usable_key(file)
        if key is not None:
            self.work.copies.append(_job(file, video_id, rows_of=key))
        else:
            self._decode(file, video_id)

    def _decode(self, file: File, video_id: str) -> None:
        """A file to decode, or the content of one that will be."""
        if file.content is not None and file.content in self.decoded:
            self.work.copies.append(_job(file, video_id, rows_of=file.content))
            return
        self.work.jobs.append(_job(file, video_id))
        if file.content is not None:
            self.decoded[file.content] = file

    def _refresh(self, file: File, record: VideoRecord) -> None:
        """A new row of a known video, of its features where they are all that is wanted."""
        key = self.stored.usable_key(file)
        if record.video_id in self.stored.again or key is None:
            self._decode(file, record.video_id)
        else:
            self.work.refreshed.append(_job(file, record.video_id, rows_of=key))
            self.work.num_unchanged += 1

    def _is_left(self, record: VideoRecord) -> bool:
        """Whether at least half of a record's folder is a copy elsewhere now: the rest was renamed in the copy."""
        if self.left is None:
            sizes = self.stored.folder_sizes()
            counts = Counter(move.folders[0] for move in self.moves if move.folders is not None)
            given = {
                self.stored.folder_of(at) for path in self.paths for at in self.stored.by_path.get(path, [])
            }
            self.left = {old for old, count in counts.items() if 2 * count >= sizes[old]} - given
        return bool(self.left) and self.stored.folder_of(record) in self.left

    def _is_copy_of(self, file: File, twin: File) -> bool:
        pairs = (
            (a, b)
            for a in places(file.candidate, self.stored.roots)
            for b in places(twin.candidate, self.stored.roots)
        )
        return any(a[1] == b[1] and are_apart(a[0], b[0]) for a, b in pairs)

    def _settle(self, video_id: str, path: str) -> None:
        self.settled.add(video_id)
        self.id_at[path] = video_id
        self.owner[video_id] = path

    def _skip_copy(self) -> None:
        self.num_elsewhere += 1
        self.work.num_unchanged += 1

    def _move(self, file: File, record: VideoRecord, folders: tuple[str, str] | None) -> None:
        self._settle(record.video_id, str(file.path))
        self.moves.append(_Move(file, record, folders))
        self.work.num_moved += 1

    def _settle_moves(self, files: list[File]) -> None:
        """Where a whole folder moved one line tells it; every other video gets a row with its new path."""
        before = self.stored.roots
        relocated = self._relocated_folders()
        for move in self.moves:
            file, record = move.file, move.record
            is_written = move.folders in relocated and (
                (record.num_bytes, record.mtime_ns) == (file.state.num_bytes, file.state.mtime_ns)
                and record.inode in (None, file.state.inode)
            )
            if is_written and record.video_id not in self.stored.again:
                self.work.num_unchanged += 1
            else:
                self._refresh(file, record)
        if not relocated:
            return
        # The rest of such a folder moved with it, even files that were changed on the way.
        new_folders = dict(relocated)
        for record in self.stored.current.values():
            folder, _ = place_of(record, before)
            if folder in new_folders and record.video_id not in self.settled:
                self.stored.current[record.video_id] = moved = replace(
                    record, path=joined(new_folders[folder], below(record.path, folder))
                )
                self.stored.by_path[moved.path].append(moved)
        for file in files:
            records = self.stored.by_path.get(str(file.path), []) if file.record is None else []
            file.record = records[-1] if records else file.record

    def _relocated_folders(self) -> set[tuple[str, str]]:
        """(old, new) folders of roots that moved: one that is gone with at least half of its videos, one that is still
        there (a copy) with all of them."""
        counts = Counter(move.folders for move in self.moves if move.folders is not None)
        if not counts:
            return set()
        sizes = self.stored.folder_sizes()
        renamed = Counter(self.stored.folder_of(move.record) for move in self.moves if move.folders is None)
        roots = dict(self.stored.roots.by_name)
        relocated = set()
        for (old, new), count in counts.most_common():
            known = next((root for root in roots.values() if root.folder == old), None)
            is_there = known.is_there() if known else os.path.isdir(old)
            is_whole = count + renamed[old] == sizes[old] if is_there else 2 * count >= sizes[old]
            if not is_whole or any(root.folder == new for root in roots.values()):
                continue
            if known is None:
                known = self.stored.new_root(old, roots)
                self.work.new_roots.append(known)
            roots[known.name] = replace(known, folder=new, is_mount=os.path.ismount(new))
            self.work.moved_roots.append(roots[known.name])
            relocated.add((old, new))
        self.stored.roots = Roots(roots)
        return relocated

    def _remove_replaced(self) -> None:
        """A stored video whose path was settled as another's is nowhere: it would be found at that path for ever."""
        for video_id, record in self.stored.current.items():
            if video_id not in self.settled and self.id_at.get(record.path, video_id) != video_id:
                self.work.removed.append(video_id)


def _name_roots(work: Worklist, stored: Stored, candidates: list[Candidate]) -> None:
    """Give every job its root and the path below it; folders that no root holds become roots."""
    given = {str(candidate.path): root_folder(candidate) for candidate in candidates}
    paths = [str(job.path) for job in (*work.jobs, *work.copies, *work.refreshed)]
    new = {given[path] for path in paths if not _holds(stored.roots, path, given)}
    if len(new) > MAX_NEW_ROOTS:
        shared = os.path.commonpath(sorted(new))
        if len(Path(shared).parts) > 2:  # not the whole disk, nor everybody's home
            new = {shared}
    by_name = dict(stored.roots.by_name)
    for folder in sorted(new):
        root = replace(stored.new_root(folder, by_name), is_mount=os.path.ismount(folder))
        by_name[root.name] = root
        work.new_roots.append(root)
    roots = Roots(by_name)

    def placed(job: Job) -> Job:
        root = roots.of(str(job.path))
        if root is None:
            return job
        return replace(job, root=root.name, relative_path=below(str(job.path), root.folder))

    work.jobs, work.copies, work.refreshed = (
        [placed(job) for job in jobs] for jobs in (work.jobs, work.copies, work.refreshed)
    )


def _holds(roots: Roots, path: str, given: dict[str, str]) -> bool:
    """Whether a root holds the path, and no mount point lies between the two."""
    root = roots.of(path)
    return root is not None and (len(root.folder) >= len(given[path]) or not os.path.ismount(given[path]))


def _in_real_folder(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def _job(file: File, video_id: str, *, rows_of: str | None = None) -> Job:
    return Job(file.path, video_id, file.state, content=file.content, rows_of=rows_of)
