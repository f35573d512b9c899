#!/usr/bin/env bash
# Asks a server with the default model by the clients that people have: openai's and ollama's Python packages, LangChain, curl.
#
#   scripts/clients.sh [PROGRAM]    a program to take in place of target/release/stonechat
#
# The packages come into target/clients, once.
set -euo pipefail
cd "$(dirname "$0")/.."

program="${1:-${CARGO_TARGET_DIR:-target}/release/stonechat}"
# shellcheck source=scripts/venv.sh
. scripts/venv.sh
venv clients tests/clients/requirements.txt
# shellcheck source=scripts/serve.sh
. scripts/serve.sh
serve STONECHAT_SERVER "$program" -m smollm2-135m --embedding-model tiny
"$python" -W ignore::ResourceWarning -m unittest discover --start-directory tests/clients
# It ends when it is asked to, and well.
served
