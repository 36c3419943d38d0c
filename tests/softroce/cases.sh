# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the suites that are scripts: test cases, counted the way in which cmocka counts, so that
# scripts/count-tests adds them up. A case is a function: it fails if it returns anything but 0. (bash does
# not stop at a failing line in there: join what must hold with &&.)

cases_passed=0
cases_failed=()

# Where packets are sent again, rxe of Linux 6.1 now and then refuses a write (status 9). A link survives that as
# it survives any path's end; but not in the moment in which a test has taken its other path away. That is no
# finding about the library: such a case has a second try.
refused='remote invalid request error (status 9'

# The case, with its output in cases_log, too: shown when it ends, as a pipe to show it sooner would last as long
# as any job that it has left running. (In this shell, so that there may be such.)
try_case() { # FUNCTION
	local status=0
	cases_log=$(mktemp)
	"$1" >"$cases_log" 2>&1 || status=$?
	cat "$cases_log"
	return $status
}

run_case() { # NAME: the function of that name, spaces for its underscores
	local name=${1//_/ } status=0 rail
	printf '[ RUN      ] %s\n' "$name"
	try_case "$1" || status=$?
	if [ $status != 0 ] && grep -qF "$refused" "$cases_log"; then
		printf '[ AGAIN    ] %s: rxe has refused a write\n' "$name"
		for ((rail = 0; rail < ${SOFTROCE_RAILS:-0}; rail++)); do
			rail up "$rail"
			rail heal "$rail" || true
			rail loss 0 "$rail"
		done
		sleep 2
		status=0
		try_case "$1" || status=$?
	fi
	if [ $status = 0 ]; then
		printf '[       OK ] %s\n' "$name"
		cases_passed=$((cases_passed + 1))
	else
		printf '[  FAILED  ] %s (status %d)\n' "$name" $status
		cases_failed+=("$name")
	fi
}

# The counts, and the status to exit with.
end_cases() {
	printf '[  PASSED  ] %d test(s).\n' $cases_passed
	[ ${#cases_failed[@]} = 0 ] || printf '[  FAILED  ] %d test(s).\n' ${#cases_failed[@]}
	[ ${#cases_failed[@]} = 0 ]
}
