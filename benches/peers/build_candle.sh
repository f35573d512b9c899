#!/usr/bin/env bash
# Builds the candle runner for this CPU, into target/peers/candle. candle picks its kernels at compile time.
set -euo pipefail
cd "$(dirname "$0")/../.."
RUSTFLAGS="${RUSTFLAGS:-} -C target-cpu=native" cargo build --release --locked \
  --manifest-path benches/peers/candle/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}/peers/candle"
echo "ready: ${CARGO_TARGET_DIR:-target}/peers/candle/release/candle-peer"
