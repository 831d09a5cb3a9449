# cmake, the build tool and gcc build this project's core: the same objects as without the library.
. "$(dirname "$0")/common.bash"
need cmake; need gcc
source=$(cd "$(dirname "$0")/../.." && pwd)
# A copy, and one build folder for both: the objects hold the paths, and the tree may be edited meanwhile.
mkdir "$work/source"
cp -r "$source"/{CMakeLists.txt,LICENSE,*.md,include,alloc,rcu,reclaim,tools} "$work/source/"
build() { # plain or preloaded
	"$1" cmake -S "$work/source" -B "$work/build" -DQSLAB_JEMALLOC=none -DQSLAB_TESTS=OFF >"$work/out" &&
		limit=300 "$1" cmake --build "$work/build" --target qslab-core -j2 >"$work/out" ||
		{ tail -n 20 "$work/out"; fail "the build, $1"; }
	mv "$work/build" "$work/build.$1"
}
loads gcc; loads "$(gcc -print-prog-name=cc1)"
build plain
build preloaded
count=0
while read -r object; do
	cmp "$work/build.plain/$object" "$work/build.preloaded/$object" || fail "$object: another object than without the library"
	count=$((count + 1))
done < <(cd "$work/build.plain" && find . -name '*.o')
[ $count -ge 10 ] || fail "only $count objects"
echo "$count equal objects"
finish
