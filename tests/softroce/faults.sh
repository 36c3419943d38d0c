# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the suites of faults, after cases.sh: runs the program steady.c as a job, disturbs it, and looks at what
# its ranks say. Times are loose: the machines that run this are slow, and shared.

build=$1
outcome=$(mktemp)
ready=$(mktemp -u)
stop=$(mktemp -u) # the job ends when it is there
faulted=0
export HOCKET_IFNAME=lo # what breaks are the rails; start-up and failures have a way of their own

# Starts a job of so many ranks in the background; returns when it makes calls.
start_job() { # RANKS [STEADY-FLAGS...]
	local n=$1
	shift
	rm -f "$ready" "$ready.go" "$stop"
	"$build/tools/hocket" run --timeout 100 -n "$n" on-rank "$build/tests/softroce/steady" --ready "$ready" \
		--until "$stop" "$@" >"$outcome" 2>&1 &
	job=$!
	for ((i = 0; i < 600; i++)); do
		[ ! -e "$ready" ] || return 0
		kill -0 "$job" 2>/dev/null || return 0
		sleep 0.05
	done
}

# Runs a command that breaks something, and remembers when.
fault() {
	local up
	"$@"
	read -r up _ </proc/uptime
	faulted=${up/./}0
}

# Ranks that were held (--hold) make calls.
let_go() { : >"$ready.go"; }

# Waits for a job that fails, and shows what it said.
end_job() {
	local status=0
	wait "$job" || status=$?
	sed 's/^/    /' "$outcome"
	return $status
}

# Lets a job end that goes on.
stop_job() {
	: >"$stop"
	end_job
}

said() { # PATTERN
	local text
	IFS= read -r -d '' text <"$outcome"
	[[ $text =~ $1 ]]
}

# Waits until the job has said so, or has ended.
await() { # PATTERN
	while ! said "$1" && kill -0 "$job" 2>/dev/null; do
		sleep 0.1
	done
}

all_fine() { # RANKS
	[ "$(grep -c '^rank [0-9]*: ok ' "$outcome")" = "$1" ]
}

all_failed() { # RANKS
	[ "$(grep -cE '^rank [0-9]+: hocket(Remote|System)Error ' "$outcome")" = "$1" ]
}

# Whether this rank failed with a typed error, and when: at most LIMIT ms after the fault.
failed() { # RANK
	local limit=${SOFTROCE_LIMIT_MS:-10000} at
	at=$(sed -nE "s/^rank $1: hocket(Remote|System)Error at_ms=([0-9]*) .*/\2/p" "$outcome")
	[ -n "$at" ] || return
	echo "    rank $1 failed $((at - faulted)) ms after the fault"
	[ $((at - faulted)) -lt "$limit" ]
}

# Whether some rank's error names its device, network card, the peer's rank and host, and what to check.
names_the_place() {
	said "rank [0-9]+ lost rank [0-9]+ on host [^ ]+: the queue pair between rxe[01]_[0-9]:1 \(n[01]_[0-9]\) here and rxe.*check"
}
