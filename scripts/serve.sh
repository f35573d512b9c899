#!/usr/bin/env bash
# For other scripts: servers of this program, each on a port of its own, as long as the script runs.
#
#   serve VARIABLE PROGRAM ARGUMENT...    starts one, and exports its address in the variable; $server is its process
#   served                                ends all of them, which they must do well

servers=()
serve_logs="$(mktemp -d)"
trap 'kill "${servers[@]}" 2>/dev/null || true; rm -r "$serve_logs"' EXIT

serve() {
  local log="$serve_logs/$1"
  "$2" serve --port 0 "${@:3}" >"$log" 2>"$log.err" &
  server=$!
  servers+=("$server")
  for _ in $(seq 300); do
    [ ! -s "$log" ] || break
    kill -0 "$server" 2>/dev/null || { cat "$log.err" >&2 && exit 1; }
    sleep 0.1
  done
  [ -s "$log" ] || { echo "the server says no address after thirty seconds" >&2 && cat "$log.err" >&2 && exit 1; }
  export "$1=$(head -1 "$log")"
}

served() {
  kill -TERM "${servers[@]}"
  for server in "${servers[@]}"; do
    wait "$server" || { echo "a server ended with status $?" >&2 && cat "$serve_logs"/*.err >&2 && exit 1; }
  done
  servers=()
}
