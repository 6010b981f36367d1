"""The data sets by name: what they are, which files they need, where researchers get them, what they must count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vtrcli.datasets import activitynet, captions_file, didemo, lsmdc, msrvtt, msvd
from vtrcli.datasets.split import Split
from vtrcli.errors import InputError, UsageError

# What CLIP4Clip's family reads of a text (the `--max_words` of its scripts), start and end included.
SENTENCE_TOKENS, PARAGRAPH_TOKENS = 32, 64


@dataclass(frozen=True)
class DatasetInfo:
    """A row of `vtr datasets list`. `num_videos` and `num_captions` give the known count per split.

    `load` reads one split from the folder of its files; None: one's own captions.
    `max_tokens`: how much of a text the published protocol reads, start and end token included (CLIP4Clip's
    `max_words`, which counts both); None: as much as CLIP can.
    """

    name: str
    summary: str
    files: tuple[str, ...]
    source: str
    splits: tuple[str, ...]
    num_videos: Mapping[str, int]
    num_captions: Mapping[str, int]
    max_tokens: int | None = None
    load: Callable[[Path, str], Split] | None = None


@dataclass(frozen=True)
class SplitCheck:
    """What `check_dataset` found for one split; None for a number that is not known."""

    split: str
    num_videos: int | None
    expected_videos: int | None
    num_captions: int | None
    expected_captions: int | None
    problem: str | None


_MSRVTT_JSON = (
    "train_val_videodatainfo.json (or train_val_annotation.zip)",
    "test_videodatainfo.json (or test_videodatainfo.json.zip)",
    "or both in one: MSRVTT_data.json",
)
_MSRVTT_SOURCE = (
    "GitHub: WingsBrokenAngel/MSR-VTT-DataCleaning (the official JSON); foolwood/DRL, layer6ai-labs/xpool (the csv); "
    "ArrowLuo/CLIP4Clip (release v0.0, all of them)"
)
_LISTS = "train_list.txt, val_list.txt, test_list.txt"

_INFOS = (
    DatasetInfo(
        name="msrvtt-1ka",
        load=msrvtt.load_1ka,
        summary="MSR-VTT, 1k-A protocol: train on 9,000 videos, test on 1,000 (video, sentence) pairs",
        files=("MSRVTT_train.9k.csv", "MSRVTT_JSFUSION_test.csv", *_MSRVTT_JSON),
        source=_MSRVTT_SOURCE,
        splits=("train", "test"),
        num_videos={"train": 9000, "test": 1000},
        num_captions={"train": 180_000, "test": 1000},
        max_tokens=SENTENCE_TOKENS,
    ),
    DatasetInfo(
        name="msrvtt-7k",
        load=msrvtt.load_7k,
        summary="MSR-VTT, 7k protocol: train on the 7,010 official train and validation videos, test as 1k-A",
        files=("MSRVTT_train.7k.csv", "MSRVTT_JSFUSION_test.csv", _MSRVTT_JSON[0], "or MSRVTT_data.json"),
        source=_MSRVTT_SOURCE,
        splits=("train", "test"),
        num_videos={"train": 7010, "test": 1000},
        num_captions={"train": 140_200, "test": 1000},
        max_tokens=SENTENCE_TOKENS,
    ),
    DatasetInfo(
        name="msrvtt-full",
        load=msrvtt.load_full,
        summary="MSR-VTT, official splits, 20 sentences per video",
        files=_MSRVTT_JSON,
        source=_MSRVTT_SOURCE,
        splits=("train", "val", "test"),
        num_videos={"train": 6513, "val": 497, "test": 2990},
        num_captions={"train": 130_260, "val": 9940, "test": 59_800},
        max_tokens=SENTENCE_TOKENS,
    ),
    DatasetInfo(
        name="msvd",
        load=msvd.load,
        summary="MSVD, about 41 sentences per video",
        files=(_LISTS, "captions_msvd.json (or raw-captions.pkl)"),
        source="GitHub: layer6ai-labs/xpool (lists, JSON); ArrowLuo/CLIP4Clip (release v0.0: lists, pickle)",
        splits=("train", "val", "test"),
        num_videos={"train": 1200, "val": 100, "test": 670},
        num_captions={"train": 48_774, "val": 4290, "test": 27_763},
        max_tokens=SENTENCE_TOKENS,
    ),
    DatasetInfo(
        name="lsmdc",
        load=lsmdc.load,
        summary="LSMDC 2016, clips of movies; testing on the public 1,000 of the challenge",
        files=tuple(lsmdc.FILES.values()),
        source="https://sites.google.com/site/describingmovies (MPII gives access on request)",
        splits=("train", "val", "test"),
        # Releases differ in the training and validation files; only the test file is fixed.
        num_videos={"test": 1000},
        num_captions={"test": 1000},
        max_tokens=SENTENCE_TOKENS,
    ),
    DatasetInfo(
        name="didemo",
        load=didemo.load,
        summary="DiDeMo, paragraph retrieval: all descriptions of a video as one text",
        files=("train_data.json, val_data.json, test_data.json", _LISTS),
        source="GitHub: LisaAnne/LocalizingMoments (json); albanie/collaborative-experts, misc/datasets/didemo (lists)",
        splits=("train", "val", "test"),
        num_videos={"train": 8392, "val": 1065, "test": 1004},
        num_captions={"train": 8392, "val": 1065, "test": 1004},
        max_tokens=PARAGRAPH_TOKENS,
    ),
    DatasetInfo(
        name="activitynet",
        load=activitynet.load,
        summary="ActivityNet Captions, paragraph retrieval, testing on val_1 (`val1`)",
        files=tuple(activitynet.FILES.values()),
        source="https://cs.stanford.edu/people/ranjaykrishna/densevid; GitHub: v-iashin/BMT",
        splits=("train", "test"),
        num_videos={"train": 10_009, "test": 4917},
        num_captions={"train": 10_009, "test": 4917},
        max_tokens=PARAGRAPH_TOKENS,
    ),
    DatasetInfo(
        name="csv",
        summary="your own captions in a table",
        files=("captions.csv: video_id, caption, and if wanted split and category",),
        source="yourself; `vtr demo` writes one",
        splits=captions_file.SPLITS,
        num_videos={},
        num_captions={},
    ),
    DatasetInfo(
        name="jsonl",
        summary="your own captions, one JSON object per line",
        files=("captions.jsonl: video_id, caption, and if wanted split and category",),
        source="yourself",
        splits=captions_file.SPLITS,
        num_videos={},
        num_captions={},
    ),
)

DATASETS: Mapping[str, DatasetInfo] = {info.name: info for info in _INFOS}


def split_names(name: str) -> tuple[str, ...]:
    """The splits a data set can have. Raises UsageError: no such data set."""
    return _info(name).splits


def text_limit(name: str) -> int | None:
    """How many tokens of a text the data set's protocol reads; None: no limit. Raises UsageError: no such data set."""
    return _info(name).max_tokens


class Annotations:
    """A data set in its files as researchers have them; one's own file is read once, when it is needed.

    Args:
        path: the folder of the files named in `DATASETS`; for csv and jsonl also the file itself.

    Raises:
        UsageError: no such data set.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.info, self._path = _info(name), path
        own_format = next((format for format in captions_file.FILES if format == name), None)
        self._own = captions_file.OwnCaptions(path, format=own_format) if own_format else None

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of a benchmark, or those in one's own file. Raises InputError when that cannot be read."""
        return self._own.splits if self._own else self.info.splits

    def load(self, split: str) -> Split:
        """One split.

        Raises:
            UsageError: the data set has no such split.
            InputError: a file is missing, unreadable or does not hold what it must.
        """
        if split not in self.info.splits:
            raise UsageError(
                f"{self.info.name} has no split {split!r}",
                allowed=f"its splits are {', '.join(self.info.splits)}",
                to_do="choose one of them with --split",
            )
        if self._own:
            return self._own.load(split)
        assert self.info.load is not None  # every data set but one's own has it
        return self.info.load(self._path, split)


def load_split(name: str, annotations: str | Path, split: str) -> Split:
    """As `Annotations.load`."""
    return Annotations(name, Path(annotations)).load(split)


def check_dataset(name: str, annotations: Path) -> list[SplitCheck]:
    """Count every split and compare with what it should hold. One's own files are asked for the splits they have.

    Raises:
        UsageError: no such data set.
        InputError: one's own file cannot be read at all. Problems of a benchmark's split are in its row.
    """
    files = Annotations(name, annotations)
    return [_check_split(files, split) for split in files.splits]


def _check_split(files: Annotations, split: str) -> SplitCheck:
    expected = files.info.num_videos.get(split), files.info.num_captions.get(split)
    try:
        loaded = files.load(split)
    except InputError as error:
        return SplitCheck(split, None, expected[0], None, expected[1], str(error))
    counts = len(loaded.video_ids), len(loaded.captions)
    differs = any(wanted not in (None, count) for wanted, count in zip(expected, counts, strict=True))
    problem = "not the counts of the published split: results cannot be compared" if differs else None
    return SplitCheck(split, counts[0], expected[0], counts[1], expected[1], problem)


def _info(name: str) -> DatasetInfo:
    if name not in DATASETS:
        raise UsageError(
            f"no data set is called {name!r}",
            allowed=f"one of {', '.join(DATASETS)}",
            to_do="see `vtr datasets list`; captions of your own are read with csv or jsonl",
        )
    return DATASETS[name]
