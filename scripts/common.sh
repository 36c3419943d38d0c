# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the scripts beside it: the root folder, messages, and the build.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# scripts/setup puts a newer meson here where the system's is too old.
PATH="$root/build-tools/bin:$PATH"

say() {
	printf '\n== %s\n' "$*"
}

die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# configure_dir DIR [MESON ARGS...]: idempotent; changed arguments take effect.
configure_dir() {
	local dir=$1 log
	shift
	log=$(mktemp)
	if [ -f "$dir/build.ninja" ]; then
		# A changed compiler or a damaged folder needs the second.
		meson setup --reconfigure "$dir" "$root" "$@" >"$log" 2>&1 ||
			meson setup --wipe "$dir" "$root" "$@" >"$log" 2>&1
	else
		meson setup "$dir" "$root" "$@" >"$log" 2>&1
	fi || {
		cat "$log" >&2
		die "meson could not configure $dir: see above"
	}
	rm -f "$log"
}

# build_dir DIR [TARGETS...]: all, or these.
build_dir() {
	local dir=$1 log
	shift
	log=$(mktemp)
	ninja -C "$dir" "$@" >"$log" 2>&1 || {
		grep -vE '^\[[0-9]+/[0-9]+\] (Compiling|Linking|Generating)' "$log" >&2 || true
		die "the build in $dir failed: see above"
	}
	rm -f "$log"
}

configure_and_build() {
	configure_dir "$@"
	build_dir "$1"
}
