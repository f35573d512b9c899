#!/usr/bin/env bash
# Makes `cargo build|test --target T` work for the project's cross targets: linker, C library and emulator from
# Debian, the standard library from `rustup target add`. Where rustup is refused, the library is built
# from Debian's rust-src of the same release and laid where rustup would have laid it. An emulator that has the Raspberry
# Pi 4 comes from Debian's backports, where the installed one has it not; it lies beside that one, and only
# scripts/board.sh takes it.
#
# Idempotent, and quick where nothing is missing. Other targets: TARGETS="..." scripts/setup-cross.sh
# RUST_SRC=<a library folder> skips the search for Debian's rust-src.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/apt.sh
. ./apt.sh

read -ra targets <<<"${TARGETS:-aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf aarch64-unknown-none thumbv7em-none-eabihf thumbv8m.main-none-eabihf}"
cache="${CROSS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stonechat-cross}"
sysroot="$(rustc --print sysroot)"
release="$(rustc -vV | sed -n 's/^release: //p')"

log() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }

# Does this rustc find a core for the target?
has_library() { compgen -G "$sysroot/lib/rustlib/$1/lib/libcore-*.rlib" >/dev/null; }

lacking() {
  local target
  for target in "${targets[@]}"; do
    has_library "$target" || echo "$target"
  done
}

# own_apt FOLDER: an apt of its own from here on, without sources yet: the machine's sources and lists stay as they are. Names
# the mirror that the machine's apt uses; fails where that is none of Debian's.
own_apt() {
  local apt=$1 site
  # shellcheck disable=SC2016 # $(SITE) is apt's own placeholder
  site="$(apt-get indextargets --format '$(SITE)' | sort -u | grep -m1 -E '/debian/?$')" || return 1
  mirror="${site%/debian*}"
  rm -rf "$apt"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
  : >"$apt/status"
  cat >"$apt/conf" <<EOF
Dir::State "$apt"; Dir::State::lists "$apt/lists"; Dir::State::status "$apt/status"; Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list"; Dir::Etc::sourceparts "$apt/parts";
Dir::Etc::preferences "$apt/none"; Dir::Etc::preferencesparts "$apt/parts";
APT::Architecture "$(dpkg --print-architecture)"; APT::Architectures { "$(dpkg --print-architecture)"; };
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::Check-Valid-Until "false"; Acquire::Check-Date "false"; APT::Sandbox::User "$(id -un)";
EOF
  export APT_CONFIG="$apt/conf"
}

# own_sources FOLDER SUITE: the suite, e.g. "debian sid", becomes that apt's only one.
own_sources() {
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror/$2 main" >"$1/sources.list"
  apt-get update -qq >&2
}

# The library's source of exactly this release, out of whichever Debian suite has it. Prints the folder.
debian_source() {
  local folder="$cache/rust-src-$release/library"
  if [ -e "$folder/.complete" ]; then
    echo "$folder"
    return
  fi
  local apt="$cache/apt"
  own_apt "$apt" || {
    echo "the apt of this machine has no mirror of Debian's; set RUST_SRC to a folder with the library of Rust $release" >&2
    return 1
  }
  local suite package version found=
  for suite in "debian trixie-backports" "debian-security bookworm-security" "debian-security trixie-security" \
    "debian sid" "debian trixie" "debian experimental"; do
    own_sources "$apt" "$suite" || continue
    for package in rust-src rust-web-src; do
      version="$(apt-cache madison "$package" | awk -F'|' '{gsub(/ /, "", $2); print $2}' |
        grep -m1 "^${release//./\\.}+" || true)"
      [ -z "$version" ] || { found="$package=$version" && break 2; }
    done
  done
  [ -n "$found" ] || {
    echo "no Debian suite has rust-src $release; set RUST_SRC to a folder with its library" >&2
    return 1
  }
  log "downloading $found" >&2
  (cd "$apt" && apt-get download -qq "$found" >&2)
  rm -rf "$cache/rust-src-$release"
  mkdir -p "$cache/rust-src-$release" "$apt/unpacked"
  dpkg-deb --fsys-tarfile "$apt"/rust*src_*.deb | tar -x -C "$apt/unpacked" --wildcards './usr/src/rustc-*/library/*'
  mv "$apt"/unpacked/usr/src/rustc-*/library "$folder"
  rm -rf "$folder/.cargo" "$apt"
  # A static library only: without libstd.so no linker is needed to build it.
  sed -i 's/^crate-type = \["dylib", "rlib"\]/crate-type = ["rlib"]/' "$folder/std/Cargo.toml"
  touch "$folder/.complete"
  echo "$folder"
}

# build_library SOURCE "TARGETS" CARGO-ARGUMENTS...
build_library() {
  local source=$1 list target arguments=() out="$cache/target-$release"
  read -ra list <<<"$2"
  shift 2
  for target in "${list[@]}"; do arguments+=(--target "$target"); done
  log "building the standard library for ${list[*]}"
  # It runs in the source folder: neither the project's .cargo/config.toml nor its flags reach this build.
  (cd "$source" && env -u CARGO_BUILD_TARGET -u CARGO_ENCODED_RUSTFLAGS RUSTC_BOOTSTRAP=1 \
    RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes" CARGO_INCREMENTAL=0 \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_PROFILE_RELEASE_DEBUG=0 \
    CARGO_TARGET_DIR="$out" __CARGO_DEFAULT_LIB_METADATA=stonechat-cross \
    cargo build -q --locked --release "${arguments[@]}" "$@")
  for target in "${list[@]}"; do
    mkdir -p "$sysroot/lib/rustlib/$target/lib"
    cp "$out/$target/release/deps/"*.rlib "$sysroot/lib/rustlib/$target/lib/"
  done
  rm -rf "$out"
}

# An emulator that has the Raspberry Pi 4, which came with QEMU 9; scripts/board.sh looks for it in the same folder. Without one
# all but `board.sh pi4` works, so that its lack is told and is no failure. A subshell: the other apt ends with it.
raspi4b_emulator() (
  folder="$cache/qemu-raspi4b"
  has_board() { [[ "$("$1" -M help 2>/dev/null)" == *raspi4b* ]]; }
  ! has_board qemu-system-aarch64 && ! has_board "$folder/qemu-system-aarch64" || return 0
  # shellcheck source=/dev/null
  suite="$(. /etc/os-release && echo "${VERSION_CODENAME:-}-backports")"
  lacking="no emulator here has a Raspberry Pi 4; scripts/board.sh pi4 needs QEMU 9 or later"
  own_apt "$cache/apt-qemu" || { log "$lacking" && return; }
  own_sources "$cache/apt-qemu" "debian $suite" || { log "$lacking" && return; }
  log "downloading qemu-system-arm of $suite"
  cd "$cache/apt-qemu"
  apt-get download -qq qemu-system-arm >&2 || { log "$lacking" && return; }
  rm -rf "$folder"
  mkdir -p "$folder"
  dpkg-deb --fsys-tarfile qemu-system-arm_*.deb | tar -x -C "$folder" --strip-components=3 ./usr/bin/qemu-system-aarch64
  rm -rf "$cache/apt-qemu"
  has_board "$folder/qemu-system-aarch64" || log "$lacking"
)

for target in "${targets[@]}"; do
  case "$target" in aarch64-*-linux-gnu)
    need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    need qemu-aarch64 qemu-user
    ;;
  armv7-*-linux-gnueabihf)
    need arm-linux-gnueabihf-gcc gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
    need qemu-arm qemu-user
    ;;
  thumb*) need qemu-system-arm qemu-system-arm ;;
  aarch64-*-none) need qemu-system-aarch64 qemu-system-arm ;;
  esac
done
install_missing
[[ " ${targets[*]} " != *" aarch64-unknown-none "* ]] || raspi4b_emulator

mapfile -t todo < <(lacking)
if [ ${#todo[@]} -gt 0 ] && command -v rustup >/dev/null 2>&1; then
  rustup target add "${todo[@]}" || log "rustup refused; building the standard library from Debian's source"
  mapfile -t todo < <(lacking)
fi
if [ ${#todo[@]} -gt 0 ]; then
  mkdir -p "$cache"
  source="${RUST_SRC:-$(debian_source)}"
  bare="$(printf '%s\n' "${todo[@]}" | grep -e '-none' | xargs || true)"
  hosted="$(printf '%s\n' "${todo[@]}" | grep -ve '-none' | xargs || true)"
  [ -z "$bare" ] || build_library "$source" "$bare" -p alloc --features compiler-builtins-mem
  [ -z "$hosted" ] || build_library "$source" "$hosted" -p sysroot --features panic-unwind,backtrace
  mapfile -t todo < <(lacking)
  [ ${#todo[@]} -eq 0 ] || { echo "still no standard library for ${todo[*]}" >&2 && exit 1; }
fi
log "ready: ${targets[*]}"
