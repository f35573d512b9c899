#!/usr/bin/env bash
# Asks a server with the default model by the clients that people have: openai's and ollama's Python packages, LangChain, curl.
#
#   scripts/clients.sh [PROGRAM]    a program to take in place of target/release/stonechat
#
# The packages come into target/clients, once.
set -euo pipefail
cd "$(dirname "$0")/.."

program="${1:-${CARGO_TARGET_DIR:-target}/release/stonechat}"
folder="${CARGO_TARGET_DIR:-target}/clients"
wanted=tests/clients/requirements.txt
if ! cmp -s "$wanted" "$folder/installed.txt"; then
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
  cp "$wanted" "$folder/installed.txt"
fi

# shellcheck source=scripts/serve.sh
. scripts/serve.sh
serve STONECHAT_SERVER "$program" -m smollm2-135m --embedding-model tiny
"$folder/bin/python" -W ignore::ResourceWarning -m unittest discover --start-directory tests/clients
# It ends when it is asked to, and well.
served
