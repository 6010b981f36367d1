#!/usr/bin/env bash
# Moments as clips and as a page, a query bank, many queries. Usage: find_moments.sh [STORE [CAPTIONS]]
set -euo pipefail
store="${1:-demo/store}"
captions="${2:-demo/captions.csv}"
out="$(mktemp -d)"

# The best moments anywhere, as files and as a page with pictures.
vtr search "a red circle" --store "$store" --run none --moments -k 4 --clips "$out/clips" --gallery "$out/found.html"

# What looks like the first of them, but is in other files.
first="$(vtr search "a red circle" --store "$store" --run none -k 1 --json |
  python3 -c 'import json, sys; hit = json.load(sys.stdin)["results"][0]; print(hit["video_id"], hit["peak_seconds"], sep="@")')"
vtr search --like "$first" --store "$store" --run none -k 3

# A bank of captions gives each result a relevance, on one scale for all queries.
cut -d, -f2 "$captions" | tail -n +2 >"$out/captions.txt"
vtr bank build --texts "$out/captions.txt" --store "$store" --quiet
printf 'a green arrow\ntwo shapes meet\n' | vtr search --queries - --store "$store" --run none --min-relevance 2 |
  python3 -c 'import json, sys
for line in sys.stdin: print(json.loads(line)["query"], len(json.loads(line)["results"]))'

ls "$out/clips" "$out/found.html"
