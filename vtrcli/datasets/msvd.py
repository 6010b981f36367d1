"""MSVD: 1,970 videos with about 41 sentences each, so that one split has many more texts than videos.

Captions from captions_msvd.json, else from the pickle raw-captions.pkl, read so that it cannot run code or exhaust the
memory: only the opcodes that make dicts, lists, tuples and strings are let through; everything that can import or call
something (GLOBAL, REDUCE, BUILD, persistent ids, …) is refused before anything is unpickled.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path

from vtrcli.datasets.files import Json, find_file, read_bytes, read_text, read_video_ids, wrong
from vtrcli.datasets.split import SENTENCE_TOKENS, DatasetInfo, Split, build_split

CAPTIONS = ("captions_msvd.json", "raw-captions.pkl")
LISTS = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
# A small pickle can name one long list a million times; the real file has 0.6 million words.
MAX_CHARACTERS = 64 * 2**20
_ALLOWED = "dicts, lists, tuples and strings only; nothing in it is run"
_PLAIN_OPCODES = frozenset(
    """
    PROTO FRAME MARK STOP MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET
    EMPTY_DICT DICT SETITEM SETITEMS EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    """.split()
)


def load(folder: Path, split: str) -> Split:
    """One split, all sentences of each video. Raises InputError."""
    list_path = find_file(folder, LISTS[split])
    path = find_file(folder, *CAPTIONS)
    is_pickle = path.suffix == ".pkl"
    raw = Json(read_plain_pickle(path), path) if is_pickle else Json.parse(read_text(path), path)
    video_ids = read_video_ids(list_path)
    of_video = raw.members()
    captions: dict[str, list[str]] = {}
    room = MAX_CHARACTERS
    for video_id in video_ids:
        sentences = Json(_listed(of_video.get(video_id, [])), path, f"the entry of {video_id}").items()
        captions[video_id] = []
        for sentence in sentences:
            text = _text(sentence, path, f"a caption of {video_id}", room)
            room -= len(text)
            captions[video_id].append(text)
    return build_split(
        split, video_ids=video_ids, listed_in=list_path, captions_of=captions, captions_in=path
    )


def _text(sentence: object, path: Path, what: str, room: int) -> str:
    """A caption given as a string (JSON) or as its words (pickle), of fewer than `room` characters."""
    words = _listed(sentence)
    checked: list[str] = []
    for word in words if isinstance(words, list) else [words]:
        checked.append(Json(word, path, what).string())
        room -= 1 + len(checked[-1])
        if room < 0:
            raise wrong(path, "too much text", allowed=f"{MAX_CHARACTERS:,} characters in one split")
    return Json(" ".join(checked), path, what).text()


def _listed(value: object) -> object:
    """A pickle may hold tuples where JSON has lists."""
    return list(value) if isinstance(value, tuple) else value


def read_plain_pickle(path: Path) -> object:
    """The value in a pickle that holds dicts, lists, tuples and strings only, of Python 2 or 3.

    Raises:
        InputError: not a pickle, or one that holds anything else; the message names the opcode.
    """
    content = read_bytes(path)
    try:
        _refuse_other_opcodes(content, path)
        return _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    # What C and Python code raise for nonsense, such as appending to a string or a list as a key.
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError) as cause:
        raise wrong(path, f"not a pickle that can be read: {cause}", allowed=_ALLOWED) from cause


def _refuse_other_opcodes(content: bytes, path: Path) -> None:
    for opcode, argument, position in pickletools.genops(content):
        if opcode.name not in _PLAIN_OPCODES:
            detail = "" if argument is None else f" ({str(argument)[:60]})"
            what = f"byte {position} of the pickle is {opcode.name}{detail}"
            raise wrong(path, what, allowed=_ALLOWED, to_do="do not trust this file; use captions_msvd.json")
        # The unpickler makes its memo as long as the largest index: four bytes could ask for gigabytes.
        if "PUT" in opcode.name and isinstance(argument, int) and argument > len(content):
            raise wrong(path, f"byte {position} of the pickle asks for memo {argument}", allowed=_ALLOWED)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


INFO = DatasetInfo(
    name="msvd",
    load=load,
    summary="MSVD, about 41 sentences per video",
    files=(", ".join(LISTS.values()), "captions_msvd.json (or raw-captions.pkl)"),
    source="GitHub: layer6ai-labs/xpool (lists, JSON); ArrowLuo/CLIP4Clip (release v0.0: lists, pickle)",
    splits=("train", "val", "test"),
    num_videos={"train": 1200, "val": 100, "test": 670},
    num_captions={"train": 48_774, "val": 4290, "test": 27_763},
    max_tokens=SENTENCE_TOKENS,
)
