#!/usr/bin/env bash
# The same training in two processes (GPUs or machines with torchrun's options). Usage: several_processes.sh [FOLDER]
# The loss is that of one process at the same global batch.
set -euo pipefail
folder="${1:-demo}"
run="$(mktemp -d)/run"

torchrun --nproc-per-node 2 -m vtrcli train --store "$folder/store" --dataset csv --annotations "$folder" \
  --out "$run" --epochs 1 --batch-size 16 --device cpu
cat "$run/metrics.jsonl"
