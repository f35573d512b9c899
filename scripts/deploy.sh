#!/usr/bin/env bash
# What deploy/ says, tried as far as one machine goes: manifests against Kubernetes' schemas and the real program, LiteLLM in front of it,
# and a Ray cluster whose workers are killed.
#
#   scripts/deploy.sh [PROGRAM] [TEST...]    a program to take in place of target/release/stonechat, and for instance test_ray
#
# The packages come into target/deploy, once.
set -euo pipefail
cd "$(dirname "$0")/.."

program="$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/stonechat}")"
[ -x "$program" ] || { echo "there is no program at $program; build it (cargo build --release), or name one" >&2 && exit 1; }
shift || true
# shellcheck source=scripts/venv.sh
. scripts/venv.sh
venv deploy tests/deploy/requirements.txt deploy/ray/requirements.txt

export STONECHAT_PROGRAM="$program"
export STONECHAT_HOME="${STONECHAT_HOME:-$PWD/target/stonechat-home}"
# The model that they all need, if it is not there.
"$program" pull smollm2-135m >/dev/null
tests=("${@:-discover}")
cd tests/deploy
exec "$python" -B -W ignore::ResourceWarning -m unittest "${tests[@]}"
