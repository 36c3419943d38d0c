# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the suites that are scripts: test cases, counted the way in which cmocka counts, so that
# scripts/count-tests adds them up. A case is a function: it fails if it returns anything but 0. (bash does
# not stop at a failing line in there: join what must hold with &&.)

cases_passed=0
cases_failed=()

run_case() { # NAME: the function of that name, spaces for its underscores
	local name=${1//_/ } status=0
	printf '[ RUN      ] %s\n' "$name"
	"$1" || status=$?
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
