#!/usr/bin/env bash
# Lets 32 clients at a server with the default model and four slots, see tests/storm: for ten minutes each, or
# STONECHAT_STORM seconds, after STONECHAT_SAME questions (200) that are asked alone and in a storm.
#
#   scripts/storm.sh [PROGRAM]    a program to take in place of target/release/stonechat
set -euo pipefail
cd "$(dirname "$0")/.."

program="${1:-${CARGO_TARGET_DIR:-target}/release/stonechat}"
# shellcheck source=scripts/serve.sh
. scripts/serve.sh
serve STONECHAT_SERVER "$program" -m smollm2-135m --parallel 4
python3 -B tests/storm "$STONECHAT_SERVER" "$server" --seconds "${STONECHAT_STORM:-600}" --same "${STONECHAT_SAME:-200}"
served
