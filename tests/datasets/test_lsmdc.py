"""LSMDC's TAB-separated files: six columns, no header, clip ids that repeat, quotes that are only quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.layouts import message
from vtrcli.datasets import lsmdc
from vtrcli.errors import InputError

FIRST = "9001_NO_SUCH_FILM_00.00.01.500-00.00.04.250"
SECOND = "9001_NO_SUCH_FILM_00.01.10.000-00.01.12.125"
TIMES = "00.00.01.500\t00.00.04.250\t00.00.01.000\t00.00.04.500"


def _write(folder: Path, text: str) -> Path:
    path = folder / "LSMDC16_annos_val.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_sentences_of_one_clip_are_captions_of_one_video(tmp_path: Path) -> None:
    rows = [(SECOND, 'He says "no.'), (FIRST, "SOMEONE waits."), (SECOND, "A door\u2028shuts.")]
    _write(tmp_path, "".join(f"{clip}\t{TIMES}\t{sentence}\r\n" for clip, sentence in rows))
    split = lsmdc.load(tmp_path, "val")
    assert split.video_ids == (SECOND, FIRST)
    assert [(caption.caption_id, caption.text) for caption in split.captions] == [
        (f"{SECOND}#0", 'He says "no.'),
        (f"{SECOND}#1", "A door shuts."),
        (f"{FIRST}#0", "SOMEONE waits."),
    ]


def test_another_number_of_columns_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, f"{FIRST}\t{TIMES}\tGood.\n{SECOND},{TIMES},Bad.\n")
    with pytest.raises(InputError) as caught:
        lsmdc.load(tmp_path, "val")
    assert message(caught) == (
        f"{path}: line 2 has 4 columns; six, TAB-separated: clip id, start and end aligned, start and end "
        "extracted, sentence; mend the file or get it again; `vtr datasets list` says where from"
    )


def test_a_line_without_a_sentence_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, f"{FIRST}\t{TIMES}\t \n")
    with pytest.raises(InputError, match="the sentence of line 1 is empty"):
        lsmdc.load(tmp_path, "val")


def test_an_empty_file_is_an_empty_split(tmp_path: Path) -> None:
    _write(tmp_path, "\n")
    with pytest.raises(InputError, match="no video in the split val"):
        lsmdc.load(tmp_path, "val")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no LSMDC16_challenge_1000_publictect\.csv; "):
        lsmdc.load(tmp_path, "test")
