#!/usr/bin/env bash
# For other scripts: Python packages, installed once.
#
#   venv NAME REQUIREMENTS [INCLUDED...]    has them in target/NAME, and sets $python; files that the requirements include are
#                                           named, too, so that a change of theirs is seen

venv() {
  local folder wanted
  folder="$(realpath -m "${CARGO_TARGET_DIR:-target}/$1")"
  wanted="$(cat "${@:2}")"
  # shellcheck disable=SC2034 # for the script that asks
  python="$folder/bin/python"
  if [ "$wanted" != "$(cat "$folder/installed.txt" 2>/dev/null)" ]; then
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"
    printf '%s\n' "$wanted" >"$folder/installed.txt"
  fi
}
