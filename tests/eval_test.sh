#!/usr/bin/env bash
# dsv3 eval on the story model's slice gives the cross-entropy of its expected.json, which is transformers'.
# Usage: eval_test.sh PATH_OF_DSV3 SOURCE_FOLDER
set -eu
stories=$2/models/stories
result=$("$1" eval "$stories" --ids "$stories/valid_slice.bin" --window 256 --stride 256 --json)
# The value of KEY in the object "valid" of a JSON text on several lines, or in one on a line.
expected=$(sed -n '/^ *"valid": {/,/}/ s/.*"mean_cross_entropy": \([0-9.]*\).*/\1/p' "$stories/expected.json")
found=$(sed -n 's/.*"mean_cross_entropy":\([0-9.]*\).*/\1/p' <<<"$result")
echo "expected $expected, found $found in $result"
grep -q '"tokens":49920,"windows":195,' <<<"$result"
awk -v a="$expected" -v b="$found" 'BEGIN { d = a - b; exit !(a > 0 && b > 0 && d * d <= 1e-8) }'
