#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `hocket run --hosts` over a real ssh to a private sshd on loopback, with a key of its own; and, as
# root, between network namespaces that are hosts to each other, with a stand-in for ssh that enters
# them. Exits with 77, which meson counts as skipped, where sshd and ssh are missing.
#
#   hosts.sh HOCKET EXAMPLE
set -uo pipefail
PATH=$PATH:/usr/sbin
hocket=$(readlink -f "$1")
example=$(readlink -f "$2")
failed=0

for program in sshd ssh ssh-keygen; do
	command -v $program >/dev/null || {
		echo "SKIPPED: $program is missing (scripts/setup --ci installs it)"
		exit 77
	}
done

# A network of our own where that is possible: any port is free, and everything goes with it.
if [ "$(id -u)" = 0 ] && [ -z "${HOCKET_TEST_NET:-}" ] && unshare --net true 2>/dev/null; then
	HOCKET_TEST_NET=1 exec unshare --net "$0" "$@"
fi
own_net=${HOCKET_TEST_NET:-}
unset HOCKET_TEST_NET

dir=$(mktemp -d /tmp/hocket-hosts-XXXXXX)
pids=()
stop() {
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
	wait 2>/dev/null
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 1' INT TERM

check() { # NAME, and whether it holds: the status before
	if [ $? = 0 ]; then
		echo "ok: $1"
	else
		echo "FAILED: $1; the output was:"
		sed 's/^/    /' "$dir/output"
		failed=1
	fi
}

# --- ssh ---

port=$((20000 + $$ % 12000))
[ -z "$own_net" ] || ip link set lo up
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
ssh-keygen -q -t ed25519 -N '' -f "$dir/host_key"
ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
cp "$dir/key.pub" "$dir/authorized"
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
cat >"$dir/sshd_config" <<END
Port $port
ListenAddress 127.0.0.2
ListenAddress 127.0.0.3
HostKey $dir/host_key
AuthorizedKeysFile $dir/authorized
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
PrintMotd no
END
"$(command -v sshd)" -D -e -f "$dir/sshd_config" 2>"$dir/sshd.log" &
pids+=($!)
ssh="ssh -F none -p $port -i $dir/key -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR"
ssh+=" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
for ((wait = 0; wait < 50; wait++)); do
	$ssh 127.0.0.2 true 2>"$dir/output" && break
	sleep 0.1
done
$ssh 127.0.0.3 true >"$dir/output" 2>&1 || tail -n 20 "$dir/sshd.log"
check "the private sshd answers"

over_ssh() { # ARGS...
	timeout 40 "$hocket" run --ssh "$ssh" "$@" >"$dir/output" 2>&1
}

over_ssh --hosts 127.0.0.2:2,127.0.0.3:2 "$example"
[ $? = 0 ] && [ "$(grep -c 'of 4: the sum is 10$' "$dir/output")" = 4 ]
check "four ranks over ssh"

# HOCKET_HOST_ID makes the two addresses two hosts: tcp between them.
HOCKET_DEBUG=0 over_ssh --hosts 127.0.0.2:1,127.0.0.3:1 --prefix \
	sh -c "HOCKET_HOST_ID=\$RANK exec $example"
[ $? = 0 ] && grep -q '^\[1\] rank 1 of 2: the sum is 3$' "$dir/output"
check "two hosts over tcp"

over_ssh --hosts 127.0.0.2:1,127.0.0.3:1 sh -c 'test $RANK = 0 || exit 7; exec sleep 30'
[ $? = 7 ] && grep -q 'rank 1 (pid [0-9]* on 127.0.0.3) exited with status 7' "$dir/output"
check "a rank's status comes back, and ends the others"

# ^C: everything goes, on both sides. A job in the background would ignore it.
mark=61.$$
env --default-signal=INT "$hocket" run --ssh "$ssh" --hosts 127.0.0.2:1,127.0.0.3:1 --timeout 40 \
	sh -c "echo up; exec sleep $mark" >"$dir/output" 2>&1 &
job=$!
for ((wait = 0; wait < 100; wait++)); do
	[ "$(grep -c up "$dir/output")" = 2 ] && break
	sleep 0.1
done
kill -INT $job
wait $job
status=$?
for ((wait = 0; wait < 50; wait++)); do
	pgrep -f "^sleep $mark" >/dev/null || break
	sleep 0.1
done
! pgrep -f "^sleep $mark" >/dev/null && [ $status = 130 ]
check "an interrupt ends all ranks (status $status)"

over_ssh --ssh "${ssh/-p $port/-p 1}" --hosts 127.0.0.2 "$example"
[ $? = 125 ] && grep -q 'nothing was started on 127.0.0.2' "$dir/output"
check "a host that cannot be reached is named"

over_ssh --remote-hocket /nowhere/hocket --hosts 127.0.0.2 "$example"
[ $? = 125 ] && grep -q -e '--remote-hocket' "$dir/output"
check "a host without hocket is told apart"

# --- namespaces ---

host() { # NAME ADDRESS: a namespace on the bridge; its process is in $dir/NAME
	unshare --net sleep 300 &
	pids+=($!)
	echo $! >"$dir/$1"
	# It has a namespace of its own only when unshare has run.
	for ((wait = 0; wait < 50; wait++)); do
		[ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/$$/ns/net)" ] && break
		sleep 0.02
	done
	ip link add "to_$1" type veth peer name eth0 netns $!
	ip link set "to_$1" master hosts up
	nsenter --net --target $! sh -c "ip link set lo up; ip address add $2/24 dev eth0; ip link set eth0 up"
}

if [ -n "$own_net" ] && ip link add hosts type bridge 2>"$dir/output"; then
	ip link set hosts up
	host a 10.77.0.1
	host b 10.77.0.2
	cat >"$dir/enter" <<END
#!/bin/sh
exec env HOCKET_HOST_ID=\$1 nsenter --net --target \$(cat $dir/\$1) sh -c "\$2"
END
	chmod +x "$dir/enter"
	# This end has no address in that network: only the hosts must reach each other.
	timeout 60 "$hocket" run --hosts a:2,b:2 --ssh "$dir/enter" "$example" >"$dir/output" 2>&1
	[ $? = 0 ] && [ "$(grep -c 'of 4: the sum is 10$' "$dir/output")" = 4 ]
	check "two namespaces that only reach each other"
else
	echo "not tested: namespaces need root and a bridge"
fi
exit $failed
