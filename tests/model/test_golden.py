"""The real ViT-B/32 on a real video gives the features that other people published (only where both are at hand)."""

from __future__ import annotations

import pytest

from vtrcli.checking import compare_with_golden
from vtrcli.model.weight_care import list_models


def test_real_weights_give_the_published_features(test_data):
    if next(entry for entry in list_models() if entry.name == "ViT-B/32").state == "absent":
        pytest.skip("the weights of ViT-B/32 are not in ~/.cache/clip (vtr models pull ViT-B/32)")
    comparison = compare_with_golden(
        "ViT-B/32",
        video=test_data / "videos" / "natural" / "anet_v_GGSY1Qvo990.mp4",
        features=test_data / "features" / "v_GGSY1Qvo990_clip_vitb32_5fps.npy",
        fps=5,
    )
    assert comparison.num_rows == 90
    assert comparison.min_cosine > 0.99
