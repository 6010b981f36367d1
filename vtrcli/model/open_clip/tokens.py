"""Texts -> token ids as the model of a folder in open_clip's layout was trained to read them (no torch here).

open_clip's own tokenizer and its ways to clean a text stand in a file that imports torch, so they are made again of the
same parts; the tests compare them.
"""

from __future__ import annotations

import importlib.util
import string
from typing import Any

from vtrcli.errors import WeightsError
from vtrcli.model.byte_pairs import MAX_CHARACTERS, BytePairs, mended
from vtrcli.model.open_clip.folder import INSTALL, ModelFolder, unusable

_SPECIALS = ("<start_of_text>", "<end_of_text>")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _whitespace(text: str) -> str:
    return " ".join(mended(text).split())


def _lower(text: str) -> str:
    return _whitespace(text).lower()


def _canonicalize(text: str) -> str:
    return " ".join(mended(text).replace("_", " ").translate(_WITHOUT_PUNCTUATION).lower().split())


_CLEAN = {"whitespace": _whitespace, "lower": _lower, "canonicalize": _canonicalize}


class _BytePairs:
    """open_clip's own tokenizer: CLIP's vocabulary; zeros behind the end."""

    def __init__(self, folder: ModelFolder) -> None:
        told = folder.text.get("tokenizer_kwargs") or {}
        try:
            specials = (*_SPECIALS, *(told.get("additional_special_tokens") or ()))
            self._tokenizer = BytePairs(specials, clean=_CLEAN[told.get("clean", "lower")])
        except (KeyError, TypeError, AttributeError) as error:
            raise unusable(folder.path, f"its tokenizer_kwargs cannot be used ({error})") from error

    def __call__(self, text: str, limit: int) -> tuple[list[int], bool]:
        """Ids with start and end, at most `limit`, and whether the text was cut."""
        ids = self._tokenizer.encode(text[:MAX_CHARACTERS])
        was_cut = len(ids) > limit - 2 or len(text) > MAX_CHARACTERS
        return [self._tokenizer.start, *ids[: limit - 2], self._tokenizer.end], was_cut

    def padded(self, ids: list[int], length: int) -> list[int]:
        """`ids` made as long as that."""
        return ids + [0] * (length - len(ids))


class _TokenizerJson:
    """The folder's tokenizer.json, read by the package tokenizers alone: importing transformers, which reads the same
    file by the same package, takes longer than a query."""

    def __init__(self, folder: ModelFolder) -> None:
        if importlib.util.find_spec("tokenizers") is None:
            raise WeightsError(
                f"the tokenizer of {folder.path} needs the package tokenizers, which is not installed",
                allowed="models with open_clip's own tokenizer do without",
                to_do=f"run: {INSTALL}",
            )
        from tokenizers import Tokenizer

        told, kwargs = folder.tokenizer_config, folder.text.get("tokenizer_kwargs") or {}
        try:
            self._clean = _CLEAN[kwargs.get("clean", "whitespace")]
            self._tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
            self._pad_id = self._id(told, "pad_token")
            self._zeroed = self._id(told, "sep_token") if kwargs.get("strip_sep_token") else None
        except Exception as error:  # tokenizers' own are bare Exceptions
            raise unusable(folder.path, f"its tokenizer cannot be loaded ({error})") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # Gemma's tokenizers pad in front where nothing else is told.
        side = "left" if str(told.get("tokenizer_class")).startswith("Gemma") else "right"
        self._pads_left = told.get("padding_side", side) == "left"

    def __call__(self, text: str, limit: int) -> tuple[list[int], bool]:
        """As `_BytePairs`; what stands at the ends is the tokenizer's own affair."""
        words = self._tokenizer.encode(self._clean(text[:MAX_CHARACTERS]), add_special_tokens=False)
        room = limit - self._tokenizer.num_special_tokens_to_add(False)
        was_cut = len(words) > room or len(text) > MAX_CHARACTERS
        words.truncate(max(room, 0))
        ids = self._tokenizer.post_process(words).ids
        return [0 if token == self._zeroed else token for token in ids], was_cut

    def padded(self, ids: list[int], length: int) -> list[int]:
        """As `_BytePairs.padded`."""
        padding = [self._pad_id] * (length - len(ids))
        return padding + ids if self._pads_left else ids + padding

    def _id(self, told: dict[str, Any], kind: str) -> int:
        token = told.get(kind)
        word = token.get("content") if isinstance(token, dict) else token
        number = self._tokenizer.token_to_id(word) if isinstance(word, str) else None
        if number is None:
            raise ValueError(f"its files tell no {kind}")
        return int(number)


class TextReader:
    """Texts -> token ids as the model of a folder was trained to read them."""

    def __init__(self, folder: ModelFolder) -> None:
        self._tokens = _TokenizerJson(folder) if folder.tokenizer_files else _BytePairs(folder)
        self._is_causal, self._context_length = folder.is_causal, folder.context_length
        vocabulary = int(folder.text.get("vocab_size", 49408))
        highest = max(self._tokens("a photo of a dog", folder.context_length)[0])
        if highest >= vocabulary:
            raise unusable(
                folder.path,
                f"its tokenizer does not fit: it gives token {highest} of a vocabulary of {vocabulary}",
            )

    def row(self, text: str, max_tokens: int | None = None) -> tuple[list[int], bool]:
        """Token ids, and whether the text was cut; as long as the context unless attention looks back alone."""
        context = self._context_length
        ids, was_cut = self._tokens(text, context if max_tokens is None else min(max_tokens, context))
        return ids if self._is_causal else self._tokens.padded(ids, context), was_cut

    def cut(self, text: str, max_tokens: int | None) -> str:
        """See `Backbone.cut_text`."""
        if not self.row(text, max_tokens)[1]:
            return text
        words = text[:MAX_CHARACTERS].split()
        low, high = 0, len(words)  # so many fit; so many might
        while low < high:
            middle = (low + high + 1) // 2
            if self.row(" ".join(words[:middle]), max_tokens)[1]:
                high = middle - 1
            else:
                low = middle
        return " ".join(words[:low])
