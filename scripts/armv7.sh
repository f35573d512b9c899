#!/usr/bin/env bash
# Builds the program for 32-bit ARM with Linux, which many Raspberry Pis still run, and holds it to the recorded bits: of both
# files of the tiny model, the hash of the logits that tests/bits.rs has, at the levels reference and dsp, under qemu-arm.
# Only the small program is built, which has all that computes.
#
# Then the kernels' own tests of what level dsp has, with what Cortex-M has beside it (crates/kernels/build.rs): there is no
# Cortex-M that runs tests.
set -euo pipefail
cd "$(dirname "$0")/.."

TARGET=armv7-unknown-linux-gnueabihf
cargo build --target "$TARGET" --no-default-features
program="${CARGO_TARGET_DIR:-target}/$TARGET/debug/stonechat"
ids="$(sed -n 's/^const IDS: &str = "\(.*\)";$/\1/p' tests/bits.rs)"

for file in tiny-Q8_0.gguf tiny-Q4_0.gguf; do
  recorded="$(grep -A 2 "models/tiny/$file" tests/bits.rs | grep -m1 -oE '[0-9a-f]{64}')"
  for ways in "--cpu reference -t 1 -b 64" "--cpu reference -t 2 -b 7" "--cpu dsp -t 1 -b 64" "-t 2 -b 7"; do
    # shellcheck disable=SC2086 # several words
    found="$(qemu-arm -L /usr/arm-linux-gnueabihf "$program" logits --hash --all --ids "$ids" \
      -m "models/tiny/$file" $ways)"
    [ "$found" = "$recorded" ] || { echo "$file with $ways: $found on armv7, $recorded is recorded" >&2 && exit 1; }
    echo "$file with $ways: $found, as recorded"
  done
done

# The A7 is the least of those that have fused multiply-add.
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUNNER="qemu-arm -cpu cortex-a7 -L /usr/arm-linux-gnueabihf"
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUSTFLAGS="--cfg vfma"
kernels() { cargo test --quiet --target "$TARGET" -p stonechat-kernels --features std "$@"; }
kernels --test levels --test probe -- --skip float_products --skip dequantized
kernels --test attention -- heads_of_any_length windows_that_begin
