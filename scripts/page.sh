#!/usr/bin/env bash
# Looks at the page of a server with the default model, in Chromium without a screen.
#
#   scripts/page.sh [--pictures] [PROGRAM]    a program to take in place of target/release/stonechat
#
# --pictures draws docs/page-*.png anew in place of the test. Chromium comes from Debian's packages, selenium into target/page, once.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/apt.sh
. scripts/apt.sh

act=(-m unittest discover --start-directory tests/page)
if [ "${1:-}" = --pictures ]; then
  act=(tests/page/pictures.py docs)
  shift
fi
program="${1:-${CARGO_TARGET_DIR:-target}/release/stonechat}"

need chromium chromium
need chromedriver chromium-driver
# Without a font there is nothing to see.
need fc-list fontconfig fonts-dejavu-core
install_missing
for command in chromium chromedriver; do
  command -v "$command" >/dev/null 2>&1 || { echo "there is no $command, in which the page is looked at" >&2 && exit 1; }
done
# shellcheck source=scripts/venv.sh
. scripts/venv.sh
venv page tests/page/requirements.txt
# shellcheck source=scripts/serve.sh
. scripts/serve.sh
export STONECHAT_KEY=a-key-for-the-test
serve STONECHAT_SERVER "$program" -m smollm2-135m
serve STONECHAT_LOCKED_SERVER "$program" -m smollm2-135m --api-key "$STONECHAT_KEY"

"$python" "${act[@]}"
# They end when they are asked to, and well.
served
