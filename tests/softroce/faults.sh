# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the suites of faults, after cases.sh: runs the program steady.c as a job, disturbs it, and looks at what
# its ranks say. Times are loose: the machines that run this are slow, and shared.

build=$1
outcome=$(mktemp)
ready=$(mktemp -u)
faulted=0

# Starts a job of so many ranks in the background; returns when it makes calls.
start_job() { # RANKS [STEADY-FLAGS...]
	local n=$1
	shift
	rm -f "$ready"
	"$build/tools/hocket" run --timeout 60 -n "$n" on-rank "$build/tests/softroce/steady" --ready "$ready" "$@" \
		>"$outcome" 2>&1 &
	job=$!
	for ((i = 0; i < 600; i++)); do
		[ ! -e "$ready" ] || return 0
		kill -0 "$job" 2>/dev/null || break
		sleep 0.05
	done
	return 0
}

# Runs a command that breaks something, and remembers when; with `true`, from now on.
fault() {
	faulted=$(awk '{ printf "%d", $1 * 1000 }' /proc/uptime)
	"$@"
}

# Waits for the job, and shows what it said.
end_job() {
	local status=0
	wait "$job" || status=$?
	sed 's/^/    /' "$outcome"
	return $status
}

# Waits until the job has said so, for at most 15 s.
await() { # PATTERN
	for ((i = 0; i < 150; i++)); do
		! said "$1" || return 0
		sleep 0.1
	done
}

said() { grep -Eq "$1" "$outcome"; }

all_fine() { # RANKS
	[ "$(grep -c '^rank [0-9]*: ok ' "$outcome")" = "$1" ]
}

all_failed() { # RANKS
	[ "$(grep -cE '^rank [0-9]+: hocket(Remote|System)Error ' "$outcome")" = "$1" ]
}

# Whether this rank failed with a typed error, and when: at most LIMIT ms after the fault.
failed() { # RANK
	local limit=${SOFTROCE_LIMIT_MS:-8000} at
	at=$(sed -nE "s/^rank $1: hocket(Remote|System)Error at_ms=([0-9]*) .*/\2/p" "$outcome")
	[ -n "$at" ] || return
	echo "    rank $1 failed $((at - faulted)) ms after the fault"
	[ $((at - faulted)) -lt "$limit" ]
}

# Whether some rank's error names its device, network card, the peer's rank and host, and what to check.
names_the_place() {
	said "rank [0-9]+ lost rank [0-9]+ on host [^ ]+: the queue pair between rxe[01]_[0-9]:1 \(n[01]_[0-9]\) here and rxe.*check"
}
