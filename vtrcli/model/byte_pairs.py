"""CLIP's byte-pair tokenizer, ready in a tenth of the time that its own classes take; no torch.

The splitting of words is clip-anytorch's: its `SimpleTokenizer.bpe` runs as it stands. Done here in its place is what
it does before the first word, which a query would pay every time: unfolding its vocabulary five times too far, a tuple
per merge, and importing ftfy and regex, which plain ASCII does not need. open_clip's tokenizer is the same class with
other special words, but its file imports torch and builds its tables twice, so it is made of this one too. The tests
compare both with their originals.
"""

from __future__ import annotations

import gzip
import html
import importlib
import importlib.util
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from vtrcli.errors import WeightsError

CLIP_SPECIALS = ("<|startoftext|>", "<|endoftext|>")
# 75 tokens never reach so far in written language; it bounds the tokenizer, whose time grows with the square of a
# word's length.
MAX_CHARACTERS = 4096
_NUM_MERGES = 49152 - 256 - 2  # of the 262,144 in the file; the same in `SimpleTokenizer`
_WORDS = r"|'s|'t|'re|'ve|'m|'ll|'d|{letters}+|{digits}|[^\s{others}]+"


class BytePairs:
    """Texts -> token ids without start and end.

    Args:
        specials: words of the vocabulary's end, the start and the end of a text first.
        clean: what is done to a text first; None: as CLIP does it.
    """

    def __init__(
        self, specials: Sequence[str] = CLIP_SPECIALS, *, clean: Callable[[str], str] | None = None
    ) -> None:
        self._module = clip_file("simple_tokenizer")
        self._specials, self._clean = specials, clean or self._as_clip
        merges = _merges(self._module.default_bpe())  # "first second", the most frequent first
        self._byte_encoder: dict[int, str] = self._module.bytes_to_unicode()
        letters = list(self._byte_encoder.values())
        whole = "\n".join(merges).replace(" ", "").split("\n")
        words = itertools.chain(letters, (f"{letter}</w>" for letter in letters), whole, specials)
        self.encoder: dict[str, int] = dict(zip(words, itertools.count(), strict=False))
        # What `SimpleTokenizer.bpe` looks into.
        self.bpe_ranks = _Ranks(zip(merges, range(len(merges)), strict=True))
        self.cache = {word: word for word in specials}
        self._ascii = re.compile(self._pattern("[a-z]", "[0-9]", "a-z0-9"), re.IGNORECASE)
        self._unicode: Any = None

    @property
    def start(self) -> int:
        """The id that begins a text."""
        return int(self.encoder[self._specials[0]])

    @property
    def end(self) -> int:
        """The id that ends a text."""
        return int(self.encoder[self._specials[1]])

    def encode(self, text: str) -> list[int]:
        """The ids of a text, as `SimpleTokenizer.encode` gives them."""
        ids: list[int] = []
        for word in self._split(self._clean(text)):
            letters = "".join(self._byte_encoder[byte] for byte in word.encode("utf-8"))
            split = self._module.SimpleTokenizer.bpe(self, letters).split(" ")
            ids.extend(self.encoder[part] for part in split)
        return ids

    def _split(self, text: str) -> list[str]:
        found: list[str]
        if text.isascii():
            found = self._ascii.findall(text)
            return found
        if self._unicode is None:
            regex: Any = importlib.import_module("regex")
            pattern = self._pattern(r"[\p{L}]", r"[\p{N}]", r"\p{L}\p{N}")
            self._unicode = regex.compile(pattern, regex.IGNORECASE)
        found = self._unicode.findall(text)
        return found

    def _pattern(self, letters: str, digits: str, others: str) -> str:
        specials = "|".join(map(re.escape, self._specials))
        return specials + _WORDS.format(letters=letters, digits=digits, others=others)

    def _as_clip(self, text: str) -> str:
        if is_plain(text):
            return " ".join(text.split()).lower()
        cleaned: str = self._module.whitespace_clean(self._module.basic_clean(text)).lower()
        return cleaned


class _Ranks(dict[str, int]):
    """ "first second" -> its rank, asked for by pairs: 49,000 strings are there sooner than as many tuples."""

    def get(self, pair: tuple[str, str], default: Any = None) -> Any:  # type: ignore[override]
        return super().get(f"{pair[0]} {pair[1]}", default)

    def __contains__(self, pair: object) -> bool:
        return isinstance(pair, tuple) and super().__contains__(" ".join(pair))


def _merges(path: str) -> list[str]:
    body = b""
    with gzip.open(path) as file:
        while body.count(b"\n") <= _NUM_MERGES and (part := file.read(1 << 17)):
            body += part
    return body.decode("utf-8").split("\n", _NUM_MERGES + 1)[1 : _NUM_MERGES + 1]


def is_plain(text: str) -> bool:
    """Whether ftfy and html leave a text as it is, whatever it says: printable ASCII without entities."""
    return text.isascii() and text.isprintable() and "&" not in text


def mended(text: str) -> str:
    """A text as both libraries mend it before anything else is done: what was decoded wrongly, entities, ends."""
    if not is_plain(text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return text.strip()


@cache
def clip_file(name: str) -> ModuleType:
    """`clip.model` or `clip.simple_tokenizer`, by its place on disk: the package's `__init__` never runs.

    What the tokenizer imports is imported when it is used. Raises WeightsError.
    """
    package = importlib.util.find_spec("clip")  # finds the folder, executes nothing
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"vtrcli.model.clip_{name}", path)
        if path.is_file() and spec and spec.loader:
            module = importlib.util.module_from_spec(spec)
            with _imported_later("ftfy", "regex") if name == "simple_tokenizer" else nullcontext():
                spec.loader.exec_module(module)
            return module
    raise WeightsError(
        f"clip/{name}.py was not found",
        allowed="the package clip-anytorch 2.6 or later must be installed",
        to_do="run: python -m pip install 'clip-anytorch>=2.6'",
    )


class _Later(ModuleType):
    """Stands where a module is imported; it is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _imported_later(*names: str) -> Iterator[None]:
    # importlib's LazyLoader does not help: an import statement asks a module for its spec, which loads it.
    absent = {name: _Later(name) for name in names if name not in sys.modules}
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
