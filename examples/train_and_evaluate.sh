#!/usr/bin/env bash
# Train on cached features and your own captions.csv, then evaluate. Usage: train_and_evaluate.sh [FOLDER]
# FOLDER holds captions.csv (video_id,caption,split) and a store of the videos, as `vtr demo` leaves them.
set -euo pipefail
folder="${1:-demo}"
run="$(mktemp -d)/run"

vtr datasets check csv --annotations "$folder"
vtr cache --store "$folder/store" --dataset csv --annotations "$folder"
vtr train --store "$folder/store" --dataset csv --annotations "$folder" --out "$run" \
  --epochs 5 --batch-size 64 --learning-rate 3e-3 --captions all --dsl-temperature 100
vtr eval --store "$folder/store" --dataset csv --annotations "$folder" --run "$run" --dsl --report "$run/report.html"
echo "curves and report: $run"
