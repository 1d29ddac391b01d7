#!/usr/bin/env bash
# dsv3 tokenize and dsv3 detokenize as a user meets them: tables, and filters of JSON lines.
# Usage: tokenize_test.sh PATH_OF_DSV3 SOURCE_FOLDER
set -u
dsv3=$1
golden=$2/tests/golden-text
mini=$golden/mini-tokenizer.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

# expect NAME EXPECTED FOUND
expect() {
  [ "$2" = "$3" ] && return
  printf 'FAILED: %s\n--- expected\n%s\n--- found\n%s\n' "$1" "$2" "$3" | head -c 3000
  failures=$((failures + 1))
}
has() {
  [[ "$3" == *"$2"* ]] && return
  printf 'FAILED: %s: no "%s" in\n%s\n' "$1" "$2" "$3" | head -c 3000
  failures=$((failures + 1))
}

# ---- filters: every line of the reference's, there and back
lines=$work/lines.jsonl
grep '"variant": "mini"' "$golden/encode_variants.jsonl" >"$lines"
ids=$(sed 's/.*"ids": \(\[[^]]*\]\).*/{"ids":\1}/; s/, /,/g' "$lines")
expect "ids of the reference's lines" "$ids" "$("$dsv3" tokenize "$mini" <"$lines")"
back=$(sed 's/.*"ids": /{"ids": /; s/\], .*/]}/' "$lines" | "$dsv3" detokenize "$mini")
decoded=$(sed 's/.*"decoded": \("\([^"\\]\|\\.\)*"\).*/{"text":\1}/' "$lines" | "$dsv3" tokenize "$mini")
expect "texts of the reference's lines" "$decoded" "$(echo "$back" | "$dsv3" tokenize "$mini")"

expect "special tokens on demand" '{"text":"hi"}
{"text":"<｜end▁of▁sentence｜>hi"}
{"text":""}' "$(printf '%s\n' '{"ids": [1, 74, 75], "skip_special_tokens": true}' '{"ids": [1, 74, 75]}' \
  '{"ids": []}' | "$dsv3" detokenize "$mini")"
expect "texts of special tokens as text" '{"ids":[1]}
{"text":"<｜end▁of▁sentence｜>"}' "$(
  echo '{"text": "<｜end▁of▁sentence｜>"}' | "$dsv3" tokenize "$mini"
  echo '{"text": "<｜end▁of▁sentence｜>"}' | "$dsv3" tokenize "$mini" --plain |
    tee "$work/plain" | "$dsv3" detokenize "$mini")"
has "plain text is more than a token" ',' "$(cat "$work/plain")"

# ---- a bad line is answered with an error, and the others all the same
found=$(printf '%s\n' '{"text": 5}' 'x' '{"text": "hi", "add_special_tokens": 1}' '{"text": "hi"}' |
  "$dsv3" tokenize "$mini" 2>&1)
expect "exit code with bad lines" 1 $?
expect "the good line" '{"ids":[716]}' "$(tail -n 1 <<<"$found")"
expect "errors" 3 "$(grep -c '^{"error":{"message":"standard input:[123]: ' <<<"$found")"
found=$(echo '{"ids": ["a"]}' | "$dsv3" detokenize "$mini")
expect "exit code of a bad id" 1 $?
has "a bad id" 'expected token ids, found' "$found"

# ---- the table of a text
table=$("$dsv3" tokenize "$mini" $'on the<｜User｜>\xf0\x9f\x9a\x80\x01\n"')
has "a word" '" the"' "$table"
has "an added token" '"<｜User｜>"' "$table"
has "a control character" '"\u{1}"' "$table"
has "bytes of a cut character" '"\xf0"' "$table"
has "a line end" '"\n"' "$table"
has "the bytes" '20 74 68 65' "$table"
has "the sum" ' for 25 bytes' "$table"
expect "--ids" "716" "$("$dsv3" tokenize "$mini" hi --ids)"
expect "an empty text" "0 tokens for 0 bytes" "$("$dsv3" tokenize "$mini" "" | tail -n 1)"

[ $failures -eq 0 ] && echo "all passed"
exit $((failures > 0))
