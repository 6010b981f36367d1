#!/usr/bin/env bash
#SBATCH --job-name=vtr-extract
#SBATCH --array=1-16
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --requeue
# One store, sixteen jobs: `sbatch slurm_array.sh VIDEOS STORE`, both on a file system that all of them see.
# Usage without Slurm: slurm_array.sh [VIDEOS] [STORE], one job that does it all.
# A job that was killed or requeued goes on where it was. When videos came, submit it again: only these are done.
set -euo pipefail
videos="${1:-demo/videos}"
store="${2:-$(mktemp -d)/store}"
backbone="${VTR_BACKBONE:-demo}"   # ViT-B/32 for your own videos

vtr extract "$videos" --store "$store" --backbone "$backbone" \
  --part "${SLURM_ARRAY_TASK_ID:-1}/${SLURM_ARRAY_TASK_COUNT:-1}" --workers "${SLURM_CPUS_PER_TASK:-2}"
