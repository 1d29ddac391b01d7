#!/usr/bin/env bash
# dsv3 tokenizer-train and dsv3 prepare as a user meets them: from text to a tokenizer to token shards.
# Usage: training_data_test.sh PATH_OF_DSV3 SOURCE_FOLDER
set -u
dsv3=$1
stories=$2/models/stories
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

complain() {
  echo "FAILED: $1"
  echo "--- standard output"; head -c 2000 out
  echo "--- standard error"; head -c 2000 err
  failures=$((failures + 1))
}
# run CODE ARGUMENTS...
run() {
  local expected=$1 code=0
  shift
  command="dsv3 $*"
  "$dsv3" "$@" >out 2>err </dev/null || code=$?
  [ $code -eq "$expected" ] || complain "$command: exit code $code instead of $expected"
}
out_has() { grep -qF -- "$1" out || complain "$command: no '$1' on standard output"; }
err_has() { grep -qF -- "$1" err || complain "$command: no '$1' on standard error"; }
# One line of error, and nothing of the folder or of one with a temporary name.
refused() {
  local message=$1
  shift
  run 1 "$@"
  err_has "dsv3: error: "
  err_has "$message"
  [ "$(wc -l <err)" -eq 1 ] || complain "$command: more than one line"
  [ -z "$(find . -name 'new*')" ] || complain "$command: left $(find . -name 'new*' | head -n 3)"
}
# number FILE BYTE TYPE: an unsigned number in a file
number() { od -An -t "$3" -j "$2" -N "${3#u}" "$1" | tr -d ' '; }

for i in $(seq 200); do
  printf 'Story %d. The little owl saw %d mice.\nThen it slept.\n<|end|>\n' "$i" $((i * i))
done >stories.txt
printf '<|end|>\n' >>stories.txt # an empty document
mkdir folder
while read -r line; do
  case $line in Story*) printf '{"id": 1, "body": "%s\\nThen it slept."}\n' "$line" ;; esac
done <stories.txt >folder/stories.jsonl

# ---- help
for name in tokenizer-train prepare; do
  run 0 $name --help
  out_has Example
done

# ---- a tokenizer
run 0 tokenizer-train stories.txt -o tok --vocab-size 300 --document-separator '<|end|>' --threads 1
out_has "300 tokens"
out_has "in 200 documents"
run 0 tokenizer-train folder -o tok2 --vocab-size 300 --field body --threads 2
cmp -s tok/tokenizer.json tok2/tokenizer.json || complain "text and JSON lines, 1 and 2 threads: other tokenizers"
run 0 tokenize tok "<｜User｜>The little owl" --ids
[ "$(tr ',' '\n' <out | head -n 1)" = 298 ] || complain "<｜User｜> is not the last token but one"
echo '{"messages": [{"role": "user", "content": "hi"}]}' | "$dsv3" template tok >out 2>err
out_has '<｜User｜>hi'
run 0 tokenizer-train stories.txt -o little --vocab-size 5000 --min-frequency 100
err_has "warning: the text has pairs for"
refused "is there already" tokenizer-train stories.txt -o tok --vocab-size 300
refused "expected 264" tokenizer-train stories.txt -o new --vocab-size 263
refused "has no field 'text'" tokenizer-train folder -o new --vocab-size 300

# ---- shards
run 0 prepare stories.txt -o data --tokenizer tok --document-separator '<|end|>' --threads 1
out_has "200 documents"
out_has "1 empty document left out"
shard=data/shard-00000.tokens
[ "$(head -c 8 $shard)" = DSV3TOKS ] || complain "no magic"
[ "$(number $shard 12 u4)" = 2 ] || complain "not two bytes a token"
[ "$(number $shard 24 u8)" = 200 ] || complain "not 200 documents"
[ "$(number $shard 32 u8)" = 300 ] || complain "not a vocabulary of 300"
tokens=$(number $shard 16 u8)
out_has "shards    $(sed ':a;s/\B[0-9]\{3\}\>/,&/;ta' <<<"$tokens") tokens"
# The first document: BOS, what dsv3 tokenize says, EOS.
run 0 tokenize tok "$(head -n 2 stories.txt)" --ids
expected="0,$(cat out),1,0"
found=$(od -An -v -t u2 -w2 -j 64 -N $((2 * ($(tr -cd ',' <out | wc -c) + 4))) $shard | tr -d ' ' | paste -sd,)
[ "$expected" = "$found" ] || complain "first document: expected $expected, found $found"

run 0 prepare folder -o data2 --tokenizer tok --field body --threads 2
cmp -s $shard data2/shard-00000.tokens || complain "text and JSON lines, 1 and 2 threads: other shards"
"$dsv3" prepare /dev/stdin --jsonl -o data3 --tokenizer tok --field body <folder/stories.jsonl >out 2>err
cmp -s $shard data3/shard-00000.tokens || complain "from a pipe: other shards"
run 0 prepare folder -o split --tokenizer tok --field body --valid-fraction 0.2 --shard-tokens 1000 \
  --fim-rate 0.5 --seed 3
[ -f split/train/shard-00001.tokens ] && [ -f split/valid/shard-00000.tokens ] || complain "no train and valid"
out_has "fim "
run 0 prepare folder -o split2 --tokenizer tok --field body --valid-fraction 0.2 --shard-tokens 1000 \
  --fim-rate 0.5 --seed 3 --threads 1
diff -r split split2 >/dev/null || complain "not the same for the same seed"

# ---- damage is found by reading all
run 0 verify split/train
out_has OK
cp -r data damaged
printf '\1' | dd of=damaged/shard-00000.tokens bs=1 seek=100 conv=notrunc status=none
refused "damaged/shard-00000.tokens: damaged" verify damaged

# ---- errors
printf 'good\nbad \xff\n' >bad.txt
printf '{"text": "a"}\n{"text": \n' >bad.jsonl
printf '{"text": "a"}\n{"txt": "a"}\n' >other.jsonl
refused "bad.txt:2: not valid UTF-8" prepare stories.txt bad.txt -o new --tokenizer tok
refused "bad.jsonl:2: not valid JSON" prepare bad.jsonl -o new --tokenizer tok
refused "other.jsonl:2: the object has no field 'text'" prepare other.jsonl -o new --tokenizer tok
refused "there is no such file" prepare absent.txt -o new --tokenizer tok
refused "data: exists and is not an empty folder" prepare stories.txt -o data --tokenizer tok
refused "cannot create" prepare stories.txt -o no/such/new --tokenizer tok
refused "has no token '<｜fim▁begin｜>'" prepare stories.txt -o new --tokenizer "$stories" --fim-rate 0.1
refused "no beginning of text" prepare stories.txt -o new --tokenizer tok/tokenizer.json
# A file that may not grow is as a full disk.
(
  trap '' XFSZ
  ulimit -f 4
  refused "cannot write: File too large" prepare stories.txt -o new --tokenizer tok --document-separator '<|end|>'
  refused "cannot write: File too large" tokenizer-train stories.txt -o new --vocab-size 300
  exit $failures
)
failures=$?

[ $failures -eq 0 ] && echo "all passed"
exit $((failures > 0))
