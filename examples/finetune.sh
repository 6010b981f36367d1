#!/usr/bin/env bash
# Train CLIP and the heads together from kept frames, then evaluate. Usage: finetune.sh [FOLDER]
# The store in FOLDER must hold frames (`vtr extract --keep-frames`; the demo's does).
set -euo pipefail
folder="${1:-demo}"
work="$(mktemp -d)"
data=(--dataset csv --annotations "$folder")

vtr train --finetune --store "$folder/store" "${data[@]}" --out "$work/run" \
  --epochs 1 --batch-size 16 --learning-rate 1e-3 --backbone-learning-rate 1e-5 --captions one
# The tuned CLIP needs features of its own: from the kept frames, without decoding a video again.
vtr cache --store "$folder/store" --backbone "$work/run/backbone.safetensors" --out "$work/store"
vtr eval --store "$work/store" "${data[@]}" --run "$work/run" --dsl
