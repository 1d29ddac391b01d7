#!/usr/bin/env bash
# dsv3 bench on the story model: the forms of its output, and what it says to bad input.
# Usage: bench_test.sh PATH_OF_DSV3 SOURCE_FOLDER
set -u
dsv3=$1
root=$2
model=$root/models/stories
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/out
err=$work/err
failures=0
unset DSV3_ISA

complain() {
  echo "FAILED: $1"
  echo "--- standard output"; head -c 2000 "$out"
  echo "--- standard error"; head -c 2000 "$err"
  failures=$((failures + 1))
}
# run CODE ARGUMENTS...
run() {
  local expected=$1 code=0
  shift
  command="dsv3 bench $*"
  "$dsv3" bench "$@" >"$out" 2>"$err" </dev/null || code=$?
  [ $code -eq "$expected" ] || complain "$command: exit code $code instead of $expected"
}
out_has() { grep -qE -- "$1" "$out" || complain "$command: no '$1' on standard output"; }
err_has() { grep -qF -- "$1" "$err" || complain "$command: no '$1' on standard error"; }
# check PYTHON: with the parsed JSON as j
check() {
  command -v python3 >/dev/null || return 0
  python3 -c "
import json, sys
j = json.load(open(sys.argv[1]))
r = j['results']
assert $1, j" "$out" || complain "$command: not so: $1"
}

# ---- the table
run 0 -m "$model" -p 16 -n 4 -d 0,100 -b 1,3 -t 1,2 -r 2
[ ! -s "$err" ] || complain "$command: standard error is not empty"
out_has '^1 thread: reads [0-9.]+ GB/s from memory, float32 FMA [0-9.]+ TFLOP/s'
out_has '^2 threads: reads '
for test in 'pp16 +' 'tg4 +' 'tg4 x3 +' 'pp16 @ d100 +' 'tg4 @ d100 +' 'tg4 x3 @ d100'; do
  [ "$(grep -cE "^\| stories \| .* \| +[12] \| $test \| +[0-9.]+ \| +[0-9.]+ \.\. +[0-9.]+ \|" "$out")" -eq 2 ] ||
    complain "$command: not two rows of '$test'"
done
[ "$(grep '^|' "$out" | awk '{ print length }' | sort -u | wc -l)" -eq 1 ] ||
  complain "$command: rows of unequal length"

# ---- machine-readable forms
run 0 -m "$model" -p 16 -n 4 -r 3 -t 1 -o json
check "[x['test'] for x in r] == ['pp16', 'tg4']"
check "all(len(x['samples_ns']) == len(x['samples_ts']) == 3 for x in r)"
check "all(x['min_ts'] <= x['lower_quartile_ts'] <= x['median_ts'] <= x['max_ts'] for x in r)"
check "all(sorted(x['samples_ts'])[1] == x['median_ts'] for x in r)"
check "r[0]['n_prompt'] == 16 and r[1]['n_gen'] == 4 and r[0]['n_threads'] == 1"
check "j['limits'][0]['n_threads'] == 1 and j['limits'][0]['read_bytes_per_second'] > 0"
check "all(0 < x['read_share'] and 0 < x['peak_share'] for x in r)"
check "r[0]['model_n_params'] > 9e6 and r[0]['model_size'] > 19e6"
run 0 -m "$model" -p 0 -n 2 -r 1 -o json --no-limits --cache-dtype bfloat16 --profile
check "len(r) == 1 and r[0]['cache_type'] == 'BF16' and j['limits'] == [] and 'read_share' not in r[0]"
check "r[0]['profile_ns']['attention'] > 0 and sum(r[0]['profile_ns'].values()) > 0"
run 0 -m "$model" -m "$model" -p 8 -n 0 -r 1 -o csv --no-limits
[ "$(wc -l <"$out")" -eq 3 ] || complain "$command: not a header and two lines"
out_has '^model_filename,.*,n_threads,.*,median_ts'

# ---- where the time goes
run 0 -m "$model" -p 16 -n 0 -r 1 --no-limits --profile
out_has '^\| attention +\| +[0-9.]+ \| +[0-9.]+ % \| +[0-9.]+ \|'
out_has '^stories, pp16, .* a forward pass takes [0-9.]+ ms, '

# ---- without a file
for type in Q4_K_M F8_E4M3; do
  run 0 --random "$model/config.json" --type $type -p 8 -n 2 -r 1 --no-limits
  out_has "^\| stories $type \| "
done

# ---- mistakes
usage() {
  local message=$1
  shift
  run 2 "$@"
  err_has "$message"
}
failure() {
  local message=$1
  shift
  run 1 "$@"
  err_has "$message"
  [ ! -s "$out" ] || complain "$command: standard output is not empty"
}
usage "no model"
usage "-p: 'x' is no list of numbers" -m "$model" -p x
usage "-n: '8-4'" -m "$model" -n 8-4
usage "-b: '0': expected numbers of at least 1" -m "$model" -b 0
usage "-t: '0': expected numbers of at least 1" -m "$model" -t 0
usage "both 0" -m "$model" -p 0 -n 0
usage "xml" -m "$model" -o xml
usage "Q9" --random "$model" --type Q9
usage "did you mean '--n-depth'" -m "$model" --n-dept 4
failure "no such file" -m "$work/missing.gguf"
failure "expected the folder of a checkpoint or a GGUF file" -m "$root/README.md"
context=$(sed -n 's/.*"max_position_embeddings": *\([0-9]*\).*/\1/p' "$model/config.json")
failure "pp16 @ d$context needs $((context + 16)) tokens, the model's context has $context" \
  -m "$model" -p 16 -n 0 -d "$context"

[ $failures -eq 0 ] && echo "all passed"
exit $((failures > 0))
