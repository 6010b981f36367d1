"""What CLIP does to a picture before its image tower (no torch here), in the words that `store.json` records.

Resizing and cropping is done by the video decoder, scaling and normalising by the backbone.
"""

from __future__ import annotations

from typing import Any

# OpenAI's constants, for RGB in 0..1 (clip/clip.py of clip-anytorch).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

PREPROCESSING: dict[str, Any] = {
    "resize": "bicubic, shorter side to the input size",
    "crop": "center",
    "mean": list(MEAN),
    "std": list(STD),
}
