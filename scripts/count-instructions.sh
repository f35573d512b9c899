#!/usr/bin/env bash
# Counts the instructions that a step executes on emulated aarch64 CPUs, on one thread: exact numbers, the same in
# every run, from machines that nobody needs to own. (The time that emulation takes means nothing.)
#
#   scripts/count-instructions.sh [MODEL.gguf...]    counts, and prints CSV
#   ... --record [MODEL.gguf...]                     and puts them into benches/record/instructions.csv
#   ... --check                                      fails if one rose by more than 2 % against the record
#   ... --functions N SUBJECT decode|prefill CPU     which N functions they are
#
# Without models it counts matrix products of common formats in both layouts, and whole steps of a model in
# tests/golden, plain and packed. A decoding step is one token after ten others; a prefill is 64 tokens, counted per
# token. Needs what scripts/setup-cross.sh sets up.
set -euo pipefail
cd "$(dirname "$0")/.."

# NEON alone, in order and out of order; dot products; all that the emulator knows, int8 matrices among it.
CPUS=(cortex-a53 cortex-a72 cortex-a76 max)
STEPS=(decode prefill)
RECORD=benches/record/instructions.csv
HEADER=subject,step,cpu,level,instructions_per_token
# How much more than the record is a failure.
MOST_PERCENT=2

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

gcc -O2 -fPIC -shared benches/instructions/icount.c -o "$work/libicount.so"
# The program keeps its symbols, so that functions have names.
CARGO_PROFILE_RELEASE_STRIP=none cargo build --release --target aarch64-unknown-linux-gnu \
  -p stonechat-instructions --features count-markers
program="${CARGO_TARGET_DIR:-target}/aarch64-unknown-linux-gnu/release/instructions"

# emulate CPU SUBJECT STEP [OPTIONS OF THE PLUGIN]
emulate() {
  qemu-aarch64 -cpu "$1" -L /usr/aarch64-linux-gnu -plugin "$work/libicount.so${4:-}" -d plugin \
    "$program" "$2" "$3" 2>&1
}

# count_step SUBJECT STEP CPU: a line of CSV
count_step() {
  local output level tokens instructions
  output="$(emulate "$3" "$1" "$2")" || { echo "$output" >&2 && return 1; }
  level="$(sed -n 's/^level=\([^ ]*\) .*/\1/p' <<<"$output")"
  tokens="$(sed -n 's/.* tokens=\([0-9]*\) .*/\1/p' <<<"$output")"
  instructions="$(sed -n 's/^instructions=//p' <<<"$output")"
  echo "$(basename "$1"),$2,$3,$level,$((instructions / tokens))"
}

# count SUBJECT: a line for each step and CPU, all counted at the same time
count() {
  local step cpu job jobs=()
  for step in "${STEPS[@]}"; do
    for cpu in "${CPUS[@]}"; do
      count_step "$1" "$step" "$cpu" >"$work/line${#jobs[@]}" &
      jobs+=($!)
    done
  done
  for job in "${!jobs[@]}"; do
    wait "${jobs[job]}"
    cat "$work/line$job"
  done
}

# count_all [MODEL...]
count_all() {
  local subject format
  if [ $# -gt 0 ]; then
    for subject in "$@"; do count "$subject"; done
    return
  fi
  for format in Q8_0 Q4_0 Q4_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4; do
    count "$format:rows"
    count "$format:rows16"
  done
  subject=tests/golden/models/llama_k/llama_k-Q8_0.gguf
  count "$subject"
  cargo run -q --release -- pack "$subject" "$work/llama_k-Q8_0-packed.gguf" >&2
  count "$work/llama_k-Q8_0-packed.gguf"
}

# check COUNTED: compares it with the record
check() {
  awk -F, -v most="$MOST_PERCENT" -v record="$RECORD" '
    { key = $1 "," $2 "," $3 }
    FNR == NR { known[key] = $5; next }
    !(key in known) { printf "%s is not in %s: scripts/count-instructions.sh --record\n", key, record; bad = 1; next }
    $5 > known[key] * (1 + most / 100) {
      printf "%s takes %d instructions a token, %.1f %% more than the %d in %s\n",
        key, $5, 100 * ($5 / known[key] - 1), known[key], record
      bad = 1
    }
    END { exit bad }
  ' "$RECORD" "$1" >&2
}

# keep COUNTED: puts it into the record, in place of what is there of the same subjects
keep() {
  mkdir -p "$(dirname "$RECORD")"
  touch "$RECORD"
  {
    echo "$HEADER"
    awk -F, 'FNR == NR { counted[$1] = 1; next } FNR > 1 && !($1 in counted)' "$1" "$RECORD"
    cat "$1"
  } >"$work/record"
  cp "$work/record" "$RECORD"
}

case "${1:-}" in
--functions)
  [ $# -eq 5 ] || { echo "usage: --functions N SUBJECT decode|prefill CPU" >&2 && exit 2; }
  emulate "$5" "$3" "$4" ",functions=$2"
  ;;
--record)
  shift
  count_all "$@" | tee "$work/counted"
  keep "$work/counted"
  ;;
--check)
  [ $# -eq 1 ] || { echo "--check takes no models: it compares what ./test counts" >&2 && exit 2; }
  count_all >"$work/counted"
  check "$work/counted"
  echo "$(wc -l <"$work/counted") counts, none more than $MOST_PERCENT % above the record"
  ;;
-*)
  echo "unknown option $1; the head of scripts/count-instructions.sh lists them" >&2
  exit 2
  ;;
*)
  echo "$HEADER"
  count_all "$@"
  ;;
esac
