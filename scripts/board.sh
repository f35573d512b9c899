#!/usr/bin/env bash
# Boots Stonechat on boards without an operating system, in QEMU, types the beginning of a story into the serial port, and
# compares what comes out with what the program says on this machine: the hash of the logits, and every word. Nobody need
# be there; it ends with 0 if all is the same, and after a time limit in any case.
#
#   scripts/board.sh cortex-m [PROMPT]    Cortex-M4, M7 and M33; flash, RAM and instructions of a token
#   scripts/board.sh pi3 [PROMPT]         Raspberry Pi 3, four cores
#   scripts/board.sh pi4 [PROMPT]         Raspberry Pi 4, the same image; ends with 3 where no emulator has that board
#
# STONECHAT names the program to compare with (by default it is built), PROFILE=release the image as it goes to a board.
set -euo pipefail
cd "$(dirname "$0")/.."

SECONDS_AT_MOST="${SECONDS_AT_MOST:-120}"
PROFILE="${PROFILE:-dev}"
MODEL="$PWD/models/tiny/tiny-Q8_0.gguf"
CONTEXT=256
TOKENS=40

[ -z "${CARGO_TARGET_DIR:-}" ] || CARGO_TARGET_DIR="$(realpath -m "$CARGO_TARGET_DIR")"
output="$(mktemp)" errors="$(mktemp)"
trap 'rm -f "$output" "$errors"' EXIT

board="${1:-}"
prompt="${2:-Once upon a time}"

stonechat() { if [ -n "${STONECHAT:-}" ]; then "$STONECHAT" "$@"; else cargo run --quiet --release -- "$@"; fi; }

# build FOLDER TARGET [CARGO-ARGUMENTS...]: the image; prints its path.
build() {
  local folder="targets/$1" name
  (cd "$folder" && cargo build --quiet --profile "$PROFILE" --target "${@:2}") >&2
  name="$(sed -n 's/^name = "\(.*\)"/\1/p' "$folder/Cargo.toml")"
  local out="${CARGO_TARGET_DIR:-target/$([ "$1" = cortex-m ] && echo cortex-m || echo raspberry-pi)}"
  echo "$out/$2/${PROFILE/dev/debug}/$name"
}

# type_lines WORDS: hands them out once the board asks for a line; what comes earlier, a UART that is being set up may drop.
type_lines() {
  local tries
  for ((tries = 0; tries < SECONDS_AT_MOST * 10; tries++)); do
    ! grep -q '^> ' "$output" || break
    sleep 0.1
  done
  printf '%b' "$1"
}

# told NAME QEMU...: boots, types, compares. What came through the serial port is left in $shown.
told() {
  local name=$1 started=$SECONDS status=0
  shift
  : >"$output"
  type_lines "/n $TOKENS\r${prompt//\\/\\\\}\r\x04" |
    timeout "$SECONDS_AT_MOST" "$@" -display none -serial stdio -monitor none >"$output" 2>"$errors" || status=$?
  shown="$(tr -d '\r' <"$output")"
  echo "== $name, $((SECONDS - started)) s"
  echo "$shown"
  [ "$status" -eq 0 ] || {
    echo "$name: the emulator ended with $status (124: after $SECONDS_AT_MOST s); it says: $(<"$errors")" >&2
    return 1
  }
  local hash story
  hash="$(sed -n 's/^# logits //p' <<<"$shown")"
  [ "$hash" = "$expected_hash" ] || { echo "$name: the logits hash to $hash, here to $expected_hash" >&2 && return 1; }
  # From the echo of the prompt to the line with the hash.
  story="$(awk -v echo="> $prompt" '/^# logits /{exit} told{print} $0==echo{told=1}' <<<"$shown")"
  [ "$story" = "$expected_story" ] || { echo "$name: the story is another than here, which is: $expected_story" >&2 && return 1; }
}

# sizes ELF: what goes into flash, and what stands in RAM from the start.
sizes() {
  readelf -SW "$1" | sed 's/^ *\[ *[0-9]*\]//' | awk '
    function number(hex,  n, i) { for (i = 1; i <= length(hex); i++) n = n * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1; return n }
    $7 ~ /A/ && $2 == "PROGBITS" { flash += number($5) }
    $7 ~ /W/ { ram += number($5) }
    END { printf "flash %d bytes, of which the model is '"$(stat -c %s "$MODEL")"'; RAM %d bytes beside the stack\n", flash, ram }'
}

# instructions_of_a_token: from the ticks of a clock that counts the emulator's instructions, one each nanosecond.
instructions_of_a_token() {
  sed -n 's/^# [0-9]* tokens read in [0-9]* ticks, \([0-9]*\) written in \([0-9]*\), of \([0-9]*\) a second$/\1 \2 \3/p' <<<"$shown" |
    awk '{ printf "%.0f instructions a token\n", $2 * (1e9 / $3) / $1 }'
}

# raspi4b_emulator: prints an emulator that has the Raspberry Pi 4: the installed one, or that of scripts/setup-cross.sh.
raspi4b_emulator() {
  local emulator
  for emulator in qemu-system-aarch64 "${CROSS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stonechat-cross}/qemu-raspi4b/qemu-system-aarch64"; do
    [[ "$("$emulator" -M help 2>/dev/null)" != *raspi4b* ]] || { echo "$emulator" && return; }
  done
  echo "no emulator here has a Raspberry Pi 4: it takes QEMU 9 or later, which scripts/setup-cross.sh fetches where Debian's backports have it" >&2
  return 3
}

# raspberry_pi NUMBER EMULATOR MACHINE CHIP: all that is asked of a Raspberry Pi.
raspberry_pi() {
  local number=$1 machine=$3 chip=$4 elf emulator fault qemu
  elf="$(build raspberry-pi-bare-metal aarch64-unknown-none)"
  # One thread for all cores: a core that waits lets the next go on at once, in place of keeping one of this machine's busy.
  qemu=("$2" -M "$machine" -accel "tcg,thread=single")
  told "$machine, four cores" "${qemu[@]}" -semihosting -kernel "$elf"
  grep -q "^# stonechat on raspberry-pi-$number: .*, 4 worker(s);" <<<"$shown" ||
    { echo "$machine: it takes itself for another board, or not all four cores have started" >&2 && return 1; }
  told "$machine, a core that does not start" "${qemu[@]}" -global "$chip.enabled-cpus=3" -semihosting -kernel "$elf"
  [[ "$shown" == *"# core 3 did not start"*", 3 worker(s);"* ]] ||
    { echo "$machine: a core that does not start is not told" >&2 && return 1; }
  # Nobody hears how it ends: an instruction that the CPU does not know. It sleeps afterwards, and so is stopped.
  : >"$output"
  fault='an instruction that the CPU does not know on core 0 at the instruction 0x'
  type_lines '\x04' |
    timeout "$SECONDS_AT_MOST" "${qemu[@]}" -kernel "$elf" -display none -serial stdio -monitor none >"$output" 2>/dev/null &
  emulator=$!
  while kill -0 "$emulator" 2>/dev/null && ! grep -q "$fault" "$output"; do sleep 0.1; done
  kill "$emulator" 2>/dev/null || true
  wait "$emulator" || true
  shown="$(cat "$output")"
  echo "== $machine, a fault"
  grep "$fault" <<<"$shown" || { echo "$machine: a fault is not told: $shown" >&2 && return 1; }
  elf="$(build raspberry-pi-bare-metal aarch64-unknown-none --no-default-features --features semihosting)"
  told "$machine, one core, translation and caches off" "${qemu[@]}" -semihosting -kernel "$elf"
  grep -q ', 1 worker(s);' <<<"$shown" || { echo "other cores help, though translation is off" >&2 && return 1; }
}

# Before all that takes long.
[ "$board" != pi4 ] || raspi4b_emulator >/dev/null
expected_hash="$(stonechat logits -m "$MODEL" -p "$prompt" -c "$CONTEXT" --hash)"
expected_story="$prompt$(stonechat run -m "$MODEL" --raw -n "$TOKENS" -c "$CONTEXT" "$prompt")"
echo "here: logits $expected_hash"

case "$board" in
  cortex-m)
    # Any instruction takes a nanosecond; nobody waits for the clock.
    qemu=(qemu-system-arm -semihosting-config "enable=on,target=native" -icount "shift=0,sleep=off")
    for target in thumbv7em-none-eabihf thumbv8m.main-none-eabihf; do
      elf="$(build cortex-m "$target")"
      if readelf -sW "$elf" | grep -iE '__rust_alloc|__rg_alloc|[^a-z]malloc|5alloc[0-9]'; then
        echo "$target: the image has an allocator, which nothing here may use" >&2
        exit 1
      fi
      sizes "$elf"
      case "$target" in thumbv7em-*) machines=(mps2-an386 mps2-an500) ;; *) machines=(mps2-an505) ;; esac
      for machine in "${machines[@]}"; do
        told "$machine" "${qemu[@]}" -M "$machine" -kernel "$elf"
        instructions_of_a_token
      done
    done
    # An M33 may be made without the DSP extension; the image is the same.
    told "mps2-an505, without DSP extension" "${qemu[@]}" -M mps2-an505 -global iotkit.CPU0_DSP=off -kernel "$elf"
    grep -q 'level reference' <<<"$shown" || { echo "the chip has no DSP extension, and its level is another" >&2 && exit 1; }
    ;;
  pi3) raspberry_pi 3 qemu-system-aarch64 raspi3b bcm2837 ;;
  pi4) raspberry_pi 4 "$(raspi4b_emulator)" raspi4b bcm2838 ;;
  *)
    echo "there is no board '$board'; there are cortex-m, pi3 and pi4" >&2
    exit 2
    ;;
esac
echo "the same logits and the same story as here"
