"""A timeline in the files that editors open: CMX 3600 EDL, OpenTimelineIO, Final Cut's FCPXML, and a table.

The .otio is written by OpenTimelineIO (extra `editor`). EDL and FCPXML are written here and read back by its adapters
in the tests: these adapters write every EDL of 29.97 frames per second as drop-frame, and FCPXML whose frames have no
length at 23.976, 29.97 and 59.94 and that fails at a name with a quote (tried with their version 1.0.0).
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from vtrcli.errors import UsageError
from vtrcli.files import write_whole
from vtrcli.searching.results import SearchResult
from vtrcli.searching.timeline import Cut, Source, Timeline, rate_name, timeline_of
from vtrcli.times import timecode

Kind = Literal["edl", "otio", "fcpxml", "csv"]
KINDS: tuple[Kind, ...] = ("edl", "otio", "fcpxml", "csv")

MAX_NAMED = 3  # files in a note
_MARKER_COLOR = "BLUE"
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # controls, lone surrogates, line and paragraph separators
# Frame rates that FCPXML knows by name.
_CONFORM_RATES = (
    "23.98",
    "24",
    "25",
    "29.97",
    "30",
    "47.95",
    "48",
    "50",
    "59.94",
    "60",
    "90",
    "100",
    "119.88",
    "120",
)
# 1.8: read by Final Cut Pro 10.4 and newer and by DaVinci Resolve; the file of an asset is an attribute of it.
_FCPXML_VERSION = "1.8"
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
        UsageError: a file exists, two kinds name one file, or one that needs OpenTimelineIO cannot have it.
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
    """Raises UsageError for a file that exists or is named twice, and for OTIO without OpenTimelineIO."""
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
            allowed="--otio needs the extra editor; --edl, --fcpxml and --csv do not",
            to_do='pip install "vtrcli[editor]"',
        )


def edl_text(timeline: Timeline) -> str:
    """CMX 3600, one event per cut, UTF-8. Source times count the source's own frames, record times the timeline's."""
    lines = [
        f"TITLE: {_one_line(timeline.name)}",
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
            f"* FROM CLIP NAME: {_one_line(source.name)}",
            f"* SOURCE FILE: {_one_line(source.path)}",
            f"* OTIO REFERENCE FROM: {_url(source)}",  # no other reader minds it
            f"* LOC: {times[2]} {_MARKER_COLOR:7} {_one_line(cut.query)} ({cut.remark})",
        ]
    return "\n".join(lines) + "\n"


def edl_notes(timeline: Timeline) -> tuple[str, ...]:
    """What an EDL cannot say of this timeline."""
    others = [source for source in timeline.sources if source.rate != timeline.rate]
    if not others:
        return ()
    names = ", ".join(f"{source.name} at {rate_name(source.rate)}" for source in others[:MAX_NAMED])
    more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
    return (
        f"an EDL has one frame rate, here {rate_name(timeline.rate)}: source times of {names}{more} count their own "
        "frames; --otio and --fcpxml say so themselves",
    )


def otio_text(timeline: Timeline) -> str:
    """OpenTimelineIO's JSON: a video track and, where there is sound, an audio track; a marker on each clip has the
    query as its name. What else is known stands in `metadata["vtr"]`."""
    import opentimelineio as otio

    made = otio.schema.Timeline(
        name=_one_line(timeline.name),
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
    return str(otio.adapters.write_to_string(made, "otio_json")) + "\n"


def _otio_clip(cut: Cut, *, has_marker: bool) -> Any:
    import opentimelineio as otio

    source = cut.source
    begin = _otio_time(source.start_frame + cut.first_frame, source.rate)
    media = otio.schema.ExternalReference(
        target_url=_url(source),
        available_range=otio.opentime.TimeRange(
            _otio_time(source.start_frame, source.rate), _otio_time(source.num_frames, source.rate)
        ),
    )
    media.name = _one_line(source.name)
    hit = cut.hit
    about = {
        "query": _one_line(cut.query),
        "rank": hit.rank,
        "score": round(float(hit.score), 4),
        "relevance": None if hit.relevance is None else round(float(hit.relevance), 2),
        "video_id": hit.video_id,
        "start_seconds": round(float(hit.moment.start_seconds), 3),
        "end_seconds": round(float(hit.moment.end_seconds), 3),
    }
    length = _otio_time(cut.after_frame - cut.first_frame, source.rate)
    clip = otio.schema.Clip(
        name=_one_line(source.name),
        media_reference=media,
        source_range=otio.opentime.TimeRange(begin, length),
        metadata={"vtr": about, "cmx_3600": {"reel": source.reel}},
    )
    if has_marker:
        marker = otio.schema.Marker(
            name=_one_line(cut.query),
            marked_range=otio.opentime.TimeRange(begin, _otio_time(1, source.rate)),
            color=_MARKER_COLOR,
            comment=cut.remark,
        )
        clip.markers.append(marker)
    return clip


def _otio_time(frames: int, rate: Fraction) -> Any:
    import opentimelineio as otio

    return otio.opentime.RationalTime(frames, float(rate))


def fcpxml_text(timeline: Timeline) -> str:
    """Final Cut Pro's XML: an event with the footage, in which the moments are ranges with the query as their keyword,
    and a project with the timeline, in which it is a marker."""
    root = ElementTree.Element("fcpxml", version=_FCPXML_VERSION)
    resources = _add(root, "resources")
    formats: dict[tuple[Fraction, int, int], str] = {}

    def format_of(rate: Fraction, source: Source) -> str:
        key = (rate, source.width, source.height)
        if key not in formats:
            formats[key] = f"r{len(resources) + 1}"
            size = {"width": str(source.width), "height": str(source.height)} if source.width else {}
            _add(resources, "format", id=formats[key], frameDuration=_seconds(1 / rate), **size)
        return formats[key]

    first = next((source for source in timeline.sources if source.rate == timeline.rate), timeline.sources[0])
    sequence_format = format_of(timeline.rate, first)
    assets = {
        source: _asset(resources, source, format_of(source.rate, source)) for source in timeline.sources
    }
    event = _add(root, "event", name=_one_line(timeline.name))
    for source in timeline.sources:
        clip = _add(
            event,
            "asset-clip",
            name=_one_line(source.name),
            ref=assets[source],
            tcFormat=_tc_format(source.drop_frame),
            **_whole_span(source),
        )
        for cut in timeline.cuts:
            if cut.source == source:
                span = {"start": _source_seconds(cut), "duration": _seconds(_length(cut))}
                about = {"value": _one_line(cut.query), "note": cut.remark}
                _add(clip, "keyword", **span, **about)
    project = _add(event, "project", name=_one_line(timeline.name))
    sequence = _add(
        project,
        "sequence",
        format=sequence_format,
        duration=_seconds(timeline.num_frames / timeline.rate),
        tcStart="0s",
        tcFormat=_tc_format(timeline.drop_frame),
    )
    spine = _add(sequence, "spine")
    for cut in timeline.cuts:
        _spine_clip(spine, cut, timeline.rate, assets[cut.source])
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'


def _add(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _asset(resources: ElementTree.Element, source: Source, format_id: str) -> str:
    """Adds a file to the resources; its id."""
    sound = {"hasAudio": "1", "audioSources": "1"} if source.has_sound else {}
    asset = _add(
        resources,
        "asset",
        id=f"r{len(resources) + 1}",
        name=_one_line(source.name),
        src=_url(source),
        hasVideo="1",
        format=format_id,
        **_whole_span(source),
        **sound,
    )
    return asset.attrib["id"]


def _whole_span(source: Source) -> dict[str, str]:
    start, length = source.start_frame / source.rate, source.num_frames / source.rate
    return {"start": _seconds(start), "duration": _seconds(length)}


def _spine_clip(spine: ElementTree.Element, cut: Cut, rate: Fraction, asset: str) -> None:
    source = cut.source
    clip = _add(
        spine,
        "asset-clip",
        ref=asset,
        name=_one_line(source.name),
        offset=_seconds(cut.record_frame / rate),
        start=_source_seconds(cut),
        duration=_seconds(cut.num_record_frames / rate),
        tcFormat=_tc_format(source.drop_frame),
    )
    if source.rate != rate:  # played at its own speed
        name = f"{float(source.rate):.2f}".removesuffix(".00")
        stated = {"srcFrameRate": name} if name in _CONFORM_RATES else {}
        _add(clip, "conform-rate", scaleEnabled="0", **stated)
    _add(
        clip,
        "marker",
        start=_source_seconds(cut),
        duration=_seconds(1 / source.rate),
        value=_one_line(cut.query),
        note=cut.remark,
    )


def _tc_format(drop_frame: bool) -> str:
    return "DF" if drop_frame else "NDF"


def _source_seconds(cut: Cut) -> str:
    return _seconds((cut.source.start_frame + cut.first_frame) / cut.source.rate)


def _length(cut: Cut) -> Fraction:
    return (cut.after_frame - cut.first_frame) / cut.source.rate


def _seconds(time: Fraction) -> str:
    """FCPXML's times: exact, `1001/30000s` or `12s`."""
    return f"{time}s"


def csv_text(timeline: Timeline) -> str:
    """A table with a row per cut: the marker on the timeline, then where it is in the source."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for cut in timeline.cuts:
        source, hit, record = cut.source, cut.hit, cut.record_frame
        length = timecode(cut.num_record_frames, timeline.rate, drop_frame=timeline.drop_frame)
        marker = (timeline.timecode(record), timeline.timecode(record + cut.num_record_frames), length)
        relevance = "" if hit.relevance is None else f"{hit.relevance:.2f}"
        writer.writerow(
            (
                *(_one_line(cut.query), f"{cut.remark}, {_one_line(source.name)}", *marker, "Comment"),
                *(source.path, source.reel),
                *(source.timecode(cut.first_frame), source.timecode(cut.after_frame)),
                *(rate_name(source.rate), cut.first_frame, cut.after_frame),
                *(f"{hit.moment.start_seconds:.3f}", f"{hit.moment.end_seconds:.3f}"),
                *(hit.rank, f"{hit.score:.4f}", relevance),
            )
        )
    return file.getvalue()


WRITERS: dict[Kind, Callable[[Timeline], str]] = {
    "edl": edl_text,
    "otio": otio_text,
    "fcpxml": fcpxml_text,
    "csv": csv_text,
}


def _url(source: Source) -> str:
    """file:///… with percent-encoding, also of names that are not UTF-8."""
    return Path(source.path).as_uri()


def _one_line(text: str) -> str:
    """Text without what begins a new line of a list or cannot stand in XML 1.0: that becomes blanks."""
    return "".join(" " if unicodedata.category(c) in _NO_TEXT or c in "\ufffe\uffff" else c for c in text)
