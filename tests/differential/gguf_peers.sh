#!/usr/bin/env bash
# Exchanges GGUF files with llama.cpp in both directions and compares perplexities:
#
#   tests/differential/gguf_peers.sh DSV3 MODEL TEXT [WINDOW]
#
# MODEL is a folder with safetensors and a tokenizer, TEXT a text of some 100,000 bytes or more. DSV3 writes BF16, Q8_0 and
# Q4_K_M files; llama-quantize makes Q8_0 and Q4_K_M of the BF16 one, llama-gguf-split cuts it, and both programs take
# the perplexity of every file over the same windows. Fails if one differs by more than 0.1 %.
#
# The tools of llama.cpp are taken from the PATH, or, if PEERS_ROOT is set, from that root folder by chroot.
set -euo pipefail
dsv3=$(realpath "$1") model=$(realpath "$2") text=$(realpath "$3") window=${4:-256}

root=${PEERS_ROOT:-}
work=$(mktemp -d "${root:-${TMPDIR:-/tmp}}/gguf-peers-XXXXXX")
trap 'rm -rf "$work"' EXIT
inside=${work#"$root"}
peer() { if [ -n "$root" ]; then chroot "$root" "$@"; else "$@"; fi; }
quietly() { "$@" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }; }

# llama-perplexity now and then ends without having written the last lines of its log: it is asked again then.
their_perplexity() {
  local attempt found
  for attempt in 1 2 3 4 5; do
    quietly peer llama-perplexity -m "$inside/$1" -f "$inside/text.txt" -c "$window" -t 2
    found=$(sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p' "$work/log")
    [ -z "$found" ] || { echo "$found"; return; }
  done
  echo "$1: llama-perplexity said nothing, in $attempt attempts" >&2
  return 1
}

cp "$text" "$work/text.txt"
for type in BF16 Q8_0 Q4_K_M; do
  quietly "$dsv3" quantize "$model" "$work/ours-$type.gguf" --type $type
done
quietly "$dsv3" quantize "$model" "$work/ours-whole.gguf" --type Q8_0 --kv-b whole --no-mtp
for type in Q8_0 Q4_K_M; do
  quietly peer llama-quantize "$inside/ours-BF16.gguf" "$inside/theirs-$type.gguf" $type
done
quietly peer llama-gguf-split --split --split-max-tensors 40 "$inside/ours-BF16.gguf" "$inside/split"

failed=0
printf '%-28s %12s %12s %10s\n' file dsv3 llama.cpp difference
for file in "$work"/ours-*.gguf "$work"/theirs-*.gguf "$work"/split-00001-of-*.gguf; do
  ours=$("$dsv3" eval "$file" "$work/text.txt" --window "$window" --second-halves --json |
    sed 's/.*"perplexity":\([0-9.]*\).*/\1/')
  theirs=$(their_perplexity "$(basename "$file")")
  awk -v a="$ours" -v b="$theirs" -v f="$(basename "$file")" 'BEGIN {
    d = (a / b - 1) * 100
    printf "%-28s %12.4f %12.4f %+9.3f%%\n", f, a, b, d
    exit !(d < 0.1 && d > -0.1) }' || failed=1
done
exit $failed
