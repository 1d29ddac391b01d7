#!/usr/bin/env bash
# dsv3 template as a user meets it: a filter of JSON lines, and errors that say where a template is wrong.
# Usage: template_test.sh PATH_OF_DSV3 SOURCE_FOLDER
set -u
dsv3=$1
model=$2/models/stories
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
# render TEMPLATE LINE...
render() {
  printf '%s' "$1" >"$work/template.jinja"
  shift
  printf '%s\n' "$@" | "$dsv3" template "$model" --template "$work/template.jinja" 2>&1
}

hi='{"messages": [{"role": "user", "content": "Hé"}]}'

# ---- what a template sees
expect "messages, tools and variables" '{"rendered":"user:Hé [{\"name\": \"f\"}] 3 True"}' "$(
  render '{% for m in messages %}{{ m.role }}:{{ m.content }} {% endfor %}{{ tools | tojson }} {{ x + 1 }} {{ add_generation_prompt }}' \
    '{"messages": [{"role": "user", "content": "Hé"}], "tools": [{"name": "f"}], "kwargs": {"x": 2, "add_generation_prompt": true}}')"
expect "the final message goes on" '{"rendered":"<Once"}' "$(
  render '{% for m in messages %}<{{ m.content }}>{% endfor %}' \
    '{"messages": [{"role": "assistant", "content": "Once"}], "kwargs": {"continue_final_message": true}}')"
expect "another field goes on" '{"rendered":"<Onc"}' "$(
  render '{% for m in messages %}<{{ m.thought }}>{% endfor %}' \
    '{"messages": [{"role": "assistant", "thought": "Onc"}], "kwargs": {"continue_final_message": "thought"}}')"
expect "nothing for no lines" "" "$(render 'x' "")"

# ---- a bad line is answered with an error, and the others all the same
found=$(render 'ok' 'x' '[]' '{}' '{"messages": 1}' '{"messages": [], "tools": 1}' '{"messages": [], "kwargs": 1}' \
  '{"messages": [{"n": 123456789012345678901}]}' '{"messages": []}')
expect "exit code with bad lines" 1 $?
expect "the good line" '{"rendered":"ok"}' "$(tail -n 1 <<<"$found")"
expect "errors" 7 "$(grep -c '^{"error":{"message":' <<<"$found")"
render 'ok' "$hi" >/dev/null
expect "exit code without" 0 $?

# ---- errors of templates
expect "an error while rendering" \
  '{"error":{"message":"chat template: '"'dict object' has no attribute 'x'"'\nat line 2, column 17\n  {{ messages[0].x.y }}\n                  ^","reason":"'"'dict object' has no attribute 'x'"'","phase":"render","line":2,"column":17,"raised_by_template":false}}' \
  "$(render $'a\n{{ messages[0].x.y }}' "$hi")"
has "a template's own error" '"reason":"No user: é","phase":"render","line":1,"column":19,"raised_by_template":true' \
  "$(render '{{ raise_exception("No user: é") }}' "$hi")"
expect "a template that does not parse" "dsv3: error: chat template: unknown tag 'endfor'; 'if' of line 2 needs 'elif' or 'else' or 'endif'
at line 3, column 4
  {% endfor %}
     ^" "$(render $'{% for m in messages %}\n{% if m %}\n{% endfor %}' "$hi")"
has "an unknown filter" "No filter named 'nope'" "$(render '{{ messages | nope }}' "$hi")"
has "an endless loop" '"reason":"more than 10000000 steps"' "$(
  render '{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}' "$hi")"
has "a template that is not there" "$work/none.jinja: cannot open" "$(
  "$dsv3" template "$model" --template "$work/none.jinja" 2>&1 </dev/null)"

[ $failures -eq 0 ] && echo "all passed"
exit $((failures > 0))
