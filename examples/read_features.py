"""Read a feature store with numpy and safetensors alone (docs/store-format.md). Usage: read_features.py [STORE]"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open

store = Path(sys.argv[1] if len(sys.argv) > 1 else "demo/store")
config = json.loads((store / "store.json").read_text())
print(f"features of {config['backbone']['name']}, {config['backbone']['dim']} dimensions")

features: dict[str, np.ndarray] = {}
for path in sorted((store / "shards").glob("[!.]*.safetensors")):  # later shards supersede earlier ones
    with safe_open(path, framework="numpy") as shard:
        videos = json.loads(shard.metadata()["videos"])
        offsets = shard.get_tensor("offsets")
        rows = shard.get_slice("features")
        for number, video in enumerate(videos):
            features[video["id"]] = rows[int(offsets[number]) : int(offsets[number + 1])]

for video_id, frames in list(sorted(features.items()))[:3]:
    mean = frames.astype(np.float32).mean(axis=0)
    print(f"{video_id}: {frames.shape[0]} frames, norm of their mean {np.linalg.norm(mean):.2f}")
print(f"{len(features)} videos")
