#!/usr/bin/env bash
# dsv3 train and dsv3 plot: a small run from its example to its pictures, signals, and what they say to bad input.
# Usage: train_test.sh PATH_OF_DSV3 SOURCE_FOLDER
set -u
dsv3=$1
root=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/out
err=$work/err
failures=0

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
  command="dsv3 $*"
  "$dsv3" "$@" >"$out" 2>"$err" </dev/null || code=$?
  [ $code -eq "$expected" ] || complain "$command: exit code $code instead of $expected"
}
out_has() { grep -qE -- "$1" "$out" || complain "$command: no '$1' on standard output"; }
err_has() { grep -qF -- "$1" "$err" || complain "$command: no '$1' on standard error"; }
one_error() {
  [ "$(grep -c . "$err")" -eq 1 ] || complain "$command: not one line on standard error"
  err_has "$1"
}

cd "$work" || exit 1
mkdir text
for i in $(seq 30); do sed -n "$((i * 3)),$((i * 3 + 40))p" "$root/README.md" >"text/$i.txt"; done
run 0 prepare text -o data --tokenizer "$root/models/stories" --valid-fraction 0.2
sed -e 's/"num_hidden_layers": 6/"num_hidden_layers": 2/' -e 's/"hidden_size": 256/"hidden_size": 64/' \
  -e 's/"n_routed_experts": 16/"n_routed_experts": 8/' "$root/models/stories/config.json" >config.json
cp "$root/models/stories/tokenizer.json" "$root/models/stories/tokenizer_config.json" .

# ---- the example is a configuration that runs
run 0 train --init train.json
run 1 train --init train.json
err_has 'train.json: exists already'
run 0 train --init
cmp -s "$out" train.json || complain "--init writes other things to standard output"
small=(train train.json --no-limits --set steps=6 --set batch.windows=2 --set data.sequence_length=32
  --set log.every=2 --set log.expert_load_every=2 --set validation.every=3 --set validation.windows=2
  --set samples.every=6 --set samples.tokens=4 --set checkpoints.every=3 --set threads=1)
run 0 "${small[@]}"
out_has '^step 1/6  loss 8\.[0-9]+  mtp 8\.[0-9]+  lr [0-9.e-]+  grad [0-9.]+  maxvio [0-9.]+  [0-9,]+ tokens/s$'
out_has '^step 6/6  validation loss '
out_has '^step 6/6  "Once upon a time'
for file in train.json metrics.csv validation.csv expert_load.jsonl samples.jsonl checkpoints/latest/model.safetensors \
    checkpoints/best/run.json checkpoints/latest/tokenizer.json; do
  [ -s "run/$file" ] || complain "run/$file is missing or empty"
done
run 0 generate run/checkpoints/latest -p "Once" -n 3
run 0 "${small[@]}"
err_has 'the run is finished'

# ---- MFU, and going on from a checkpoint of another run
run 0 train train.json --set run=second --set model.checkpoint=run/checkpoints/latest --set steps=2 --set batch.windows=2 \
  --set data.sequence_length=32
out_has 'MFU [0-9.]+ %'
err_has 'TFLOP/s'

# ---- pictures
run 0 plot run
for name in loss training experts; do
  [ "$(head -c 4 "run/plots/$name.svg")" = "<svg" ] || complain "no run/plots/$name.svg"
  [ "$(head -c 4 "run/plots/$name.png" | tail -c 3)" = PNG ] || complain "no run/plots/$name.png"
done
if command -v python3 >/dev/null; then
  # Decoded by zlib: the size that the header says, every row's filter, more than one colour.
  python3 - run/plots/*.png <<'END' || complain "a PNG that zlib cannot decode"
import struct, sys, zlib
for name in sys.argv[1:]:
    data = open(name, 'rb').read()
    at, idat = 8, b''
    while at < len(data):
        length, kind = struct.unpack('>I4s', data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack('>I', data[at + 8 + length:at + 12 + length])[0], name
        if kind == b'IHDR': width, height = struct.unpack('>II', body[:8])
        if kind == b'IDAT': idat += body
        at += 12 + length
    rows = zlib.decompress(idat)
    assert len(rows) == height * (1 + 3 * width), name
    assert all(rows[y * (1 + 3 * width)] == 2 for y in range(height)), name
    assert len(set(rows)) > 20, name
import xml.dom.minidom, glob
for name in glob.glob('run/plots/*.svg'): xml.dom.minidom.parse(name)
END
fi
run 1 plot nowhere
one_error 'nowhere: expected the folder of a run'

# ---- signals: save, leave, go on
long=("${small[@]}" --set run=third --set steps=100000 --set checkpoints.every=0)
for signal in INT TERM; do
  "$dsv3" "${long[@]}" >"$out" 2>"$err" </dev/null &
  pid=$!
  for _ in $(seq 200); do grep -q '^step' "$out" && break; sleep 0.1; done
  # A shell's background job ignores SIGINT unless the program says otherwise, which it does.
  kill -$signal $pid
  wait $pid
  code=$?
  [ $code -eq $((128 + $(kill -l $signal))) ] || complain "SIG$signal: exit code $code"
  command="train, SIG$signal"
  err_has 'stopped and saved'
done
err_has 'going on after step'

# ---- bad input: one line each, nothing harmed
before=$(find run -type f ! -name lock -exec cksum {} + | sort)
run 1 "${small[@]}" --set batch.window=3
one_error "--set: unknown field 'batch.window'; did you mean 'batch.windows'?"
run 1 train nothing.json
one_error 'nothing.json'
echo '{"steps": 3, // three' >bad.json
run 1 train bad.json
one_error 'bad.json: not valid JSON at line'
run 1 "${small[@]}" --set data.train=nowhere
one_error 'data.train: no such file or folder: nowhere'
run 1 "${small[@]}" --set data.sequence_length=64
one_error 'cannot go on with another configuration: data.sequence_length: expected 32, found 64'
sed 's/"num_hidden_layers": 2/"num_hidden_layers": 3/' config.json >other.json
run 1 "${small[@]}" --set model.config=other.json
one_error 'model.num_hidden_layers: expected 2, found 3'
run 1 "${small[@]}" --set steps=4
one_error 'the run is at step 6 already'
run 1 "${small[@]}" --set data.sequence_length=100000
one_error 'max_position_embeddings'
run 1 "${small[@]}" --set run=text
one_error 'text: expected the folder of a run'
printf 'DSV3TOKS damaged' >damaged.tokens
run 1 "${small[@]}" --set data.train=damaged.tokens
one_error 'damaged.tokens'
run 2 train
err_has 'no configuration'
[ "$before" = "$(find run -type f ! -name lock -exec cksum {} + | sort)" ] || complain "bad input changed the run"

# ---- a full disk: the checkpoint that is there stays, and the run goes on when there is room
if [ "$(id -u)" -eq 0 ] && mkdir small && mount -t tmpfs -o size=45m tmpfs small 2>/dev/null; then
  trap 'umount "$work/small" 2>/dev/null; rm -rf "$work"' EXIT
  full=("${small[@]}" --set run=small/run --set checkpoints.keep_last=1)
  run 0 "${full[@]}" --set steps=3
  head -c 15m /dev/zero >small/ballast 2>/dev/null
  run 1 "${full[@]}"
  err_has 'small/run'
  [ "$(readlink small/run/checkpoints/latest)" = step-00000003 ] || complain "a full disk: the checkpoint is gone"
  rm small/ballast
  run 0 "${full[@]}" --set steps=6
  err_has 'going on after step 3'
else
  echo "no tmpfs can be mounted here: a full disk is not tried"
fi

[ $failures -eq 0 ] && echo "all passed"
exit $((failures > 0))
