#!/usr/bin/env bash
# A folder of videos from the command line. Usage: own_videos.sh [FOLDER [BACKBONE]]
set -euo pipefail
folder="${1:-demo/videos}"
backbone="${2:-demo}" # for your own videos: ViT-B/32, which is downloaded once
store="$(mktemp -d)/store"

# Decode and encode; run it again after adding files, and only those are done. Exit code 5: some could not be read.
vtr extract "$folder" --store "$store" --backbone "$backbone" --quiet || [ $? -eq 5 ]
vtr store info --store "$store"
vtr store failures --store "$store"

# Ask.
vtr search "a red circle slides to the left" --store "$store" -k 3

# The same as JSON, for other programs: the best video and where to look.
vtr search "a red circle slides to the left" --store "$store" -k 1 --json |
  python3 -c 'import json, sys; hit = json.load(sys.stdin)["results"][0]; print(hit["path"], hit["peak_seconds"])'
