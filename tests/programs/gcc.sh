# gcc builds this project's core: the same objects as without the library.
. "$(dirname "$0")/common.bash"
need gcc
cd "$(dirname "$0")/../.." || exit 1
for source in heap span large stats slow; do
	for how in plain preloaded; do
		over=env; [ $how = preloaded ] && over=preloaded
		$over gcc -std=gnu17 -O2 -g -Iinclude -ftls-model=initial-exec -c "alloc/$source.c" -o "$work/$source.o" ||
			fail "$source.c, $how"
		mv "$work/$source.o" "$work/$source.$how"
	done
	same "$source"
done
finish
