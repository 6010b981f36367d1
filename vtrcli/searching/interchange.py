"""A timeline in the files that editors open: CMX 3600 EDL, OpenTimelineIO, Final Cut Pro's XML and a table.

OpenTimelineIO (extra `editor`) writes .otio. The other kinds are written here and in `vtrcli.searching.final_cut`, and
are read back by its adapters in the tests; docs/experiments.md says why these do not write them.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from vtrcli.errors import UsageError
from vtrcli.files import write_whole
from vtrcli.searching.final_cut import fcpxml_text, xmeml_text
from vtrcli.searching.results import SearchResult
from vtrcli.searching.timeline import Cut, Mark, Timeline, one_line, rate_name, timeline_of
from vtrcli.times import timecode

Kind = Literal["edl", "otio", "fcpxml", "xml", "csv"]

MAX_EVENTS = 999  # as CMX 3600 has them
MAX_NAMED = 3  # files in a note
_MARKER_COLOR = "BLUE"
# The first six are those of Premiere Pro's own list of markers.
CSV_COLUMNS = (
    *("Marker Name", "Description", "In", "Out", "Duration", "Marker Type"),
    *("Source File", "Reel", "Source In", "Source Out", "Source Frame Rate", "Source Start Frame"),
    *("Source End Frame", "Start Seconds", "End Seconds", "Rank", "Score", "Relevance"),
)


def write_timeline(
    results: Sequence[SearchResult],
    files: Mapping[Kind, Path],
    *,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> Timeline:
    """Write the best moment of each hit, query after query, as a timeline for editors; each file whole or not at all.

    Moments whose video is missing, was replaced or cannot be read are left out (`failures` of what comes back). Without
    any moment nothing is written.

    Args:
        files: where to write each kind; none of them may exist.
        on_progress: called with how many videos were read, and of how many.

    Raises:
        UsageError: a file exists, or a package that it needs is not installed.
        StoreError: a file cannot be written.
    """
    check_files(files)
    timeline = timeline_of(results, on_progress=on_progress)
    if timeline.cuts:
        bodies = {kind: WRITERS[kind](timeline).encode("utf-8", "surrogateescape") for kind in files}
        check_files(files)  # reading the videos took a while
        for kind, body in bodies.items():
            write_whole(files[kind], body)
    return replace(timeline, notes=timeline.notes + edl_notes(timeline)) if "edl" in files else timeline


def check_files(files: Mapping[Kind, Path]) -> None:
    """Raises UsageError for a file that exists, and for one that needs a package that is not installed."""
    for kind, path in files.items():
        if os.path.lexists(path):
            raise UsageError(
                f"{path} exists",
                allowed=f"--{kind} writes a new file; a timeline of yours is never overwritten",
                to_do="move the file away or choose another name",
            )
    if "otio" in files and importlib.util.find_spec("opentimelineio") is None:
        raise UsageError(
            "OpenTimelineIO is not installed",
            allowed="--otio needs the extra editor; the other kinds of timeline do not",
            to_do='pip install "vtrcli[editor]"',
        )


def edl_text(timeline: Timeline) -> str:
    """CMX 3600, one event per cut, UTF-8. Source times count the source's own frames, record times the timeline's."""
    lines = [
        f"TITLE: {timeline.name}",
        f"FCM: {'DROP FRAME' if timeline.drop_frame else 'NON-DROP FRAME'}",
    ]
    for number, cut in enumerate(timeline.cuts, start=1):
        source, record = cut.source, cut.record_frame
        times = (
            source.timecode(cut.first_frame),
            source.timecode(cut.after_frame),
            timeline.timecode(record),
            timeline.timecode(record + cut.num_record_frames),
        )
        channels = "AA/V" if source.has_sound else "V"
        lines += [
            "",
            f"{number:03d}  {source.reel:8} {channels:5} C        {' '.join(times)}",
            f"* FROM CLIP NAME: {source.name}",
            f"* SOURCE FILE: {one_line(source.path)}",
            f"* OTIO REFERENCE FROM: {source.url}",  # no other reader minds it
            *(
                f"* LOC: {timeline.timecode(cut.record_span(mark, timeline.rate)[0])} {_MARKER_COLOR:7} {mark.text} "
                f"({mark.remark})"
                for mark in cut.marks
            ),
        ]
    return "\n".join(lines) + "\n"


def edl_notes(timeline: Timeline) -> tuple[str, ...]:
    """What an EDL cannot say of this timeline."""
    notes = []
    others = [source for source in timeline.sources if source.rate != timeline.rate]
    if others:
        names = ", ".join(f"{source.name} at {rate_name(source.rate)}" for source in others[:MAX_NAMED])
        more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
        notes.append(
            f"an EDL has one frame rate, here {rate_name(timeline.rate)}: source times of {names}{more} count their "
            "own frames; --otio, --fcpxml and --xml say so themselves"
        )
    if len(timeline.cuts) > MAX_EVENTS:
        notes.append(
            f"an EDL numbers {MAX_EVENTS} events, this one has {len(timeline.cuts):,}: some programs read no more; "
            "--otio, --fcpxml and --xml have no such limit"
        )
    return tuple(notes)


def otio_text(timeline: Timeline) -> str:
    """OpenTimelineIO's JSON: a video track and, where there is sound, an audio track; a marker on each clip has the
    query as its name. What else is known stands in `metadata["vtr"]`."""
    import opentimelineio as otio

    return str(otio.adapters.write_to_string(_otio_timeline(timeline), "otio_json")) + "\n"


def _otio_timeline(timeline: Timeline) -> Any:
    import opentimelineio as otio

    made = otio.schema.Timeline(
        name=timeline.name,
        global_start_time=_otio_time(timeline.start_frame, timeline.rate),
    )
    kinds = [otio.schema.TrackKind.Video]
    if any(source.has_sound for source in timeline.sources):
        kinds.append(otio.schema.TrackKind.Audio)
    for kind in kinds:
        track = otio.schema.Track(name=f"{kind} 1", kind=kind)
        is_sound = kind == otio.schema.TrackKind.Audio
        track.extend(
            otio.schema.Gap(duration=_otio_time(cut.num_record_frames, timeline.rate))
            if is_sound and not cut.source.has_sound
            else _otio_clip(cut, has_marker=not is_sound)
            for cut in timeline.cuts
        )
        made.tracks.append(track)
    return made


def _otio_clip(cut: Cut, *, has_marker: bool) -> Any:
    import opentimelineio as otio

    source = cut.source
    begin = _otio_time(source.start_frame + cut.first_frame, source.rate)
    media = otio.schema.ExternalReference(
        target_url=source.url,
        available_range=otio.opentime.TimeRange(
            _otio_time(source.start_frame, source.rate), _otio_time(source.num_frames, source.rate)
        ),
    )
    media.name = source.name
    hit = cut.hit
    about = {
        "query": cut.query,
        "record_frame": cut.record_frame,
        "rank": hit.rank,
        "score": None if math.isnan(hit.score) else round(float(hit.score), 4),
        "relevance": None if hit.relevance is None else round(float(hit.relevance), 2),
        "video_id": hit.video_id,
        "start_seconds": round(float(hit.moment.start_seconds), 3),
        "end_seconds": round(float(hit.moment.end_seconds), 3),
    }
    length = _otio_time(cut.after_frame - cut.first_frame, source.rate)
    clip = otio.schema.Clip(
        name=source.name,
        media_reference=media,
        source_range=otio.opentime.TimeRange(begin, length),
        metadata={"vtr": about, "cmx_3600": {"reel": source.reel}},
    )
    for mark in cut.marks if has_marker else ():
        start = _otio_time(source.start_frame + mark.first_frame, source.rate)
        marker = otio.schema.Marker(
            name=mark.text,
            marked_range=otio.opentime.TimeRange(start, _otio_time(1, source.rate)),
            color=_MARKER_COLOR,
            comment=mark.remark,
        )
        clip.markers.append(marker)
    return clip


def _otio_time(frames: int, rate: Fraction) -> Any:
    import opentimelineio as otio

    return otio.opentime.RationalTime(frames, float(rate))


def csv_text(timeline: Timeline) -> str:
    """A table with a row per marker: the marker on the timeline, then where it is in the source."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(_csv_row(timeline, cut, mark) for cut in timeline.cuts for mark in cut.marks)
    return file.getvalue()


def _csv_row(timeline: Timeline, cut: Cut, mark: Mark) -> tuple[object, ...]:
    source, hit = cut.source, cut.hit
    first, after = cut.record_span(mark, timeline.rate)
    length = timecode(after - first, timeline.rate, drop_frame=timeline.drop_frame)
    relevance = "" if hit.relevance is None else f"{hit.relevance:.2f}"
    return (
        *(mark.text, f"{mark.remark}, {source.name}"),
        *(timeline.timecode(first), timeline.timecode(after), length, "Comment"),
        *(source.path, source.reel),
        *(source.timecode(mark.first_frame), source.timecode(mark.after_frame)),
        *(rate_name(source.rate), mark.first_frame, mark.after_frame),
        *(f"{seconds:.3f}" for seconds in mark.seconds),
        *(hit.rank, "" if math.isnan(hit.score) else f"{hit.score:.4f}", relevance),
    )


WRITERS: dict[Kind, Callable[[Timeline], str]] = {
    "edl": edl_text,
    "otio": otio_text,
    "fcpxml": fcpxml_text,
    "xml": xmeml_text,
    "csv": csv_text,
}
