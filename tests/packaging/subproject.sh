# In a subfolder of another project's, one with names, flags and a build folder of its own: the libraries and nothing else.
. "$(dirname "$0")/../programs/common.bash"
here=$(readlink -f "$(dirname "$0")")
limit=500
cd "$work" || exit 1
quiet() { timeout -k 5 "$limit" "$@" >log 2>&1 || { tail -30 log; fail "$*"; }; }

mkdir -p "the project" && cd "the project" || exit 1
ln -s "$here/../.." qslab
cat >CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(user C)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_FLAGS "-O2 -Wall -Werror")
enable_testing()
add_custom_target(check)
add_custom_target(tests)
add_subdirectory(qslab)
add_executable(user main.c)
target_link_libraries(user qslab::qslab)
add_executable(user-static main.c)
target_link_libraries(user-static qslab::static)
install(TARGETS user)
CMAKE
cat >main.c <<'C'
#include <qslab/qslab.h>
#include <qslab/rcu.h>

struct object {
	int number;
	struct rcu_ptr rcu;
};

int main(void)
{
	struct object *object = qslab_malloc(sizeof *object);
	struct qslab_rcu_stats stats;

	qslab_free_rcu(object, rcu);
	qslab_rcu_barrier();
	qslab_rcu_stats(&stats);
	return stats.reclaimed != 1;
}
C
quiet cmake -S . -B "a build"
quiet cmake --build "a build" -j2
for program in user user-static; do
	timeout 60 "a build/$program" || fail "$program: status $?"
done
[ -e "a build/lib/libqslab-malloc.so" ] || fail "no library to preload"
[ ! -e "a build/bin/qslab" ] || fail "the tool was built"
grep -q '^CMAKE_BUILD_TYPE:STRING=$' "a build/CMakeCache.txt" || fail "its build type was set"
ctest --test-dir "a build" -N | grep -qx 'Total Tests: 0' || fail "it has our tests"
quiet cmake --install "a build" --prefix installed
[ "$(find installed -type f)" = installed/bin/user ] || fail "it installs more than its own: $(find installed -type f)"
finish
