#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A private Slurm of one node, in a temporary folder and on loopback, and programs under its srun:
# through PMIx, through PMI-1 (mpi/pmi2), and without either. Needs root and Debian's slurm-wlm and
# munge; exits with 77, which meson counts as skipped, where they are missing.
#
#   slurm.sh ALL_REDUCE_PERF EXAMPLE true|false: whether PMIx was built in
set -uo pipefail
PATH=$PATH:/usr/sbin
# libpmix's leaks are not ours.
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
perf=$1
example=$2
pmix=$3
failed=0

skip() {
	echo "SKIPPED: no Slurm to test with: $*"
	exit 77
}

[ "$(id -u)" = 0 ] || skip "a private one needs root"
for program in munged slurmctld slurmd srun scontrol; do
	command -v $program >/dev/null || skip "$program is missing (scripts/setup --ci installs it)"
done

# The length of the socket's path is bounded.
dir=$(mktemp -d /tmp/hocket-slurm-XXXXXX)
pids=()
stop() {
	# slurmd and slurmctld first: they ask munge until the end.
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill "${pids[i]}" 2>/dev/null
		for ((wait = 0; wait < 50; wait++)); do
			kill -0 "${pids[i]}" 2>/dev/null || break
			sleep 0.1
		done
		kill -9 "${pids[i]}" 2>/dev/null
	done
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 1' INT TERM

free_port() { # from a place of this process's own, below those that the kernel hands out
	local port=$((20000 + ($$ * 7 + $1 * 1009) % 12000))
	while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
	echo $port
}

chmod 700 "$dir"
head -c 128 /dev/urandom >"$dir/munge.key"
chmod 600 "$dir/munge.key"
munged --foreground --force --num-threads=1 --key-file="$dir/munge.key" --socket="$dir/munge.sock" \
	--pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/seed" \
	>"$dir/munged.out" 2>&1 &
pids+=($!)

node=$(hostname -s)
cat >"$dir/slurm.conf" <<END
ClusterName=hocket
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$(free_port 1)
SlurmdPort=$(free_port 2)
AuthType=auth/munge
AuthInfo=socket=$dir/munge.sock
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
KillWait=2
NodeName=$node NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes=$node Default=YES OverSubscribe=FORCE MaxTime=10 State=UP
END
mkdir "$dir/state" "$dir/spool"
export SLURM_CONF=$dir/slurm.conf
show_logs() {
	tail -n 20 "$dir"/*.log "$dir"/*.out
}

for ((wait = 0; wait < 50; wait++)); do
	[ -S "$dir/munge.sock" ] && break
	sleep 0.1
done
slurmctld -D -i >"$dir/slurmctld.out" 2>&1 &
pids+=($!)
slurmd -D >"$dir/slurmd.out" 2>&1 &
pids+=($!)
for ((wait = 0; wait < 150; wait++)); do
	state=$(timeout 5 scontrol show node "$node" 2>/dev/null | grep -o 'State=[A-Z]*')
	[ "$state" = State=IDLE ] && break
	sleep 0.2
done
if [ "$state" != State=IDLE ]; then
	show_logs
	echo "FAILED: the private Slurm did not come up: see its logs above"
	exit 1
fi

# One srun: its status, and how many lines of its output match.
run() { # STATUS PATTERN COUNT ARGUMENTS...
	local want=$1 pattern=$2 count=$3 got status
	shift 3
	echo "+ srun $*"
	timeout 60 srun "$@" >"$dir/output" 2>&1
	status=$?
	sed 's/^/    /' "$dir/output"
	got=$(grep -cE "$pattern" "$dir/output")
	if [ "$status" = "$want" ] && [ "$got" = "$count" ]; then
		echo "ok"
	else
		echo "FAILED: status $status instead of $want, or $got lines instead of $count with '$pattern'"
		failed=1
	fi
}

if [ "$pmix" = true ]; then
	run 0 '4 ranks = 4 processes \(pmix\)|Out of bounds values : 0 OK' 2 \
		--mpi=pmix -n 4 "$perf" -b 1K -e 64K -f 8 -n 2
	run 0 'the sum is 10$' 4 --mpi=pmix -n 4 "$example"
else
	run 1 'built without PMIx' 4 --mpi=pmix -n 4 "$example"
fi
run 0 'the sum is 10$' 4 --mpi=pmi2 -n 4 "$example"
# Without PMI: by hand, with the place from Slurm's variables; or a sentence.
run 0 'the sum is 6$' 3 --mpi=none -n 3 --export="ALL,HOCKET_ID_ADDR=127.0.0.1:$(free_port 3)" "$example"
run 0 'the sum is 6$' 3 --mpi=none -n 3 --export="ALL,HOCKET_ID_FILE=$dir/id" "$example"
run 1 'use .srun --mpi=pmix' 2 --mpi=none -n 2 "$example"

[ $failed = 0 ] || show_logs
exit $failed
