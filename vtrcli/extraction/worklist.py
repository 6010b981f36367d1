"""What is to be done with each candidate: skip it, copy the features of its twin, or decode it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from vtrcli.extraction.discover import Candidate
from vtrcli.extraction.identify import choose_video_id
from vtrcli.store.failures import Failure, make_failure
from vtrcli.store.frames import videos_without_frames
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import FileState, VideoRecord, file_state, same_content


@dataclass(frozen=True)
class Job:
    """One file to decode."""

    path: Path
    video_id: str
    state: FileState
    root: Path | None = None


@dataclass
class Worklist:
    """The work, and what needs none. `copies` pairs a job with the path whose features it shares."""

    jobs: list[Job] = field(default_factory=list)
    copies: list[tuple[Job, str]] = field(default_factory=list)
    num_unchanged: int = 0
    known_failures: list[Failure] = field(default_factory=list)
    new_failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_worklist(
    candidates: list[Candidate],
    store: FeatureStore,
    failures: dict[str, Failure],
    *,
    retry_failed: bool,
    keep_frames: bool = False,
) -> Worklist:
    """Compare the candidates with the store. Unchanged files cost one stat, others two small reads.

    Args:
        keep_frames: stored videos without kept frames are to be done again.
    """
    again = videos_without_frames(store) if keep_frames else set()
    return _Planner(store, failures, retry_failed=retry_failed, again=again).plan(candidates)


class _Planner:
    def __init__(
        self, store: FeatureStore, failures: dict[str, Failure], *, retry_failed: bool, again: set[str]
    ) -> None:
        self.work = Worklist()
        self.failures = failures
        self.retry_failed = retry_failed
        self.by_path: dict[str, VideoRecord] = {}
        self.by_fingerprint: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        for location in store.videos.values():
            record = location.record
            self.by_path[record.path] = record
            self.owner[record.video_id] = record.path
            if record.video_id not in again:
                self.by_fingerprint[record.fingerprint] = record.path
        self.again = again

    def plan(self, candidates: list[Candidate]) -> Worklist:
        for candidate in candidates:
            self._place(candidate)
        return self.work

    def _place(self, candidate: Candidate) -> None:
        path = candidate.path
        record = self.by_path.get(str(path))
        must_redo = record is not None and record.video_id in self.again
        failure = self.failures.get(str(path))
        state = None
        try:
            status = path.stat()
            is_same = record is not None and _is_same_stat(record, status.st_size, status.st_mtime_ns)
            if failure is None and is_same and not must_redo:
                self.work.num_unchanged += 1
                return
            state = file_state(path)
        except OSError as error:
            reason = "no-permission" if isinstance(error, PermissionError) else "not-found"
            self.work.new_failures.append(make_failure(path, reason, error.strerror or "", state=None))
            return
        if failure is not None and failure.is_about(state) and not self.retry_failed:
            self.work.known_failures.append(failure)
        elif failure is None and record and record.fingerprint == state.fingerprint and not must_redo:
            self.work.num_unchanged += 1  # touched, not changed
        else:
            self._add(candidate, state, record)

    def _add(self, candidate: Candidate, state: FileState, record: VideoRecord | None) -> None:
        path = candidate.path
        twin = None if state.num_bytes == 0 else self._twin(path, state)
        if record is not None:
            video_id = record.video_id
        else:
            video_id, note = self._id_of_moved(twin) or choose_video_id(candidate, self.owner)
            if note:
                self.work.notes.append(note)
        self.owner[video_id] = str(path)
        job = Job(path, video_id, state, root=candidate.root)
        if twin is not None:
            self.work.copies.append((job, twin))
        else:
            self.by_fingerprint[state.fingerprint] = str(path)
            self.work.jobs.append(job)

    def _twin(self, path: Path, state: FileState) -> str | None:
        """Another path with the same content. A twin that is gone was moved: its fingerprint must do."""
        twin = self.by_fingerprint.get(state.fingerprint)
        if twin is None or twin == str(path):
            return None
        try:
            return twin if same_content(path, Path(twin)) else None
        except OSError:
            return twin if twin in self.by_path else None

    def _id_of_moved(self, twin: str | None) -> tuple[str, None] | None:
        """A moved file keeps its id: the path that owned it is gone, the content is the same."""
        record = self.by_path.get(twin) if twin is not None else None
        if record is None or os.path.exists(record.path) or self.owner.get(record.video_id) != record.path:
            return None
        return record.video_id, None


def _is_same_stat(record: VideoRecord, num_bytes: int, mtime_ns: int) -> bool:
    return (record.num_bytes, record.mtime_ns) == (num_bytes, mtime_ns)
