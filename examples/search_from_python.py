"""Extract a folder and search it from Python. Usage: search_from_python.py [FOLDER [BACKBONE]]"""

import sys
import tempfile
from pathlib import Path

from vtrcli.extraction.run import extract
from vtrcli.index.filters import Filters
from vtrcli.searching.options import SearchOptions
from vtrcli.searching.query import Query
from vtrcli.searching.searcher import Searcher
from vtrcli.video.sampling import Sampling

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo/videos")
backbone = sys.argv[2] if len(sys.argv) > 2 else "demo"
store = Path(tempfile.mkdtemp()) / "store"

result = extract([folder], store=store, backbone=backbone, sampling=Sampling(num_frames=12))
print(f"{result.num_extracted} videos, {result.num_frames} frames, {result.num_failed} failed")

searcher = Searcher(store)  # opened once, asked as often as you like
queries = (
    Query(text="a red circle slides to the left"),
    Query(text="a shape", plus=("a green arrow",), minus=("a sky",), weights=(1, 2, 0.5)),
    Query(like=(f"{searcher.catalog.ids[0]}@0:01",)),
)
how = SearchOptions(top_k=3, moments=True, filters=Filters(max_duration_seconds=60))
for query in queries:
    print(query.describe())
    for hit in searcher.search(query, how).hits:
        print(
            f"  {hit.score:.2f}  {hit.moment.start_seconds:.1f}-{hit.moment.end_seconds:.1f} s  {hit.video_id}"
        )
