# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the suites that run scenarios of the end-to-end programs over verbs, between ranks that are
# processes, each with the devices of its rank.
source "$(dirname "${BASH_SOURCE[0]}")/cases.sh"
programs=$1/tests/e2e
export HOCKET_TRANSPORTS=verbs HOCKET_TEST_LAUNCH=on-rank
# A machine that is emulated on busy cores may stand still for longer than a fabric is given to answer;
# and where packets are sent again, rxe of Linux 6.1 now and then refuses a write (status 9).
export HOCKET_IB_TIMEOUT=17
one_rail=(HOCKET_IB_RAILS=1)

scenario() { # PROGRAM SCENARIO RANKS [VARIABLE=VALUE]...
	local start=$SECONDS status=0
	env "${@:4}" timeout -k 5 100 "$programs/$1" "$2" "$3" || status=$?
	printf '%s, %s ranks: %d s\n' "$2" "$3" $((SECONDS - start))
	return $status
}
