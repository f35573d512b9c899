#!/usr/bin/env bash
# Makes a machine with rustup's stable toolchain and Debian's apt able to run ./test natively.
# Idempotent, and quick where nothing is missing. The cross builds are scripts/setup-cross.sh's.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/apt.sh
. ./apt.sh

need cc gcc libc6-dev
need c++ g++ # the fuzzing runtime is C++
need shellcheck shellcheck
install_missing

command -v cargo >/dev/null 2>&1 || {
  echo "cargo is missing: install the stable Rust toolchain with rustup (see README.md)" >&2
  exit 1
}
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
