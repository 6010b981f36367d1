"""LSMDC 2016: movie clips. TAB-separated files without a header; a clip id may stand on several lines."""

from __future__ import annotations

from pathlib import Path

from vtrcli.datasets.files import Json, find_file, read_text, wrong
from vtrcli.datasets.split import SENTENCE_TOKENS, DatasetInfo, Split, build_split

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
NUM_COLUMNS = 6


def load(folder: Path, split: str) -> Split:
    """One split; the sentences of one clip id are captions of one video. Raises InputError."""
    path = find_file(folder, FILES[split])
    captions: dict[str, list[str]] = {}
    # Not a csv reader: quotes in sentences are quotes. Not splitlines(): see reading.read_lines.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != NUM_COLUMNS:
            raise wrong(
                path,
                f"line {number} has {len(cells)} columns",
                allowed="six, TAB-separated: clip id, start and end aligned, start and end extracted, sentence",
            )
        text = Json(cells[-1], path, f"the sentence of line {number}").text()
        captions.setdefault(cells[0].strip(), []).append(text)
    return build_split(
        split, video_ids=list(captions), listed_in=path, captions_of=captions, captions_in=path
    )


INFO = DatasetInfo(
    name="lsmdc",
    load=load,
    summary="LSMDC 2016, clips of movies; testing on the public 1,000 of the challenge",
    files=tuple(FILES.values()),
    source="https://sites.google.com/site/describingmovies (MPII gives access on request)",
    splits=("train", "val", "test"),
    # Releases differ in the training and validation files; only the test file is fixed.
    num_videos={"test": 1000},
    num_captions={"test": 1000},
    max_tokens=SENTENCE_TOKENS,
)
