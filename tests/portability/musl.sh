# The preload library for musl: built with musl-gcc, spans from mmap, liburcu known weakly as everywhere; a program of
# threads, forks and every call of the family runs over it.
. "$(dirname "$0")/../programs/common.bash"
need musl-gcc
source=$(readlink -f "$(dirname "$0")/../..")
# headers that no C library has a say in
multiarch=/usr/include/$(gcc -print-multiarch)
mkdir -p "$work/include/sys"
for name in linux asm-generic asm urcu sys/sdt.h sys/sdt-config.h; do
	for folder in "$multiarch" /usr/include; do
		[ -e "$folder/$name" ] && ln -s "$folder/$name" "$work/include/$name" && break
	done
done

cd "$source" || fail "no source"
export COMPILE="musl-gcc -std=gnu17 -O2 -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-builtin -DQSLAB_NO_JEMALLOC \
	-Wall -Wextra -Wshadow -Werror -Iinclude -I. -idirafter $work/include"
export work
ls alloc/*.c rcu/*.c reclaim/*.c | grep -vE 'jemalloc\.c|alloc/(count|fault)\.c' |
	timeout -k 5 "$limit" xargs -P2 -I{} sh -c '$COMPILE -c {} -o "$work/$(echo {} | tr / -).o"' || fail "does not compile"
library=$work/libqslab-malloc.so
musl-gcc -shared -Wl,--version-script=alloc/qslab-malloc.map -Wl,-z,now -Wl,-z,nodelete -Wl,-z,defs "$work"/*.o -o "$library" \
	2>>"$work/stderr" || fail "does not link"
$COMPILE tests/portability/musl.c -fPIE -o "$work/program" || fail "the program does not compile"
timeout -k 5 "$limit" env LD_PRELOAD="$library" "$work/program" 2>>"$work/stderr" || fail "status $?"
finish
