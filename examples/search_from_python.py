"""Extract a folder and search it from Python. Usage: search_from_python.py [FOLDER [BACKBONE]]"""

import sys
import tempfile
from pathlib import Path

from vtrcli.extraction.run import extract
from vtrcli.searching.run import search
from vtrcli.video.sampling import Sampling

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo/videos")
backbone = sys.argv[2] if len(sys.argv) > 2 else "demo"
store = Path(tempfile.mkdtemp()) / "store"

result = extract([folder], store=store, backbone=backbone, sampling=Sampling(num_frames=12))
print(f"{result.num_extracted} videos, {result.num_frames} frames, {result.num_failed} failed")

for query in ("a red circle slides to the left", "two shapes meet"):
    print(query)
    for hit in search(query, store=store, top_k=3).hits:
        moment = hit.moment
        print(f"  {hit.score:.2f}  {moment.start_seconds:.1f}-{moment.end_seconds:.1f} s  {hit.video_id}")
