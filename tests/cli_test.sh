#!/usr/bin/env bash
# The program as a user meets it: exit codes, what goes to which stream, determinism, pipes, Ctrl-C.
# Usage: cli_test.sh PATH_OF_DSV3 SOURCE_FOLDER
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
# run CODE ARGUMENTS...: standard input is empty unless redirected.
run() {
  local expected=$1 code=0
  shift
  command="dsv3 $*"
  "$dsv3" "$@" >"$out" 2>"$err" || code=$?
  [ $code -eq "$expected" ] || complain "$command: exit code $code instead of $expected"
}
out_has() { grep -qF -- "$1" "$out" || complain "$command: no '$1' on standard output"; }
err_has() { grep -qF -- "$1" "$err" || complain "$command: no '$1' on standard error"; }
out_empty() { [ ! -s "$out" ] || complain "$command: standard output is not empty"; }
err_empty() { [ ! -s "$err" ] || complain "$command: standard error is not empty"; }
# One line and no more than a hint.
err_short() { [ "$(wc -l <"$err")" -le 2 ] || complain "$command: a long message"; }
same() { cmp -s "$1" "$2" || complain "$3"; }

# ---- help and wrong usage
for arguments in --help "generate --help" "chat --help" "eval --help" "inspect --help" "verify --help" "forward --help"; do
  # shellcheck disable=SC2086
  run 0 $arguments
  err_empty
  out_has Example
done
run 0 --version
out_has "dsv3 "

wrong_usage() {
  local message=$1
  shift
  run 2 "$@" </dev/null
  out_empty
  err_has "dsv3: error: "
  err_has "$message"
  err_has --help
  err_short
}
wrong_usage "no command"
wrong_usage "did you mean 'generate'" genrate
wrong_usage "unknown option '--foo'" --foo
wrong_usage "did you mean '--temperature'" generate "$model" -p x --temprature 1
wrong_usage "MODEL is required" generate
wrong_usage "unexpected argument 'more'" inspect "$model" more
wrong_usage "--top-k" generate "$model" -p x --top-k many
wrong_usage "top_p is 3" generate "$model" -p x --top-p 3
wrong_usage "at least 0, found '-1'" generate "$model" -p x --seed -1
wrong_usage "--logprobs" generate "$model" -p x --json --logprobs -1
wrong_usage "excludes" generate "$model" -p x --ids 1
wrong_usage "17,4" generate "$model" --ids 1,x
wrong_usage "needs --json" generate "$model" -p x --logprobs 2
wrong_usage "'nope' is not available" generate "$model" -p x --kernels nope
wrong_usage "top_hh" generate "$model" -p x --set top_hh=1
wrong_usage "ID=VALUE" generate "$model" -p x --logit-bias 3
wrong_usage "exclude each other" generate "$model" -p x --greedy --sample

# ---- failures
failure() {
  local message=$1
  shift
  run 1 "$@" </dev/null
  err_has "dsv3: error: "
  err_has "$message"
}
failure "$work/none" generate "$work/none" -p x
failure config.json inspect "$work"
failure "expected the folder" generate "$model/model.safetensors" -p x
failure "outside the vocabulary" generate "$model" --ids 0,4096
failure "more than the context of 4" generate "$model" -p "Once upon a time there was a cat" --context 4
failure "$work/none" generate "$model" --prompt-file "$work/none"
echo '{"text": 1}' >"$work/bad.jsonl"
failure "bad.jsonl:1: expected" generate "$model" --prompts-file "$work/bad.jsonl"

# ---- text on standard output, and nothing else
run 0 generate "$model" -p "Once upon a time" --greedy -n 8
out_has ", there was a little girl named Lily"
err_empty
cp "$out" "$work/greedy"
echo "Once upon a time" >"$work/prompt"
run 0 generate "$model" --greedy -n 8 <"$work/prompt"
same "$out" "$work/greedy" "a prompt on standard input gives another text"
run 0 generate "$model" --greedy -n 8 --prompt-file "$work/prompt"
same "$out" "$work/greedy" "a prompt in a file gives another text"
run 0 generate "$model" -p "Once upon a time" --temperature 0 -n 8 --stats
same "$out" "$work/greedy" "temperature 0 is not greedy search, or --stats changes standard output"
err_has tokens/s
run 0 generate "$model" -p "" --greedy -n 8
out_has "Once upon a time"
run 0 generate "$model" -p "- a list" --greedy -n 2 --presence-penalty -0.5
run 0 generate "$model" -p "Once upon a time" --greedy --stop "little" --echo
[ "$(cat "$out")" = "Once upon a time, there was a " ] || complain "$command: text does not end before the stop string"
for variant in avx512 avx2 sse4 scalar; do
  DSV3_ISA=$variant "$dsv3" generate "$model" -p "Once upon a time" --greedy -n 8 >"$out" 2>"$err" &&
    same "$out" "$work/greedy" "kernels $variant give another text"
done

DSV3_ISA=mmx "$dsv3" generate "$model" -p "Once" >"$out" 2>"$err" && complain "an unknown DSV3_ISA is no error"
err_has "DSV3_ISA: kernel variant 'mmx' is not available here"
run 0 generate "$model" -p "Once upon a time" --greedy -n 8 --cpu-mask 0
same "$out" "$work/greedy" "another text on one processor"
run 2 generate "$model" -p "Once" --cpu-mask nine
err_has "expected a list such as 0-3,8 or a mask"

# ---- seeds
sample=(generate "$model" -p "One day" -n 30 --temperature 1)
run 0 "${sample[@]}" --seed 7
cp "$out" "$work/seed7"
run 0 "${sample[@]}" --seed 7 --threads 1
same "$out" "$work/seed7" "the same seed gives different texts"
run 0 "${sample[@]}" --seed 8
cmp -s "$out" "$work/seed7" && complain "different seeds give the same text"
run 0 "${sample[@]}" --stats
seed=$(awk '$1 == "seed" { print $2 }' "$err")
cp "$out" "$work/random"
run 0 "${sample[@]}" --seed "$seed"
same "$out" "$work/random" "the seed that --stats names does not repeat the text"

# ---- JSON: what is printed can be read again, as a line of --prompts-file
run 0 generate "$model" -p "One day" -n 3 --greedy --json --logprobs 2
err_empty
for key in prompt_ids text ids finish_reason logprobs top stats kernels; do out_has "\"$key\":"; done
cp "$out" "$work/line.jsonl"
printf '{"id": "b", "ids": [0, 5, 7]}\n\n' >>"$work/line.jsonl"
run 0 generate "$model" --prompts-file "$work/line.jsonl" -n 3 --greedy
out_has '"id":"b"'
[ "$(wc -l <"$out")" -eq 2 ] || complain "$command: not one line for each prompt"
text=$(grep -o '"text":"[^"]*"' "$work/line.jsonl")
out_has "$text"
run 0 inspect "$model" --json
sed 's/^{/{"ids": [1], /' "$out" >"$work/inspect.jsonl"
run 0 generate "$model" --prompts-file "$work/inspect.jsonl" -n 1
run 0 generate "$model" -p "One day" -n 5 --num-beams 3 --num-return-sequences 2
out_has "[2 of 2]"
run 0 generate "$model" -p "One day" --greedy --context 20 --json
out_has '"finish_reason":"length"'

# ---- pipes and full disks
"$dsv3" inspect "$model" --tensors 2>"$err" | head -n 1 >"$out"
[ "${PIPESTATUS[0]}" -eq 0 ] && [ ! -s "$err" ] || complain "inspect | head complains"
"$dsv3" generate "$model" -p "Once" --greedy -n 200 2>"$err" | head -c 5 >"$out"
[ "${PIPESTATUS[0]}" -eq 0 ] && [ ! -s "$err" ] || complain "generate | head complains"
if [ -w /dev/full ]; then
  "$dsv3" inspect "$model" >/dev/full 2>"$err"
  [ $? -eq 1 ] && grep -q "standard output" "$err" || complain "a full disk is not noticed"
fi

# ---- Ctrl-C, once text is coming (background jobs of a script ignore SIGINT unless told otherwise)
: >"$out"
if env --default-signal=INT true 2>/dev/null; then
  env --default-signal=INT "$dsv3" generate "$model" -p "Once" --set 'eos_token_id=[]' -n 500 \
    >"$out" 2>"$err" &
  process=$!
  for _ in $(seq 600); do
    [ -s "$out" ] && break
    sleep 0.05
  done
  kill -INT $process
  wait $process
  code=$?
  [ $code -eq 130 ] || complain "Ctrl-C: exit code $code instead of 130"
  grep -q tokens/s "$err" || complain "Ctrl-C: no statistics"
fi

# ---- chat, from a pipe
printf '%s\n' 'Tell me a story.' /tokens "/save $work/talk.json" 'And then?' >"$work/typed"
run 0 chat "$model" --seed 1 -n 20 --stats <"$work/typed"
err_has "of 512 tokens"
err_has "0 of them from the cache"
grep -qE '\[prompt [0-9]+ tokens, [1-9][0-9]* of them from the cache' "$err" ||
  complain "chat: the second turn read the first one again"
cp "$out" "$work/first"
printf '%s\n' 'Tell me a story.' 'And then?' >"$work/typed"
run 0 chat "$model" --seed 1 -n 20 <"$work/typed"
same "$out" "$work/first" "chat: the same questions and seed gave other answers"
printf '%s\n' /undo 'Hello' >"$work/typed"
run 0 chat "$model" --load "$work/talk.json" --greedy -n 5 <"$work/typed"
err_has "forgotten: Tell me a story."
printf '%s\n' /undo >"$work/typed"
run 1 chat "$model" <"$work/typed"
err_has "no question to go back to"
echo '/set temperature hot' >"$work/typed"
run 1 chat "$model" <"$work/typed"
err_has "temperature"
echo '{"messages": 3}' >"$work/bad.json"
run 1 chat "$model" --load "$work/bad.json" </dev/null
err_has "expected an object with the list 'messages'"

failure "--template-kwargs" chat "$model" --template-kwargs '{'
printf 'Tell\r\n/tokens\r\n' >"$work/typed"
run 0 chat "$model" -n 2 <"$work/typed"
err_has "of 512 tokens"
err_has "cut off by max_new_tokens 2: /set"
printf 'a\377\n' >"$work/typed"
run 1 chat "$model" -n 2 <"$work/typed"
err_has "not valid UTF-8"
printf 'no line end' >"$work/typed"
run 0 chat "$model" -n 2 <"$work/typed"
[ -s "$out" ] || complain "$command: a last line without an end is not answered"
echo 'Tell me' >"$work/typed"
run 0 chat "$model" --set 'eos_token_id=[]' --stats --context 300 <"$work/typed"
err_has "the context is full"
grep -qE 'answer 29[0-9] tokens' "$err" || complain "$command: something else than the context ended the answer"
mkdir "$work/base" && cp "$model"/*.json "$model"/*.safetensors "$work/base"
sed -i 's/"chat_template"/"no_template"/' "$work/base/tokenizer_config.json"
run 1 chat "$work/base" <"$work/typed"
err_has "a base model"
err_has "dsv3 generate"

# ---- reasoning in a pipe: a prompt that ends with <think>, and a model that never says </think>
printf '%s' "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}<think>
" >"$work/think.jinja"
run 0 chat "$model" -n 5 --template "$work/think.jinja" <"$work/typed"
[ "$(head -n 1 "$out")" = "<think>" ] && [ "$(tail -n 1 "$out")" = "</think>" ] ||
  complain "$command: reasoning is not marked"
run 0 chat "$model" -n 5 --template "$work/think.jinja" --hide-reasoning <"$work/typed"
out_empty
run 0 chat "$model" -n 5 --template "$work/think.jinja" --answer-format plain <"$work/typed"
grep -q think "$out" && complain "$command: --answer-format plain knows reasoning"
run 0 generate "$model" --chat -p "Tell me" -n 5 --template "$work/think.jinja" --json
out_has '"content":""'
grep -q '"reasoning":""' "$out" && complain "$command: reasoning is lost"

# ---- conversations from files
cat >"$work/messages.json" <<'END'
[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<｜begin▁of▁sentence｜>Hi <｜Assistant｜>"}]
END
marks_in_prompt() { # begins of sentence and of assistants' turns
  grep -o '"prompt_ids":\[[^]]*\]' "$out" | tr ',[]' '\n' | grep -cxE '0|4095'
}
run 0 generate "$model" --messages "$work/messages.json" -n 3 --greedy --json
[ "$(marks_in_prompt)" -eq 2 ] ||
  complain "$command: not one begin of sentence and one assistant in the prompt"
run 0 generate "$model" --messages "$work/messages.json" -n 3 --greedy --json --allow-special
[ "$(marks_in_prompt)" -eq 4 ] ||
  complain "$command: special tokens are not allowed"
run 2 generate "$model" --messages "$work/messages.json" -p x
run 2 generate "$model" -p x --tools "$work/messages.json"
err_has "needs --chat"
run 1 generate "$model" --chat -p x --tools "$work/talk.json"
err_has tools
echo '[{"type": "function", "function": {"name": "get_weather"}}]' >"$work/tools.json"
run 1 generate "$model" --chat -p x --tools "$work/tools.json"
err_has "does not tell the model of tools"
echo '{{ bos_token }}{{ tools | tojson }}{{ messages[0].content }}' >"$work/tools.jinja"
run 0 generate "$model" --chat -p x --tools "$work/tools.json" --template "$work/tools.jinja" -n 1 --json
out_has get_weather

# ---- a tokenizer of the tiktoken kind: a token for each byte
mkdir "$work/tiktoken" && cp "$model"/{config.json,model.safetensors} "$work/tiktoken"
for i in $(seq 0 255); do
  # shellcheck disable=SC2059
  printf "$(printf '\\%03o' "$i")" | base64 | sed "s/\$/ $i/"
done >"$work/tiktoken/tiktoken.model"
echo '{}' >"$work/tiktoken/tokenizer_config.json"
run 0 generate "$work/tiktoken" -p "Hi" --greedy -n 2 --json
out_has '"prompt_ids":[72,105]'

# ---- eval
echo "Once upon a time there was a little girl named Lily." >"$work/text"
run 0 eval "$model" "$work/text" --json
err_empty
for key in tokens windows window stride mean_cross_entropy perplexity bits_per_byte bytes; do out_has "\"$key\":"; done
out_has '"windows":1,'
: >"$work/empty"
failure "nothing to predict" eval "$model" "$work/empty"
failure "expected 1 to 32" eval "$model" "$work/text" --window 32 --stride 33
failure "expected 1 to 512" eval "$model" "$work/text" --window 513
failure "expected 32-bit integers" eval "$model" --ids "$work/text"
wrong_usage "give one of" eval "$model"
wrong_usage "give one of" eval "$model" "$work/text" --choices "$work/text"
printf '%s\n' '{"question": "Tom and his dog went to the", "choices": ["park", "why why"], "answer": 0}' \
  '{"question": "Once upon a", "choices": ["zebra", "time"], "answer": 1}' >"$work/choices.jsonl"
run 0 eval "$model" --choices "$work/choices.jsonl" --json
out_has '"questions":2,"accuracy":1.0,"accuracy_normalised":1.0'
run 0 eval "$model" --choices "$work/choices.jsonl" --details
out_has '"choice":1,'
echo '{"question": "x"}' >>"$work/choices.jsonl"
failure "choices.jsonl:3" eval "$model" --choices "$work/choices.jsonl"

# ---- inspect and verify
run 0 inspect "$model"
out_has "9,863,360"
run 0 inspect "$model/config.json"
out_has "parameters"
run 0 verify "$model"
out_has OK
run 0 verify "$model" --headers-only
golden=$root/tests/golden
run 0 verify "$golden/yarn_v5/model" --against "$golden/yarn_v5"
out_has "of the tolerance: ok"
failure "1 problem" verify "$golden/causal_basic/model" --against "$golden/router_negative_bias"
cp -r "$golden/fp8/model" "$work/damaged"
chmod -R u+w "$work/damaged"
shard=$(ls "$work"/damaged/*.safetensors | head -n 1)
header=$(od -An -t u8 -N 8 "$shard" | tr -d ' ')
printf '\377\377\377\377' | dd of="$shard" bs=1 seek=$((header + 8)) conv=notrunc status=none
failure "1 problem" verify "$work/damaged"
out_has "the first at"
run 0 verify "$work/damaged" --headers-only
truncate -s -10 "$shard"
failure "problem" verify "$work/damaged"

# ---- imatrix
run 0 imatrix --help
out_has Example
head -c 3000 "$root/README.md" >"$work/text"
run 0 imatrix "$model" "$work/text" --chunk 64 --chunks 4 -o "$work/four.gguf"
err_empty
out_has "4 of 64 tokens"
out_has "of 80 saw no token"
run 0 imatrix "$model" "$work/text" --chunk 64 --chunks 3 -o "$work/three.gguf"
run 0 imatrix "$model" "$work/text" --chunk 64 --chunks 1 --skip-chunks 3 --merge "$work/three.gguf" \
  -o "$work/rest.gguf" --show-statistics
out_has "4 of 64 tokens"
out_has "blk.5.ffn_down_exps.weight"
run 0 imatrix "$model" --ids "$model/valid_slice.bin" --chunks 1 --mtp --process-output -o "$work/mtp.gguf" \
  --show-statistics
out_has "blk.6.nextn.eh_proj.weight"
out_has "output.weight"
run 0 imatrix --merge "$work/three.gguf" --merge "$work/four.gguf" -o "$work/both.gguf"
out_has "7 of 64 tokens"
wrong_usage "give MODEL and TEXT" imatrix
wrong_usage "one of TEXT and --ids" imatrix "$model"
wrong_usage "--output or --show-statistics" imatrix --merge "$work/three.gguf"
wrong_usage "is what was to be read" imatrix "$model" "$work/text" -o "$work/text"
cp "$model/config.json" "$work/config.json"
wrong_usage "is something else" imatrix "$model" "$work/text" --chunk 64 -o "$work/config.json"
same "$model/config.json" "$work/config.json" "imatrix: a file that it was not to touch has changed"
cp "$root/src/quantization/testdata/tiny.gguf" "$work/model.gguf"
wrong_usage "is something else" imatrix --merge "$work/three.gguf" -o "$work/model.gguf"
run 0 imatrix "$model" "$work/text" --chunk 64 --chunks 4 -o "$work/three.gguf"
same "$work/three.gguf" "$work/four.gguf" "imatrix: an old importance matrix stayed, or the new one differs"
failure "cannot" imatrix "$model" "$work/text" -o "$work/no/such/folder/x.gguf"
failure "expected more than the 999 to skip" imatrix "$model" "$work/text" --skip-chunks 999
failure "expected 1 to 512" imatrix "$model" --ids "$model/valid_slice.bin" --chunk 513 -o "$work/x.gguf"
failure "no importance matrix" imatrix --merge "$root/src/quantization/testdata/tiny.gguf" --show-statistics

[ $failures -eq 0 ] && echo "all passed"
[ $failures -eq 0 ]
