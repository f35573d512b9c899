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
folder="${CARGO_TARGET_DIR:-target}/page"
wanted=tests/page/requirements.txt
if ! cmp -s "$wanted" "$folder/installed.txt"; then
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
  cp "$wanted" "$folder/installed.txt"
fi

logs="$(mktemp -d)"
servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; rm -r "$logs"' EXIT
# serve NAME VARIABLE ARGUMENT...: starts a server, and exports its address in the variable
serve() {
  local log="$logs/$1" variable=$2
  "$program" serve --port 0 "${@:3}" >"$log" 2>"$log.err" &
  servers+=($!)
  for _ in $(seq 300); do
    [ ! -s "$log" ] || break
    kill -0 "${servers[-1]}" 2>/dev/null || { cat "$log.err" >&2 && exit 1; }
    sleep 0.1
  done
  [ -s "$log" ] || { echo "the server says no address after 30 seconds" >&2 && cat "$log.err" >&2 && exit 1; }
  export "$variable=$(head -1 "$log")"
}
export STONECHAT_KEY=a-key-for-the-test
serve open STONECHAT_SERVER -m smollm2-135m
serve locked STONECHAT_LOCKED_SERVER -m smollm2-135m --api-key "$STONECHAT_KEY"

"$folder/bin/python" "${act[@]}"
# They end when they are asked to, and well.
kill -TERM "${servers[@]}"
for server in "${servers[@]}"; do
  wait "$server" || { echo "a server ended with status $?" >&2 && cat "$logs"/*.err >&2 && exit 1; }
done
