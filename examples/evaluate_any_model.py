"""Any model's scores from Python: plain and corrected, both directions. Usage: evaluate_any_model.py [MATRIX.npy]

Rows are texts, columns videos, the truth lies on the diagonal (see `Truth` for several captions per video).
"""

import sys

import numpy as np

from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.truth import Truth

if len(sys.argv) > 1:
    similarity = np.load(sys.argv[1])
else:  # a made-up model: noise, the truth a little higher, and some videos that are close to every text
    rng = np.random.default_rng(0)
    similarity = 0.2 + 0.03 * rng.standard_normal((500, 500)) + 0.08 * np.eye(500) + 0.02 * rng.random(500)
    similarity = similarity.astype(np.float32)

truth = Truth.diagonal(similarity.shape)
for method in ("none", "dsl", "sinkhorn"):
    result = evaluate(similarity, truth, method=method)
    for metrics in (result.t2v, result.v2t):
        interval = metrics.recall_ci95.get(1)  # none for fewer than 20 videos
        within = "({:.1f}-{:.1f})".format(*interval) if interval else ""
        seen = "all queries at once" if result.transductive else "one query at a time"
        print(f"{metrics.direction} {method:9} R@1 {metrics.recall[1]:5.1f} {within}  {seen}")
