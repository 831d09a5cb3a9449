# Programs with every object recorded, poisoned and quarantined, and with sampled pages: the same output, no report.
. "$(dirname "$0")/common.bash"
need perl
cat >"$work/script.pl" <<'PERL'
my (%text, @all);
for my $i (1 .. 20000) {
	$text{$i * 7919 % 3000} .= "x" x ($i % 300);
	push @all, join(",", map { $_ * $i } 1 .. 5);
	delete $text{$i * 31 % 3000} if $i % 5 == 0;
	splice @all, $i * 13 % @all, 1 if $i % 3 == 0;
}
print "$_ ", length $text{$_}, "\n" for sort keys %text;
print join("\n", sort @all), "\n";
print `echo child`;
if (!fork) { my @more = map { "y$_" } 1 .. 1000; exit 0 }
wait;
print "child $?\n";
PERL
cat >"$work/script.py" <<'PYTHON'
import json, subprocess, threading, zlib
done = []
def work(seed):
    for i in range(10):
        data = {str(j): [j * seed] * (j % 20) for j in range(100)}
        text = json.dumps(data)
        assert json.loads(zlib.decompress(zlib.compress(text.encode() * 5))[:len(text)]) == data
    done.append(seed)
threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(done), subprocess.run(["echo", "child"], capture_output=True).stdout)
PYTHON
export PERL_HASH_SEED=0 PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1
unset "${!QSLAB_RCU_@}"
python=/usr/bin/python3
programs=("perl $work/script.pl")
[ ! -x $python ] || programs+=("$python $work/script.py")
for program in "${programs[@]}"; do
	plain $program >"$work/out.plain" || fail "$program: without the library"
	for options in QSLAB_RCU_DEBUG=1 QSLAB_RCU_SAMPLE=100 QSLAB_RCU_SAMPLE=1 "QSLAB_RCU_DEBUG=1 QSLAB_RCU_SAMPLE=10"; do
		export $options
		preloaded $program >"$work/out.preloaded" || fail "$program: $options: exit status $?"
		unset QSLAB_RCU_DEBUG QSLAB_RCU_SAMPLE
		same out
	done
done

# a use after free is caught through the C library's names too
cat >"$work/bad.c" <<'C'
#include <stdlib.h>
int main(void)
{
	volatile char *object = malloc(100);
	free((void *)object);
	object[50] = 1;
	return 0;
}
C
if command -v gcc >/dev/null && gcc -w -fno-builtin -o "$work/bad" "$work/bad.c"; then
	QSLAB_RCU_DEBUG=1 LD_PRELOAD="$library" "$work/bad" 2>"$work/err"
	[ $? -eq 134 ] && grep -q '^qslab: write after free: 112-byte object' "$work/err" || fail "debug: $(cat "$work/err")"
	QSLAB_RCU_SAMPLE=1 LD_PRELOAD="$library" "$work/bad" 2>"$work/err"
	[ $? -eq 139 ] && grep -q '^qslab: use after free: .* 50 bytes into' "$work/err" || fail "sample: $(cat "$work/err")"
fi
finish
