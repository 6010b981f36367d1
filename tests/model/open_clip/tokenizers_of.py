"""Tiny tokenizers of the kinds that open_clip's folders hold, as transformers' save_pretrained would leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

WORDS = "a red dog cat runs over the hill".split()
LETTERS = sorted(set("".join(WORDS)))


def _t5() -> tuple[Tokenizer, dict[str, Any]]:
    """SigLIP's: sentence pieces by their probability, an end, padded with ends."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0 - number / 10) for number, word in enumerate(WORDS)]
    tokenizer = Tokenizer(models.Unigram([*pieces, *((letter, -6.0) for letter in LETTERS)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    named = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>", "extra_ids": 0}
    return tokenizer, {"tokenizer_class": "T5Tokenizer", "additional_special_tokens": [], **named}


def _gemma() -> tuple[Tokenizer, dict[str, Any]]:
    """SigLIP 2's: byte pairs that fall back to bytes, an end; the side of the padding is told."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    words += [letter for letter in LETTERS if letter not in words] + ["re", "red", "do", "dog", "▁dog"]
    merges = [("r", "e"), ("re", "d"), ("d", "o"), ("do", "g"), ("▁", "dog")]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.add_special_tokens(words[:5])
    named = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")}
    told = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True}
    return tokenizer, {**told, **named, "padding_side": "right"}


def _bert() -> tuple[Tokenizer, dict[str, Any]]:
    """CLIPA's: word pieces, whose end becomes a zero (strip_sep_token)."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "h", "##i"]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )  # fmt: skip
    tokenizer.add_special_tokens(words[:5])
    named = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    return tokenizer, {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **named}


KINDS = {"t5": _t5, "gemma": _gemma, "bert": _bert}


def write_tokenizer(folder: Path, kind: str, **told: Any) -> int:
    """Two files in `folder`; returns the size of the vocabulary. `told` changes tokenizer_config.json."""
    tokenizer, config = KINDS[kind]()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {key: value for key, value in {**config, **told}.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return int(tokenizer.get_vocab_size())
