# /etc/ld.so.preload: the library in every program, also those that change their user. In a mount namespace of each
# command's own, with a copy of /etc. What is there runs, and says the same as without.
. "$(dirname "$0")/common.bash"
need unshare
[ "$(id -u)" = 0 ] || skip "not root"
chmod 711 "$work" && cp -a /etc "$work/etc" && cp "$library" "$work/everywhere.so" && chmod 755 "$work/everywhere.so"
echo "$work/everywhere.so" >"$work/etc/ld.so.preload"
everywhere() { timeout "$limit" unshare -m sh -c 'mount --bind "$0" /etc && exec "$@"' "$work/etc" "$@"; }
everywhere true 2>/dev/null || skip "no mount namespace"
seq 1 20000 >"$work/numbers"
commands=(
	"su nobody -s /bin/sh -c 'id -un; ls / | head -3'"
	"sort -R --random-source=$work/numbers $work/numbers | md5sum"
	"tar cf - -C $work numbers | tar xOf - | md5sum"
	"xz -c -T2 $work/numbers | xz -dc | md5sum"
	"awk 'BEGIN { for (i = 0; i < 200000; i++) a[i % 5000] = a[i % 5000] i % 7; print length(a), length(a[77]) }'"
	"sed 's/1/one/g' $work/numbers | md5sum"
	"perl -MEncode -e 'print length(encode(\"UTF-8\", \"\\x{263a}\" x 100000)), \"\\n\"'"
	"python3 -c 'import multiprocessing as m; p = m.Pool(3); print(sum(p.map(abs, range(1000)))); p.close(); p.join()'"
	"php -r 'echo strlen(gzcompress(str_repeat(\"ab\", 100000))), \"\\n\";'"
	"git --version; git hash-object $work/numbers"
	"sqlite3 :memory: 'with recursive c(x) as (select 1 union all select x + 1 from c limit 50000) select sum(x) from c'"
	"sh -c 'printf \"int main(void) { return 0; }\" | gcc -x c -O2 -o $work/made - && $work/made && echo made'"
	"man -P cat true | head -5"
	"dpkg -l bash | tail -1 | cut -c1-10"
	"gdb -batch -ex 'print 6 * 7'"
	"openssl dgst -sha256 $work/numbers"
	"bash -c 'for i in \$(seq 300); do (:) & done; wait; echo \$i'"
)
everywhere grep -q everywhere.so /proc/self/maps || fail "the library is not in every program"
for command in "${commands[@]}"; do
	command -v "${command%% *}" >/dev/null || { echo "note: no ${command%% *}"; continue; }
	timeout "$limit" sh -c "$command" >"$work/out.plain" 2>/dev/null
	before=$?
	everywhere sh -c "$command" >"$work/out.preloaded" 2>>"$work/stderr"
	after=$?
	[ $after -eq $before ] || fail "$command: status $after, $before without the library"
	same out
done
finish
