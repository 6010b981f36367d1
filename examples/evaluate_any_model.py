"""Any model's scores from Python: plain and corrected, both directions. Usage: evaluate_any_model.py [MATRIX.npy]

Rows are texts, columns videos, the truth lies on the diagonal (`text_to_video=` for several captions per video).
"""

import sys

import numpy as np

import vtrcli as vtr

if len(sys.argv) > 1:
    similarity = np.load(sys.argv[1])
else:  # a made-up model: noise, the truth a little higher, and some videos that are close to every text
    rng = np.random.default_rng(0)
    similarity = 0.2 + 0.03 * rng.standard_normal((500, 500)) + 0.08 * np.eye(500) + 0.02 * rng.random(500)
    similarity = similarity.astype(np.float32)

for row in vtr.evaluate(similarity, methods=("dsl", "sinkhorn")).table():
    interval = row.get("R@1_ci95")  # none for fewer than 20 videos
    within = "({:.1f}-{:.1f})".format(*interval) if interval else ""
    seen = "all queries at once" if row["transductive"] else "one query at a time"
    print(f"{row['direction']} {row['method']:9} R@1 {row['R@1']:5.1f} {within}  {seen}")
