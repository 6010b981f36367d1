"""The data sets by name: what they are, which files they need, where researchers get them, what they must count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vtrcli.datasets import activitynet, beir, captions_file, didemo, lsmdc, msrvtt, msvd
from vtrcli.datasets.split import DatasetInfo, Split
from vtrcli.errors import InputError, UsageError


@dataclass(frozen=True)
class SplitCheck:
    """What `check_dataset` found for one split; None for a number that is not known."""

    split: str
    num_videos: int | None
    expected_videos: int | None
    num_captions: int | None
    expected_captions: int | None
    problem: str | None


_INFOS = (
    *msrvtt.INFOS,
    msvd.INFO,
    lsmdc.INFO,
    didemo.INFO,
    activitynet.INFO,
    beir.INFO,
    *captions_file.INFOS,
)
DATASETS: Mapping[str, DatasetInfo] = {info.name: info for info in _INFOS}


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
        if self._own:
            return self._own.splits
        has = self.info.has_split
        there = tuple(split for split in self.info.splits if has is None or has(self._path, split))
        return there or self.info.splits

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
