#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Jobs between network namespaces: several interfaces side by side, IPv4 and IPv6, delay, loss and
# rate limits, an interface taken down, a network cut, and all of them cut.
#
#   run.sh CABLE JOB [CASE...]
#
# Needs root, ip and /dev/net/tun, and exits with 77 where they are missing. Everything that it makes is
# its own and gone afterwards. Each rank is in a namespace of its own, rank 0 in the first; rail N is
# an interface railN in each.
set -u
cable=$1
job=$2
shift 2

skip() {
	echo "$*"
	exit 77
}
[ "$(id -u)" = 0 ] || skip "making network namespaces needs root"
command -v ip >/dev/null || skip "no ip command: install iproute2"
[ -c /dev/net/tun ] || skip "no /dev/net/tun: load the module tun"
ip netns add "hkprobe$$" 2>/dev/null || skip "network namespaces cannot be made here"
ip netns del "hkprobe$$"

folder=$(mktemp -d)
prefix=hk$$
failed=0
nspaces=0
cables=()

tear_down() {
	# Word splitting is meant: these are process ids.
	kill -9 ${cables[@]+"${cables[@]}"} ${ranks[@]+"${ranks[@]}"} 2>/dev/null
	wait ${cables[@]+"${cables[@]}"} 2>/dev/null
	for ((i = 0; i < nspaces; i++)); do
		ip netns del "$prefix-$i" 2>/dev/null
	done
	cables=() ranks=() nspaces=0
}
trap 'tear_down; rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

# namespaces N
namespaces() {
	nspaces=$1
	for ((i = 0; i < nspaces; i++)); do
		ip netns add "$prefix-$i" || exit 1
		ip -n "$prefix-$i" link set lo up
		# No waiting for duplicate address detection.
		ip netns exec "$prefix-$i" sysctl -qw net.ipv6.conf.default.accept_dad=0 2>/dev/null
	done
}

# rail NUMBER FAMILIES [flags of cable]: an interface in every namespace
rail() {
	local number=$1 families=$2 ends=() i
	shift 2
	for ((i = 0; i < nspaces; i++)); do
		ends+=("$prefix-$i:rail$number")
	done
	: >"$folder/cable$number"
	"$cable" "$@" "${ends[@]}" >"$folder/cable$number" &
	cables[number]=$!
	for ((i = 0; i < 100; i++)); do
		grep -q ready "$folder/cable$number" && break
		sleep 0.02
	done
	for ((i = 0; i < nspaces; i++)); do
		case $families in
		*4*) ip -n "$prefix-$i" addr add "10.77.$number.$((i + 1))/24" dev "rail$number" ;;
		esac
		case $families in
		*6*) ip -n "$prefix-$i" addr add "fd77:$number::$((i + 1))/64" dev "rail$number" nodad ;;
		esac
		ip -n "$prefix-$i" link set "rail$number" up
	done
}

# start SECONDS: a rank in each namespace
start() {
	ranks=()
	rm -f "$folder/id" "$folder"/log?
	for ((i = 0; i < nspaces; i++)); do
		HOCKET_RANK=$i HOCKET_NRANKS=$nspaces HOCKET_ID_FILE=$folder/id HOCKET_DEBUG=3 \
			HOCKET_INIT_TIMEOUT_MS=10000 \
			ip netns exec "$prefix-$i" timeout -k 1 30 "$job" "$1" \
			>"$folder/log$i" 2>&1 &
		ranks[i]=$!
	done
}

# When all ranks have begun.
begun() {
	for ((n = 0; n < 500; n++)); do
		[ "$(grep -l 'init took' "$folder"/log? 2>/dev/null | wc -l)" = "$nspaces" ] && return
		sleep 0.02
	done
}

wrong() {
	echo "  WRONG: $*"
	[ "$bad" = 1 ] && return
	bad=1
	for ((i = 0; i < nspaces; i++)); do
		sed "s/^/    $i: /" "$folder/log$i" | tail -n 15
	done
}

# finish STATUS: all ranks end with that status
finish() {
	for ((i = 0; i < nspaces; i++)); do
		wait "${ranks[i]}"
		local status=$?
		[ $status = "$1" ] || wrong "rank $i ended with $status, not $1"
	done
	ranks=()
	grep -h 'calls, the longest\|failed after' "$folder"/log? | sed 's/^/  /'
}

# says RANK PATTERN: the rank's log has it
says() {
	grep -Eq -- "$2" "$folder/log$1" || wrong "rank $1 does not say: $2"
}

# sent RANK RAIL: bytes
sent() {
	ip netns exec "$prefix-$1" cat "/sys/class/net/rail$2/statistics/tx_bytes"
}

# used RANK RAIL SINCE: the rail has carried at least 100 KB since that count
used() {
	local bytes=$(($(sent "$1" "$2") - $3))
	[ $bytes -ge 100000 ] || wrong "rank $1 sent only $bytes bytes over rail$2"
}

# longest RANK: its longest call, in milliseconds
longest() {
	sed -n 's/.*the longest \([0-9]*\) ms.*/\1/p' "$folder/log$1"
}

# --- cases ---

case_three_ranks_two_rails() {
	namespaces 3
	rail 0 46
	rail 1 46
	start 0.5
	finish 0
	for r in 0 1 2; do
		used $r 0 0
		used $r 1 0
	done
}

case_ipv6_alone() {
	namespaces 2
	rail 0 6
	rail 1 6
	start 0.5
	finish 0
	used 0 0 0
	used 0 1 0
}

# One interface is one socket, whatever addresses it has.
case_one_rail_is_one_socket() {
	namespaces 2
	rail 0 46
	start 0.3
	finish 0
	! grep -q 'uses rail' "$folder/log0" || wrong "more than one socket on one rail"
}

case_several_sockets_on_a_rail() {
	namespaces 2
	rail 0 4
	HOCKET_TCP_SOCKETS=3 start 0.5
	finish 0
	[ "$(grep -c 'channel 0 to rank 1 uses rail0' "$folder/log0")" = 3 ] || wrong "not three sockets"
}

case_delay_loss_and_unequal_rates() {
	namespaces 2
	rail 0 4 -d 2000 -l 0.5 -r 200
	rail 1 4 -d 500 -l 0.5 -r 50
	start 1.5
	finish 0
	used 0 0 0
	used 0 1 0
}

# An address that has a route, but nobody behind it, is tried and not used.
case_unreachable_rail() {
	namespaces 2
	rail 0 4
	rail 1 4
	rail 2 4
	kill -USR1 "${cables[0]}"
	start 1
	finish 0
	used 0 1 0
	used 0 2 0
}

case_excluded_rail() {
	namespaces 2
	rail 0 4
	rail 1 4
	rail 2 4
	before=$(sent 0 1)
	HOCKET_IFNAME='rail,^rail1' start 0.5
	finish 0
	used 0 0 0
	used 0 2 0
	[ $(($(sent 0 1) - before)) -lt 10000 ] || wrong "an excluded interface was used"
}

# Rail 1 goes down in the middle and comes back; nothing is lost, and it is used again.
case_interface_down_and_up() {
	namespaces 2
	rail 0 4 -r 400
	rail 1 4 -r 400
	start 4
	begun
	sleep 0.5
	ip -n "$prefix-0" link set rail1 down
	sleep 1.7
	before=$(sent 0 1)
	ip -n "$prefix-0" link set rail1 up
	finish 0
	says 0 'rank 1 on host .*rail1.*was lost.*go over the other'
	used 0 1 "$before"
	[ "$(longest 0)" -lt 3000 ] || wrong "a call took $(longest 0) ms"
}

# The same without either end's interface noticing, and on the rail that the start-up used: long
# enough for the control connections to find out, and to be dialled again.
case_network_cut() {
	namespaces 3
	rail 0 4 -r 400
	rail 1 4 -r 400
	HOCKET_TCP_TIMEOUT_MS=1500 start 5
	begun
	sleep 0.2
	kill -USR1 "${cables[0]}"
	finish 0
	says 0 'control connection with rank 1 .*rail0.* is silent; trying all'
	says 0 'rank [12] on host .*rail0.*was lost.*go over the other'
	[ "$(longest 0)" -lt 3000 ] || wrong "a call took $(longest 0) ms"
}

case_all_cut() {
	namespaces 2
	rail 0 4
	rail 1 4
	HOCKET_TCP_TIMEOUT_MS=2000 start 20
	begun
	sleep 0.3
	kill -USR1 "${cables[0]}" "${cables[1]}"
	finish 3
	# Whichever notices first, the connections of the call or the control connection.
	for r in 0 1; do
		says $r "rank $((1 - r)) (on host $(hostname) )?no longer answers on .*rail[01]"
		took=$(sed -n 's/.*failed after \([0-9]*\)\..*/\1/p' "$folder/log$r")
		[ "${took:-99}" -le 5 ] || wrong "the error came after $took s"
	done
}

# One rail is one socket, and its end an error as well.
case_only_rail_down() {
	namespaces 2
	rail 0 4
	HOCKET_TCP_TIMEOUT_MS=2000 start 20
	begun
	sleep 0.3
	ip -n "$prefix-0" link set rail0 down
	finish 3
	says 0 "rank 1 (on host $(hostname) )?no longer answers on .*rail0"
}

[ $# -gt 0 ] || set -- three_ranks_two_rails ipv6_alone one_rail_is_one_socket \
	several_sockets_on_a_rail delay_loss_and_unequal_rates unreachable_rail excluded_rail \
	interface_down_and_up network_cut all_cut only_rail_down
for name; do
	echo "$name"
	SECONDS=0 bad=0
	"case_$name"
	tear_down
	echo "  $SECONDS s"
	failed=$((failed + bad))
done
# As cmocka does it.
[ $failed = $# ] || echo "[  PASSED  ] $(($# - failed)) test(s)."
[ $failed = 0 ] || echo "[  FAILED  ] $failed test(s)."
[ $failed = 0 ]
