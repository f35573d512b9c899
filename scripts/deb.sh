#!/usr/bin/env bash
# Makes the Debian package of a Linux board, for arm64, by cargo-deb: target/deb/stonechat-BOARD_*_arm64.deb
#
#   scripts/deb.sh BOARD            raspberry-pi-zero-2w, raspberry-pi-4, raspberry-pi-5 or rock-5b
#   scripts/deb.sh BOARD --check    and looks at it: what is in it, that it installs, that the service manager takes its unit, and
#                                   that its program answers on an emulated A53 as the program does here, and uses dotprod on an A76
#
# PROFILE=dev builds what is as quickly built as tested, and SELECT names cargo's packages, target and features, to share what was
# built with these before. STONECHAT names the program to compare with (by default it is built).
set -euo pipefail
cd "$(dirname "$0")/.."

TARGET=aarch64-unknown-linux-gnu
CARGO_DEB=3.8.0
PROFILE="${PROFILE:-release}"
PROMPT="Once upon a time"
TOKENS=30

board="${1:-}"
if [ -z "$board" ] || [ ! -e "targets/$board/stonechat-assistant.service" ]; then
  echo "there is no board '$board'; there are: $(cd targets && printf '%s\n' */stonechat-assistant.service | xargs -n1 dirname | xargs)" >&2
  exit 2
fi
package="stonechat-$board"
read -ra select <<<"${SELECT:--p $package --target $TARGET}"
out="${CARGO_TARGET_DIR:-target}"

# The tool, once, beside what it makes. Without optimisation: it is built for longer than it runs.
deb="$out/tools/bin/cargo-deb"
[ -x "$deb" ] || cargo install --quiet --root "$out/tools" --debug --locked "cargo-deb@$CARGO_DEB"

cargo build --quiet --profile "$PROFILE" "${select[@]}" --bin "$package"
rm -f "$out/deb/${package}"_*.deb
"$deb" deb --quiet -p "$package" --target "$TARGET" --profile "$PROFILE" --no-build -o "$out/deb/"
file="$(printf '%s' "$out/deb/${package}"_*_arm64.deb)"
echo "$file: $(stat -c %s "$file") bytes"
[ "${2:-}" = --check ] || exit 0

fail() { echo "$file: $1" >&2 && exit 1; }
root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT

[ "$(dpkg-deb -f "$file" Architecture)" = arm64 ] || fail "it is not for arm64"
[ "$(dpkg-deb -I "$file" conffiles)" = /etc/stonechat/assistant.toml ] || fail "the configuration would not survive an upgrade"
if [ "$(id -u)" -eq 0 ]; then
  # As dpkg does it, in a root of its own, where there is no C library: what it depends on is not asked for.
  mkdir -p "$root/var/lib/dpkg"/{info,updates,triggers} "$root/etc"
  touch "$root/var/lib/dpkg/status"
  dpkg --root="$root" --force-architecture --force-depends --force-script-chrootless --log=/dev/null -i "$file" 2>&1 |
    grep -vE 'dependency problems|depends on|not installed|^ *$|overriding problem' || true
  [ "$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${db:Status-Abbrev}' "$package:arm64")" = "ii " ] || fail "it does not install"
else
  echo "not root: unpacked in place of installed"
  dpkg-deb -x "$file" "$root"
fi
for path in usr/bin/stonechat-assistant etc/stonechat/assistant.toml usr/lib/systemd/system/stonechat-assistant.service \
  usr/lib/udev/rules.d/60-stonechat.rules usr/lib/sysusers.d/stonechat.conf "usr/share/doc/$package/README.md"; do
  [ -s "$root/$path" ] || fail "/$path is not there"
done
for line in WatchdogSec= MemoryMax= ProtectSystem=strict Restart=always; do
  grep -q "^$line" "$root/usr/lib/systemd/system/stonechat-assistant.service" || fail "the unit has no $line"
done
if command -v systemd-analyze >/dev/null 2>&1; then
  # Of units that this machine does not have it says nothing that matters here.
  said="$(systemd-analyze verify --man=no --root="$root" stonechat-assistant.service 2>&1 || true)"
  ! grep -E 'stonechat-assistant.service:.*(Unknown|Failed to parse|Invalid|ignoring)' <<<"$said" || fail "the unit has a mistake"
fi

# The program, with a configuration that wires nothing, as emulated CPUs run it: an instruction that they lack ends it.
printf 'model = "tiny"\nraw = true\nanswer = %d\n' "$TOKENS" >"$root/smoke.toml"
stonechat() { if [ -n "${STONECHAT:-}" ]; then "$STONECHAT" "$@"; else cargo run --quiet --release -- "$@"; fi; }
expected="$PROMPT$(stonechat run -m tiny --raw -n "$TOKENS" "$PROMPT")"
for cpu in cortex-a53:neon cortex-a76:dotprod; do
  run=(qemu-aarch64 -cpu "${cpu%:*}" -L /usr/aarch64-linux-gnu "$root/usr/bin/stonechat-assistant" --config "$root/smoke.toml")
  level="$("${run[@]}" --check 2>/dev/null | sed -n 's/^level *//p')"
  [ "$level" = "${cpu#*:}" ] || fail "on a ${cpu%:*} it uses level '$level', not ${cpu#*:}"
  answer="$(printf '%s\r\004' "$PROMPT" | "${run[@]}" 2>/dev/null | tr -d '\r')"
  grep -qFx "$expected" <<<"$answer" || { echo "$answer" && fail "on a ${cpu%:*} it does not say: $expected"; }
  echo "${cpu%:*}: level $level, and the story of this machine"
done
# What is wired wrongly is said with line and key.
printf '\n[button]\nline = 17\nactive = "low"\n[leds]\nidle = 17\n' >>"$root/smoke.toml"
if said="$("${run[@]}" --check 2>&1)"; then fail "a line that is two things is taken"; fi
grep -q 'smoke.toml, line 9, leds.idle: line 17 of /dev/gpiochip0 is button.line already' <<<"$said" || fail "it says: $said"
echo "$package: installs, answers, and names what is wired wrongly"
