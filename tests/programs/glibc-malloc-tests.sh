# glibc's own malloc tests, from Debian's glibc-source, built here against a small support library.
# GLIBC_TESTS_KEEP=DIR keeps the built tests and what each printed.
. "$(dirname "$0")/common.bash"
archive=$(ls /usr/src/glibc/glibc-*.tar.xz 2>/dev/null | head -1)
[ -n "$archive" ] || skip "no glibc-source"
need gcc; need xz
least=32

# Run, but not counted: what they check is glibc's own. Each fails over jemalloc and mimalloc too.
not_applicable() {
	case $1 in
	tst-malloc-usable | tst-malloc-usable-tunables) echo "exact sizes by libc_malloc_debug and MALLOC_CHECK_; fails over glibc alone" ;;
	tst-malloc-backtrace) echo "writes into glibc's header before a freed object" ;;
	tst-safe-linking) echo "corrupts glibc's lists of freed chunks and wants its messages" ;;
	tst-dynarray-fail) echo "wants a smaller malloc to fail, too, after the first that failed" ;;
	esac
}
# Not tests of a foreign malloc at all: old binaries' symbols; a part of another test; linked statically; run by a
# script over glibc's debugging library; the text of a message.
no_tests='compathooks-.*|mallocstate|interpose-(aux.*|skeleton|static-.*)|mtrace|dynarray-at-fail'

cd "$work" || exit 1
tar xf "$archive" --strip-components=1 --wildcards '*/malloc/*' '*/support/*' '*/test-skeleton.c' \
	'*/include/'{libc-diag,intprops,array_length,libc-pointer-arith,scratch_buffer,alloc_buffer}.h \
	'*/sysdeps/generic/'malloc-{size,alignment}.h || fail "unpacking $archive"
mkdir headers objects tests outputs
cp include/*.h sysdeps/generic/*.h headers/
touch headers/{config,libc-symbols,libc-config}.h # what they would say is in all.h
cat >headers/all.h <<'HEADER'
#define _GNU_SOURCE 1
#define libc_hidden_proto(name)
#define libc_hidden_def(name)
#define __set_errno(value) (errno = (value))
#include <errno.h>
#include <limits.h>
HEADER
flags=(-O2 -w -std=gnu11 -fno-builtin -include headers/all.h -I. -Isupport -Imalloc -Iheaders -DTIMEOUTFACTOR=5
	-DMODULE_NAME=testsuite)
for folder in SRCDIR OBJDIR INSTDIR LIBDIR BINDIR SBINDIR SLIBDIR ROOTSBINDIR OBJDIR_ELF_LDSO COMPLOCALEDIR; do
	flags+=("-D${folder}_PATH=\".\"") # support_paths.c wants them all
done

# Whatever of the support library builds without the rest of glibc.
printf '%s\n' support/*.c malloc/{dynarray,scratch_buffer,alloc_buffer}_*.c |
	grep -vE '/(tst-|test-(container|driver|run)|(echo|shell|true)-container|links-dso)' |
	xargs -P2 -I{} sh -c 'gcc "$@" -c {} -o objects/$(basename {} .c).o 2>/dev/null || :' sh "${flags[@]}"
ar rcs libsupport.a objects/*.o

build() {
	local name=$1 extra=()
	case $name in tst-interpose-*) extra=("malloc/tst-interpose-aux-${name#tst-interpose-}.c") ;; esac
	gcc "${flags[@]}" "malloc/$name.c" "${extra[@]}" -o "tests/$name" libsupport.a -pthread 2>"outputs/$name" ||
		echo "$name does not build: $(grep -m1 -E 'error|undefined' "outputs/$name")"
}
run() {
	local name=$1 verdict
	local settings=(LD_PRELOAD="$library")
	[ "$name" = tst-malloc-check ] && settings+=(MALLOC_CHECK_=3)
	[ "$name" = tst-mxfast ] && settings+=(GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0)
	timeout -k 5 60 env "${settings[@]}" "tests/$name" >"outputs/$name" 2>&1
	local status=$?
	case $status in 0) verdict=pass ;; 77) verdict=skip ;; 124 | 137) verdict="FAIL (60 s)" ;; *) verdict="FAIL ($status)" ;; esac
	local reason; reason=$(not_applicable "$name")
	[ -n "$reason" ] && verdict="not applicable ($verdict): $reason"
	printf '%-31s %s\n' "$name" "$verdict"
	[ "${verdict#FAIL}" = "$verdict" ] || grep -a . "outputs/$name" | head -4 | cut -c1-150 | sed 's/^/    | /'
}
each() { # FUNCTION over every name on stdin, two at a time
	local name
	while read -r name; do
		while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
		"$1" "$name" >"$name.$1" &
	done
	wait
	cat ./*."$1"
}
(cd malloc && ls tst-*.c mallocbug.c) | sed 's/\.c$//' | grep -vxE "tst-($no_tests)" | each build
loads tests/tst-malloc
ls tests | each run | tee table

[ -n "${GLIBC_TESTS_KEEP:-}" ] && mkdir -p "$GLIBC_TESTS_KEEP" && cp -r tests outputs "$GLIBC_TESTS_KEEP/"
passed=$(grep -cE '^[a-z].* (pass|skip)$' table)
failed=$(grep -cE '^[a-z].* FAIL \(' table)
echo "$passed of $((passed + failed)) pass"
[ "$failed" -eq 0 ] || fail "a test that should pass"
[ "$passed" -ge $least ] || fail "fewer than $least"
echo passed
