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

log="$(mktemp)"
"$program" serve -m smollm2-135m --port 0 >"$log" 2>"$log.err" &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -f "$log" "$log.err"' EXIT
for _ in $(seq 100); do
  [ ! -s "$log" ] || break
  kill -0 "$server" 2>/dev/null || { cat "$log.err" >&2 && exit 1; }
  sleep 0.1
done
[ -s "$log" ] || { echo "the server says no address after ten seconds" >&2 && cat "$log.err" >&2 && exit 1; }

STONECHAT_SERVER="$(head -1 "$log")" "$folder/bin/python" -W ignore::ResourceWarning -m unittest discover --start-directory tests/clients
# It ends when it is asked to, and well.
kill -TERM "$server"
wait "$server" || { echo "the server ended with status $?" >&2 && cat "$log.err" >&2 && exit 1; }
