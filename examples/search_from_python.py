"""Extract a folder and search it from Python. Usage: search_from_python.py [FOLDER [BACKBONE]]"""

import sys
import tempfile
from pathlib import Path

import vtrcli as vtr

folder = sys.argv[1] if len(sys.argv) > 1 else "demo/videos"
backbone = sys.argv[2] if len(sys.argv) > 2 else "demo"
store = Path(tempfile.mkdtemp()) / "store"

result = vtr.extract(folder, store, backbone=backbone, frames=12)
print(f"{result.num_extracted} videos, {result.num_frames} frames, {result.num_failed} failed")

first = next(iter(vtr.FeatureStore(store).videos))
queries = (
    "a red circle slides to the left",
    vtr.Query(text="a shape", plus=("a green arrow",), minus=("a sky",), weights=(1, 2, 0.5)),
    vtr.Query(like=(f"{first}@0:01",)),
)
short = vtr.Filters(max_duration_seconds=60)
for query in queries:  # for many, open the store once: vtr.Searcher(store)
    found = vtr.search(query, store, moments=True, top_k=3, filters=short)
    print(found.query)
    for hit in found.table():
        print(
            f"  {hit['score']:.2f}  {hit['start_seconds']:.1f}-{hit['end_seconds']:.1f} s  {hit['video_id']}"
        )
