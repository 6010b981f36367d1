#!/usr/bin/env bash
# The same training on several machines. On each of them: two_machines.sh FOLDER RUN NUMBER FIRST_ADDRESS [HOW_MANY]
# NUMBER is 0 on the first machine, 1 on the next. All see FOLDER and RUN under the same paths.
# Usage without a second machine: two_machines.sh [FOLDER], which plays both on this one.
set -euo pipefail
folder="${1:-demo}"
run="${2:-$(mktemp -d)/run}"
first="${4:-127.0.0.1}"
many="${5:-2}"
length=(--epochs 1 --batch-size 16)
[ -z "${RESUME:-}" ] || length=(--resume) # RESUME=1 on all of them, after one died: it goes on where it was saved

# Where machines have several networks: GLOO_SOCKET_IFNAME=eth0 (and NCCL_SOCKET_IFNAME with GPUs) names the one to use.
train() {
  torchrun --nnodes "$many" --node-rank "$1" --nproc-per-node "${GPUS:-1}" --master-addr "$first" --master-port "${PORT:-29400}" \
    -m vtrcli train --store "$folder/store" --dataset csv --annotations "$folder" --out "$run" \
    --device "${DEVICE:-cpu}" "${length[@]}"
}

if [ -n "${3:-}" ]; then
  train "$3"
else
  train 1 &
  train 0
  wait
fi
cat "$run/metrics.jsonl"
