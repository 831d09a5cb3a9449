# The qslab command: every wrong use is one clear line on stderr and the status that --help states.
. "$(dirname "$0")/look.bash"
unset QSLAB_LIBRARY

# passes STATUS ARGUMENT...: runs it under `qslab run`; only the command's own words may appear.
passes() {
	local status=$1 got
	shift
	timeout 60 "$tool" run -- "$@" >out 2>err
	got=$?
	[ $got -eq "$status" ] && [ ! -s err ] || fail "$*: status $got instead of $status, stderr: $(cat err)"
}

wants 2 "no subcommand given"
wants 2 "unknown subcommand nonsense" nonsense
wants 2 "unknown subcommand --nonsense" --nonsense
wants 2 "superfluous argument extra" --version extra
wants 2 "run: no command given" run
wants 2 "run: no command given" run --
wants 2 "run: no command given" run --stats --
wants 2 "run: unknown option --nonsense" run --nonsense -- true
wants 2 "run: unknown option -s" run -s true
wants 127 "no-such-command: " run -- no-such-command
wants 127 "/no/such/command: " run -- /no/such/command
wants 126 "$work: " run -- "$work"
printf '#!/bin/sh\n' >not-executable
wants 126 "./not-executable: Permission denied" run -- ./not-executable

export QSLAB_LIBRARY=/nonexistent
wants 1 "QSLAB_LIBRARY=/nonexistent: No such file" run -- true
export QSLAB_LIBRARY=$work
wants 1 "$work: not a shared library" run -- true
for content in '' text $'\x7fELF'; do
	printf %s "$content" >"$work/not-a-library"
	export QSLAB_LIBRARY=$work/not-a-library
	wants 1 "$QSLAB_LIBRARY: not a shared library" run -- true
done
mkdir "with space" && cp "$library" "with space/lib.so"
export QSLAB_LIBRARY="with space/lib.so"
wants 1 "$work/with space/lib.so: LD_PRELOAD cannot name a path with a space or a colon" run -- true
cp "$library" here.so
export QSLAB_LIBRARY=here.so # a relative name must outlive a chdir
passes 0 sh -c 'cd / && grep -q "/here.so" /proc/self/maps'
unset QSLAB_LIBRARY
mkdir -p alone/bin && cp "$tool" alone/bin/
(tool=$work/alone/bin/qslab && wants 1 "libqslab-malloc.so is not beside $work/alone/bin (../lib); set QSLAB_LIBRARY" run -- true) || exit 1

passes 0 true
passes 3 sh -c 'exit 3'
passes 255 sh -c 'exit 255'
passes 137 sh -c 'kill -KILL $$'
passes 134 sh -c 'ulimit -c 0; kill -ABRT $$'
passes 0 printf '%s.' --stats -- 'two words' ''
[ "$(cat out)" = "--stats.--.two words.." ] || fail "arguments: $(cat out)"
passes 0 grep libqslab-malloc.so /proc/self/maps
[ "$(printf words | "$tool" run -- cat)" = words ] || fail "stdin"

# what the loader cannot or will not preload into is said, and runs
if printf 'int main(void) { return 5; }' | cc -static -x c -o static - 2>/dev/null; then
	wants 5 "./static: statically linked, runs over the malloc that is in it" run -- ./static
	PATH=$work:$PATH wants 5 "$work/static: statically linked" run --stats -- static
fi
printf 'int main(void) { return 6; }' | cc -x c -o guarded - || fail "no compiler"
chown 1:1 guarded && chmod u+s guarded && [ "$(id -u)" = 0 ] &&
	wants 6 "./guarded: set-user-ID or set-group-ID, nothing is preloaded into it" run -- ./guarded

libm=$(ldd "$library" | sed -n 's/.*=> \(.*\)libc\.so\..*/\1libm.so.6/p')
export LD_PRELOAD=$libm
passes 0 sh -c 'echo "$LD_PRELOAD"; grep -q libm.so /proc/self/maps && grep -q libqslab-malloc /proc/self/maps'
[ "$(cat out)" = "$library:$libm" ] || fail "LD_PRELOAD was $libm and became $(cat out)"
unset LD_PRELOAD

# the table: once, on what was stderr at the start, and nowhere else
table() { [ "$(grep -c '^qslab: memory of process' "$1")" -eq 1 ] && grep -q 'live objects' "$1"; }
for command in ':' 'exec 2>&-' 'exec 2>other' 'exec 2>/dev/null'; do
	"$tool" run --stats -- bash -c "$command; exit 9" >out 2>err
	[ $? -eq 9 ] && table err && [ ! -s out ] || fail "--stats -- $command: $(cat err)"
done
# descriptors that the program took for itself, whatever their numbers
cat >taker.pl <<'PERL'
use POSIX ();
POSIX::close($_) for 2 .. 5000;
open my $first, '>', 'taken' or exit 8;
POSIX::dup2(fileno $first, $_) for 2 .. 1023;
exit 7;
PERL
if command -v perl >/dev/null; then
	"$tool" run --stats -- perl taker.pl 2>err
	[ $? -eq 7 ] || fail "taker.pl: status"
	[ ! -s taken ] || fail "the table went into the program's own file: $(head -1 taken)"
fi

"$tool" --version >out && grep -q '^qslab [0-9]' out || fail "--version"
"$tool" --help >out && grep -q '^usage: ' out || fail "--help"
"$tool" --help >/dev/full 2>/dev/null && fail "--help to a full device succeeds"
finish
