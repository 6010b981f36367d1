"""The data sets whose truth is moments, by name: which file holds a split, and how its layout is read.

The same names as in the registry of retrieval where the videos are the same; there a video is found, here a part of it.
Most are passed around in QVHighlights' layout; the layouts of their authors are read too. One's own are `csv` and
`jsonl`: captions.csv or captions.jsonl with `start` and `end`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vtrcli.datasets.captions_file import FILES as OWN_FILES
from vtrcli.datasets.captions_file import SPLITS, SPLITS_OF_UNSPLIT_ROWS, TEXT_KEYS, is_moment_row
from vtrcli.datasets.files import Json, find_file, json_lines, read_table, read_text, wrong
from vtrcli.datasets.moments import MomentRow, MomentTruth, build_truth, read_moment_truth
from vtrcli.errors import UsageError
from vtrcli.times import parse_seconds

START_KEYS, END_KEYS = ("start", "start_seconds"), ("end", "end_seconds")
_CHARADES_LINE = re.compile(r"(\S+) +(\S+) +(\S+) *##(.*)")


@dataclass(frozen=True)
class MomentSet:
    """A row of the table. `files`: per split, the names that its file may have, the published one first; `read` by the
    ending of the file that was found, QVHighlights' or TVR's layout where it is not named."""

    name: str
    summary: str
    files: Mapping[str, tuple[str, ...]]
    source: str
    read: Mapping[str, Callable[[Path], MomentTruth]]

    @property
    def default_split(self) -> str:
        """The one that results are published on and whose truth is public."""
        return next(iter(self.files))


def load_moments(name: str, annotations: Path, split: str | None = None) -> tuple[MomentTruth, str]:
    """The truth of one split, and the split's name.

    Args:
        annotations: the folder of the files, or the file itself.
        split: None: the one that results are published on; of one's own file `test`.

    Raises:
        UsageError: no such data set of moments, or no such split.
        InputError: a file is missing, unreadable or does not hold what it must.
    """
    if name in OWN_FILES:
        return _own(name, annotations, split or "test"), split or "test"
    found = MOMENT_SETS.get(name)
    if found is None:
        raise UsageError(
            f"no data set of moments is called {name!r}",
            allowed=f"one of {', '.join((*MOMENT_SETS, *OWN_FILES))}",
            to_do="moments of your own are read with csv or jsonl: see docs/moments.md",
        )
    split = split or found.default_split
    if split not in found.files:
        raise UsageError(
            f"{name} has no split {split!r} with moments",
            allowed=f"its splits are {', '.join(found.files)}",
            to_do="choose one of them with --split",
        )
    path = find_file(annotations, *found.files[split]) if annotations.is_dir() else annotations
    return found.read.get(path.suffix, read_moment_truth)(path), split


def read_truth(path: Path) -> MomentTruth:
    """A truth in a layout that needs no name: QVHighlights', TVR's, Charades-STA's text, own captions with times.

    Raises:
        InputError: unreadable, of none of these layouts, or it does not hold what it must.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        return _own("csv", path, "test")
    if path.suffix.lower() == ".txt":
        return _charades(path)
    first = next(json_lines(read_text(path), path), None)
    if first is not None and "video_id" in first.members() and not is_moment_row(first):
        return _own("jsonl", path, "test")
    return read_moment_truth(path)


def _activitynet(path: Path) -> MomentTruth:
    """ActivityNet Captions: per video its sentences, each with one span."""
    return build_truth(list(_sentences(Json.parse(read_text(path), path), unit=lambda video: 1.0)), path)


def _tacos(path: Path) -> MomentTruth:
    """TACoS as 2D-TAN and those after it have it: the spans are numbers of frames."""

    def frame_seconds(video: Json) -> float:
        fps = video["fps"].value
        if not isinstance(fps, (int, float)) or isinstance(fps, bool) or not 0 < fps < 1000:
            raise wrong(path, f"{video.what} has the fps {fps!r}", allowed="frames per second, above 0")
        return 1 / float(fps)

    return build_truth(list(_sentences(Json.parse(read_text(path), path), unit=frame_seconds)), path)


def _sentences(videos: Json, *, unit: Callable[[Json], float]) -> Iterator[MomentRow]:
    for name, value in videos.members().items():
        video = Json(value, videos.path, name)
        seconds, sentences, spans = unit(video), video["sentences"].items(), video["timestamps"].items()
        if len(sentences) != len(spans):
            what = f"{name} has {len(sentences)} sentences and {len(spans)} timestamps"
            raise wrong(videos.path, what, allowed="as many as sentences")
        length = video.members().get("duration", video.members().get("num_frames"))
        duration = length * seconds if isinstance(length, (int, float)) and length > 0 else None
        for number, (sentence, span) in enumerate(zip(sentences, spans, strict=True)):
            text = Json(sentence, videos.path, f"a sentence of {name}").text()
            yield MomentRow(
                f"{name}#{number}",
                text,
                name,
                duration,
                [_scaled(span, seconds)],
                f"sentence {number} of {name}",
            )


def _scaled(span: object, unit: float) -> object:
    if unit != 1.0 and isinstance(span, list):
        return [value * unit if isinstance(value, (int, float)) else value for value in span]
    return span


def _charades(path: Path) -> MomentTruth:
    """Charades-STA: `3MSZA 24.3 30.4##person turn a light on.` A span of no length, which the file has, is left out."""
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        found = _CHARADES_LINE.fullmatch(line.strip())
        times = [parse_seconds(text) for text in found.groups()[1:3]] if found else [None]
        if found is None or None in times:
            raise wrong(
                path,
                f"line {number} is {line[:60]!r}",
                allowed="a video, start and end in seconds, ## and the sentence",
            )
        text = Json(found[4], path, f"line {number}").text()
        windows = [times] if times[0] != times[1] else []
        rows.append(MomentRow(number, text, found[1], None, windows, f"line {number}"))
    return build_truth(rows, path)


def _own(name: str, annotations: Path, split: str) -> MomentTruth:
    """Rows of one video and one text are the windows of one query."""
    if split not in SPLITS:
        raise UsageError(
            f"{name} has no split {split!r}",
            allowed=f"its splits are {', '.join(SPLITS)}",
            to_do="choose one of them",
        )
    file = OWN_FILES["csv" if name == "csv" else "jsonl"]
    path = find_file(annotations, file) if annotations.is_dir() else annotations
    if name == "jsonl" and any(map(is_moment_row, json_lines(read_text(path), path))):
        return read_moment_truth(path)
    queries: dict[tuple[str, str], list[list[float]]] = {}
    where: dict[tuple[str, str], str] = {}
    durations: dict[str, float] = {}
    for entry in _own_rows(name, path):
        members = entry.members()
        if split not in ([members["split"]] if members.get("split") else SPLITS_OF_UNSPLIT_ROWS):
            continue
        key = next((key for key in TEXT_KEYS if key in members), TEXT_KEYS[0])
        query = entry["video_id"].string().strip(), entry[key].text()
        where.setdefault(query, entry.what)
        queries.setdefault(query, []).extend(_own_windows(entry))
        if members.get("duration"):
            durations[query[0]] = _seconds(entry, ("duration",))
    if not queries:
        raise wrong(
            path,
            f"no row belongs to the split {split}",
            allowed="rows with video_id, caption, start and end, and if wanted split and duration",
            to_do="choose another --split, or add rows",
        )
    numbers: dict[str, int] = {}
    rows = []
    for (video_id, text), windows in queries.items():
        number = numbers[video_id] = numbers.get(video_id, -1) + 1
        query_id, duration = f"{video_id}#{number}", durations.get(video_id)
        rows.append(MomentRow(query_id, text, video_id, duration, windows, where[video_id, text]))
    return build_truth(rows, path)


def _own_rows(name: str, path: Path) -> Iterable[Json]:
    if name == "csv":
        table = read_table(path, required=("video_id",))
        return (Json(dict(cells), path, f"line {line}") for line, cells in table.rows)
    return json_lines(read_text(path), path)


def _own_windows(entry: Json) -> list[list[float]]:
    """One of `start` and `end`, or all of `windows`."""
    if not {"windows", *START_KEYS} & entry.members().keys():
        raise wrong(
            entry.path,
            f"{entry.what} says not when: it has {', '.join(entry.members())}",
            allowed="rows with `start` and `end` in seconds or as 1:12; in jsonl also `windows`",
            to_do="add them, or name another truth with --truth",
        )
    if "windows" in entry.members():
        windows: list[list[float]] = entry["windows"].items()
        return windows
    return [[_seconds(entry, START_KEYS), _seconds(entry, END_KEYS)]]


def _seconds(entry: Json, keys: tuple[str, ...]) -> float:
    """72.5, or as people write it: 1:12.5."""
    key = next((key for key in keys if key in entry.members()), keys[0])
    value = entry[key].value
    seconds = parse_seconds(value.strip()) if isinstance(value, str) else value
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise wrong(
            entry.path,
            f"{key!r} of {entry.what} is {value!r}",
            allowed="seconds, M:SS or H:MM:SS",
            to_do="mend the row",
        )
    return float(seconds)


MOMENT_SETS: Mapping[str, MomentSet] = {
    found.name: found
    for found in (
        MomentSet(
            "qvhighlights",
            "QVHighlights: moments and highlights, 150 s each; val has 1,550 queries about 1,519 videos",
            {
                "val": ("highlight_val_release.jsonl", "qvhighlights_val.jsonl"),
                "train": ("highlight_train_release.jsonl", "qvhighlights_train.jsonl"),
            },
            "GitHub: jayleicn/moment_detr (data/)",
            {},
        ),
        MomentSet(
            "charades",
            "Charades-STA: 3,720 test queries about 1,334 videos of 30 s",
            {
                "test": ("charades_sta_test.txt", "charades_test_release.jsonl", "charades_test.jsonl"),
                "train": ("charades_sta_train.txt", "charades_train_release.jsonl", "charades_train.jsonl"),
            },
            "GitHub: jiyanggao/TALL (txt); line/lighthouse (jsonl)",
            {".txt": _charades},
        ),
        MomentSet(
            "activitynet",
            "ActivityNet Captions, sentence by sentence: 17,505 queries about 4,917 videos of two minutes (val_1)",
            {
                "test": ("val_1.json", "activitynet_val_release.jsonl", "activitynet_val.jsonl"),
                "train": ("train.json", "activitynet_train_release.jsonl", "activitynet_train.jsonl"),
            },
            "https://cs.stanford.edu/people/ranjaykrishna/densevid (json); GitHub: line/lighthouse (jsonl)",
            {".json": _activitynet},
        ),
        MomentSet(
            "tacos",
            "TACoS: 4,001 test queries about 25 cooking videos of six minutes",
            {
                "test": ("test.json", "tacos_test_release.jsonl", "tacos_test.jsonl"),
                "val": ("val.json", "tacos_val_release.jsonl", "tacos_val.jsonl"),
                "train": ("train.json", "tacos_train_release.jsonl", "tacos_train.jsonl"),
            },
            "GitHub: microsoft/VideoX (2D-TAN, json); line/lighthouse (jsonl)",
            {".json": _tacos},
        ),
        MomentSet(
            "tvr",
            "TVR: 10,895 val queries about 2,179 videos of 76 s; one corpus",
            {
                "val": ("tvr_val_release.jsonl", "tvr_val.jsonl"),
                "train": ("tvr_train_release.jsonl", "tvr_train.jsonl"),
            },
            "GitHub: jayleicn/TVRetrieval (data/)",
            {},
        ),
    )
}
