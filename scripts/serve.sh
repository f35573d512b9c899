#!/usr/bin/env bash
# For other scripts: a server of this program on a port of its own, as long as the script runs.
#
#   serve PROGRAM ARGUMENT...    starts it; $server is its process, $address where it listens
#   served                       ends it, which it must do well

serve() {
  log="$(mktemp)"
  "$1" serve --port 0 "${@:2}" >"$log" 2>"$log.err" &
  server=$!
  trap 'kill "$server" 2>/dev/null || true; rm -f "$log" "$log.err"' EXIT
  for _ in $(seq 300); do
    [ ! -s "$log" ] || break
    kill -0 "$server" 2>/dev/null || { cat "$log.err" >&2 && exit 1; }
    sleep 0.1
  done
  [ -s "$log" ] || { echo "the server says no address after thirty seconds" >&2 && cat "$log.err" >&2 && exit 1; }
  # shellcheck disable=SC2034 # for the script that asks
  address="$(head -1 "$log")"
}

served() {
  kill -TERM "$server"
  wait "$server" || { echo "the server ended with status $?" >&2 && cat "$log.err" >&2 && exit 1; }
}
