"""What people marked as right or wrong while they looked: `annotations/moments.jsonl` beside the store's shards.

One JSON object per line in QVHighlights' layout (`qid`, `query`, `vid`, `duration`, `relevant_windows`), which
`vtr eval --moments --truth` and `vtr train --dataset jsonl` read, and beside that `wrong_windows`, `who` and `when` of
the last change. It is the user's own work: nothing derives it, nothing tidies it up, and lines and keys that others
wrote in it stay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request

from vtrcli.datasets.files import Json, json_lines, read_text
from vtrcli.datasets.moments import DURATION_TOLERANCE_SECONDS, MAX_DURATION_SECONDS
from vtrcli.errors import InputError, StoreError
from vtrcli.files import locked, make_folder, write_whole
from vtrcli.searching.query import MAX_QUERY_CHARACTERS
from vtrcli.serve.endpoint import JSON, Endpoint, Parameters, StoreName, VideoId
from vtrcli.serve.library import Library

FOLDER, FILE, LOCK = "annotations", "moments.jsonl", ".lock"
RIGHT, WRONG = "relevant_windows", "wrong_windows"
MAX_CHANGES = 50
MAX_WINDOWS = 1000  # of one query in one video
MAX_SHOWN = 1000  # rows of one answer
_OWN_KEYS = {"qid", "query", "vid", "duration", RIGHT, WRONG, "who", "when"}
Row = dict[str, Any]
Verdict = Literal["right", "wrong", "none"]
_LIST_OF: dict[Verdict, str] = {"right": RIGHT, "wrong": WRONG}
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Change(Parameters):
    """What one part of a video is for the query from now on."""

    start_seconds: Seconds
    end_seconds: Seconds
    verdict: Verdict = Field(description="right, wrong, or none to take a mark back")


class Annotate(Parameters):
    """Changes to the marks of one query in one video, all of them or none."""

    q: str = Field(max_length=MAX_QUERY_CHARACTERS, description="The sentence that is answered, or is not.")
    id: VideoId
    changes: list[Change] = Field(min_length=1, max_length=MAX_CHANGES)
    who: str | None = Field(None, max_length=100, description="Who marks, if that is to be kept.")
    store: StoreName = None


class Annotations(Parameters):
    """Which marks."""

    q: str | None = Field(None, max_length=MAX_QUERY_CHARACTERS, description="Only those for this sentence.")
    id: VideoId | None = Field(None, description="Only those in this video.")
    store: StoreName = None


def endpoints(library: Library) -> list[Endpoint]:
    """Marks are read, and made."""

    def listed(asked: Annotations, request: Request) -> dict[str, Any]:
        opened = library.store(asked.store)
        rows = [row for row in read_rows(opened.path) if _is_about(row, asked.q, asked.id)]
        return {
            "command": "annotations",
            "store": opened.name,
            "file": str(moments_file(opened.path)),
            "num_rows": len(rows),
            "annotations": [_shown(row) for row in rows[:MAX_SHOWN]],
        }

    def annotate(asked: Annotate, request: Request) -> dict[str, Any]:
        opened = library.store(asked.store)
        video = opened.video(asked.id)
        windows = [((one.start_seconds, one.end_seconds), one.verdict) for one in asked.changes]
        row, undo = change_marks(
            opened.path,
            query=asked.q,
            video_id=asked.id,
            duration_seconds=opened.catalog.duration(video),
            changes=windows,
            who=asked.who,
        )
        taken_back = [{"start_seconds": a, "end_seconds": b, "verdict": verdict} for (a, b), verdict in undo]
        return {
            "command": "annotations",
            "store": opened.name,
            "annotation": row and _shown(row),
            "undo": taken_back,
        }

    return [
        Endpoint(
            path="/api/annotations",
            summary="What was marked",
            parameters=Annotations,
            answer=listed,
            errors=(404, 409),
        ),
        Endpoint(
            path="/api/annotations",
            method="POST",
            summary="Mark parts of a video as right or wrong for a sentence",
            parameters=Annotate,
            takes=JSON,
            answer=annotate,
            errors=(404, 409),
        ),
    ]


Window = tuple[float, float]


def moments_file(store: Path) -> Path:
    """Where the marks of a store are kept."""
    return store / FOLDER / FILE


def read_rows(store: Path) -> list[Row]:
    """All that was marked, in the order of the file; nothing where there is none.

    Raises:
        StoreError: the file cannot be read, or a line is no object of this layout.
    """
    path = moments_file(store)
    if not path.exists():
        return []
    if not path.is_file():
        raise _unreadable(f"{path} is no file")
    try:
        return [_row(entry) for entry in json_lines(read_text(path), path)]
    except InputError as cause:
        raise _unreadable(cause.came_in) from cause


def _unreadable(came_in: str) -> StoreError:
    return StoreError(
        came_in,
        allowed="one JSON object per line in QVHighlights' layout; until it is one nothing is marked",
        to_do="mend that line, or move the file away",
    )


def change_marks(
    store: Path,
    *,
    query: str,
    video_id: str,
    duration_seconds: float | None,
    changes: Sequence[tuple[Window, Verdict]],
    who: str | None = None,
) -> tuple[Row | None, list[tuple[Window, Verdict]]]:
    """Mark windows of a video, in seconds, as right or wrong for a query, or take marks back; all changes or none.

    The file is written whole under a lock, so that of two servers and two tabs none loses what the other wrote.

    Returns:
        The row of this query and video; None where it has no mark any more. And the changes that take these back.

    Raises:
        InputError: no sentence, or a window that cannot be.
        StoreError: the file cannot be read or written.
    """
    sentence = " ".join(query.split())
    if not sentence:
        raise InputError(
            "a mark without a sentence",
            allowed="marks say what is right or wrong for a sentence",
            to_do="search by a sentence",
        )
    for name, text in (("sentence", sentence), ("video's id", video_id), ("name", who or "")):
        _require_unicode(name, text)
    windows = [(_window(window, duration_seconds), verdict) for window, verdict in changes]
    path = moments_file(store)
    make_folder(
        path.parent, allowed="marks are kept beside the store", to_do="make the store's folder writable"
    )
    with locked(path.with_name(LOCK)):
        rows = read_rows(store)
        row = next((row for row in rows if _is_about(row, sentence, video_id)), None)
        if row is None:
            row = {"qid": query_id(sentence, video_id), "query": sentence, "vid": video_id}
            row |= {"duration": duration_seconds, RIGHT: [], WRONG: []}
            rows.append(row)
        undo = [(window, _set(row, window, verdict)) for window, verdict in windows]
        row |= {"who": who, "when": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
        is_empty = not row[RIGHT] and not row[WRONG]
        if is_empty and row.keys() <= _OWN_KEYS:
            rows.remove(row)
        body = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in rows)
        write_whole(path, body.encode("utf-8"))
    return None if is_empty else row, undo[::-1]


def query_id(sentence: str, video_id: str) -> str:
    """The same for the same sentence and video in any file, so that several people's files can be put together."""
    return hashlib.sha256(json.dumps([sentence, video_id]).encode()).hexdigest()[:16]


def _set(row: Row, window: Window, verdict: Verdict) -> Verdict:
    """Make a window right, wrong or unmarked, and say what it was."""
    before: Verdict = "none"
    for name, key in _LIST_OF.items():
        if any(_same(known, window) for known in row[key]):
            before = name
        row[key] = [known for known in row[key] if not _same(known, window)]
    if verdict != "none":
        row[_LIST_OF[verdict]] = sorted([*row[_LIST_OF[verdict]], list(window)])
        if len(row[_LIST_OF[verdict]]) > MAX_WINDOWS:
            raise InputError(
                f"more than {MAX_WINDOWS:,} marks for one sentence in one video",
                allowed=f"up to {MAX_WINDOWS:,}",
                to_do="take some back",
            )
    return before


def _same(known: Sequence[float], window: Window) -> bool:
    return all(abs(one - other) < 0.0005 for one, other in zip(known, window, strict=True))


def _window(window: Window, duration_seconds: float | None) -> Window:
    """In milliseconds, and within the video. Raises InputError."""
    start, end = (round(seconds, 3) for seconds in window)
    longest = MAX_DURATION_SECONDS if duration_seconds is None else duration_seconds
    if not 0 <= start < end or end > longest + DURATION_TOLERANCE_SECONDS:
        length = "" if duration_seconds is None else f", the video is {duration_seconds:g} s long"
        raise InputError(
            f"a mark from {start:g} s to {end:g} s",
            allowed=f"it ends after its start, within the video{length}",
            to_do="set its start and end again",
        )
    return start, max(start + 0.001, round(min(end, longest), 3))


def _require_unicode(name: str, text: str) -> None:
    """A line with half a surrogate pair in it could not be read back."""
    try:
        text.encode()
    except UnicodeEncodeError as cause:
        raise InputError(
            f"a {name} that is not valid Unicode",
            allowed="marks are kept as Unicode text",
            to_do="rename the file and extract it again" if name == "video's id" else "write it anew",
        ) from cause


def _is_about(row: Mapping[str, Any], query: str | None, video_id: str | None) -> bool:
    is_query = query is None or " ".join(str(row["query"]).split()) == " ".join(query.split())
    return is_query and (video_id is None or row["vid"] == video_id)


def _row(entry: Json) -> Row:
    """A line as it stands, with both lists of windows. Raises InputError, StoreError."""
    row = dict(entry.members())
    for key in ("query", "vid"):
        entry[key].string()
    for key in (RIGHT, WRONG):
        row[key] = row.get(key) or []
        sound = isinstance(row[key], list) and all(_is_window(window) for window in row[key])
        if not sound:
            raise _unreadable(f"{entry.path}: {key!r} of {entry.what} are no windows")
    return row


def _is_window(window: object) -> bool:
    return isinstance(window, list) and len(window) == 2 and all(map(_is_seconds, window))


def _is_seconds(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(value) < MAX_DURATION_SECONDS  # type: ignore[arg-type]


def _shown(row: Row) -> Row:
    """The keys of this module; others wrote the rest of a line, and it need not be fit to be sent."""
    texts = {key: value if isinstance(value := row.get(key), str) else None for key in ("who", "when")}
    seconds = row.get("duration")
    return {
        "qid": str(row.get("qid")),
        "query": row["query"],
        "vid": row["vid"],
        "duration": seconds if _is_seconds(seconds) else None,
        RIGHT: row[RIGHT],
        WRONG: row[WRONG],
        **texts,
    }
