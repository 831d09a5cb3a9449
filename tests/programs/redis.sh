# redis-server over the library: what was written comes back, also from a dump forked off under load.
. "$(dirname "$0")/common.bash"
need redis-server; need redis-cli; need redis-benchmark
cli() { timeout 30 redis-cli -p "$port" "$@"; }
start() { # "over" or "without" the library
	port=$(free_port)
	local how=(redis-server --port "$port" --bind 127.0.0.1 --dir "$work" --save '' --logfile "$work/log" --enable-debug-command yes)
	if [ "$1" = over ]; then
		serve "${how[@]}"
	else
		"${how[@]}" & server=$!; children+=("$server")
	fi
	for _ in $(seq 100); do [ "$(cli ping 2>/dev/null)" = PONG ] && return; sleep 0.1; done
	tail -5 "$work/log"
	fail "redis-server does not answer"
}
persistence() { cli info persistence | tr -d '\r' | grep -qx "$1"; }
background_save() {
	cli bgsave >/dev/null
	for _ in $(seq 300); do persistence rdb_bgsave_in_progress:0 && break; sleep 0.1; done
	persistence rdb_last_bgsave_status:ok || fail "BGSAVE"
}
read_known() { seq 20000 | sed 's/.*/GET known:&/' | cli; }

seq 20000 | awk '{ v = $1; while (length(v) < $1 % 700) v = v "." $1; print v }' >"$work/values"
awk '{ print "SET known:" NR, $0 }' "$work/values" >"$work/commands"
seq 5000 | awk '{ print "HSET hash:" $1 % 50, "field" $1, $1 * $1; print "RPUSH list:" $1 % 20, $1; print "ZADD ranks", $1 % 97, $1 }' >>"$work/commands"

loads redis-server
start over
check_mapped "$server"
cli --pipe <"$work/commands" | grep -q 'errors: 0, replies: 35000' || fail "writing"
(
	for size in 3 100 4000; do
		timeout 60 redis-benchmark -p "$port" -q -n 10000 -r 5000 -c 20 -t set,get,lpush,lpop,sadd,hset,spop,mset -d $size || exit 1
	done
) >"$work/benchmark" 2>&1 &
load=$!; children+=("$load")
sleep 1
background_save
kill -0 $load 2>/dev/null || echo "note: the load was over before the dump"
cp "$work/dump.rdb" "$work/under-load.rdb"
wait $load || { tail -3 "$work/benchmark"; fail "redis-benchmark"; }
read_known >"$work/read"; cmp "$work/values" "$work/read" || fail "values after the load"
background_save
digest=$(cli debug digest)
[ ${#digest} -eq 40 ] || fail "DEBUG DIGEST: $digest"
end_server

for how in over without; do
	start $how
	[ "$(cli debug digest)" = "$digest" ] || fail "another content after loading the dump $how the library"
	end_server
done
mv "$work/under-load.rdb" "$work/dump.rdb"
start over
read_known >"$work/read"; cmp "$work/values" "$work/read" || fail "values in the dump made under load"
end_server
finish
