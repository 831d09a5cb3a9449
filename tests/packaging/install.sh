# `cmake --install`: each component brings what it should; programs built against the installed tree by CMake's
# find_package and by pkg-config run, dynamic and static, in C and in C++, also after the tree has moved.
. "$(dirname "$0")/../programs/common.bash"
here=$(readlink -f "$(dirname "$0")")
build=$(readlink -f "$1")
need cmake
cd "$work" || exit 1
quiet() { timeout -k 5 "$limit" "$@" >log 2>&1 || { cat log; fail "$*"; }; }
version=$("$build/bin/qslab" --version | cut -d' ' -f2)

for component in runtime tool development; do
	quiet cmake --install "$build" --prefix "$work/$component" --component $component
	ls $component/share/doc/*/copyright >/dev/null && ls $component/share/doc/*/THIRD-PARTY.md >/dev/null &&
		grep -q 'Permission is hereby granted' $component/share/doc/*/copyright &&
		grep -q 'Jason Evans' $component/share/doc/*/copyright || fail "$component: no licence"
done
[ -z "$(find runtime tool development -type f -o -type l | sed 's,^[^/]*/,,' | sort | uniq -d)" ] || fail "two components bring one file"
find . -path ./log -prune -o -type f -name '*.c' -print | grep . && fail "a source is installed"

quiet cmake --install "$build" --prefix "$work/first"
(cd first && find . -type f -o -type l) | sort >whole
(for component in runtime tool development; do (cd $component && find . -type f -o -type l); done) | sort >parts
cmp whole parts || fail "the components are not the whole"
mv first prefix # nothing may remember where it was
grep -rIl "$work/first\|$build" prefix | grep . && fail "a text file names the build tree"
prefix=$work/prefix
lib=$(dirname "$(find "$prefix" -name libqslab.a)")

# the libraries: soname, versioned names, nothing else; the links
soname=$(objdump -p "$lib/libqslab.so.0" | awk '$1 == "SONAME" {print $2}')
[ "$soname" = libqslab.so.0 ] || fail "soname $soname"
[ "$(readlink "$lib/libqslab.so")" = libqslab.so.0 ] || fail "libqslab.so is no link to the soname"
objdump -p "$lib/libqslab.so.0" | grep -q 'NEEDED *liburcu-qsbr.so.8' || fail "liburcu is not needed"
nm -D --defined-only "$lib/libqslab.so.0" | awk '$2 != "A" && $3 !~ /@@QSLAB_/' | grep . && fail "names without a version"

# the manual, for each name
for name in qslab qslab_malloc qslab_owns qslab_free_rcu qslab_rcu_poll; do
	[ -s "$prefix/share/man/man3/$name.3" ] || fail "no page $name.3"
done
if command -v man >/dev/null; then
	timeout 60 man -M "$prefix/share/man" 3 qslab_owns 2>/dev/null | grep -q qslab_object_start || fail "man qslab_owns"
fi

# the tool finds the library of its own tree
timeout 60 "$prefix/bin/qslab" run -- grep -qF "$lib/libqslab-malloc.so" /proc/self/maps || fail "qslab run"

wants() { # runs a program built here; it prints the version
	[ "$(timeout 60 "$@")" = "qslab $version" ] || fail "$*"
	echo "runs: $*"
}

# CMake
mkdir user && cd user || exit 1
printf '%s\n' '#include <qslab/rcu.h>' 'int main(void) { return qslab_free_rcu_try(qslab_malloc(9)) || (qslab_rcu_barrier(), 0); }' >alone.c # never asks for liburcu itself
cat >CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C CXX)
find_package(qslab 0.1 REQUIRED)
if(NOT qslab_VERSION OR TARGET qslab::nonsense)
	message(FATAL_ERROR "no version")
endif()
foreach(kind qslab static malloc)
	add_executable(by-${kind} ${SOURCE})
	target_link_libraries(by-${kind} PRIVATE qslab::${kind} urcu-qsbr)
endforeach()
add_executable(by-both ${SOURCE})
target_link_libraries(by-both PRIVATE qslab::malloc qslab::qslab urcu-qsbr)
target_link_options(by-both PRIVATE -Wl,--no-as-needed)
add_executable(alone alone.c)
target_link_libraries(alone PRIVATE qslab::static)
add_executable(by-cxx program.cpp)
target_link_libraries(by-cxx PRIVATE qslab::qslab)
CMAKE
cat >program.cpp <<'CXX'
#include <qslab/qslab.hpp>
#include <cstdio>
#include <vector>
struct object : qslab::rcu_obj_base<object> {
	std::vector<int, qslab::allocator<int>> v{1, 2, 3};
};
int main()
{
	(new object)->retire();
	qslab::rcu_barrier();
	std::printf("qslab %d.%d.%d\n", QSLAB_VERSION_MAJOR, QSLAB_VERSION_MINOR, QSLAB_VERSION_PATCH);
}
CXX
if command -v g++ >/dev/null; then
	quiet cmake -S . -B out "-DCMAKE_PREFIX_PATH=$prefix" "-DSOURCE=$here/program.c"
	quiet cmake --build out
	wants out/by-qslab
	wants out/by-static
	wants out/by-malloc malloc
	wants out/by-both malloc # one allocator
	wants out/by-cxx
	timeout 60 out/alone || fail "qslab::static in a program without liburcu's calls: status $?"
	ldd out/by-static | grep -q libqslab && fail "qslab::static is dynamic"
	ldd out/by-qslab | grep -qF "$lib/libqslab.so.0" || fail "qslab::qslab is not the shared library"
	sed 's/qslab 0.1/qslab 1.0/' CMakeLists.txt >newer && mkdir later && mv newer later/CMakeLists.txt
	timeout 60 cmake -S later -B later/out "-DCMAKE_PREFIX_PATH=$prefix" >log 2>&1 && fail "version 1.0 is found"
else
	echo "no g++: CMake's part is left out"
fi

# pkg-config
if command -v pkg-config >/dev/null; then
	export PKG_CONFIG_PATH=$lib/pkgconfig
	[ "$(pkg-config --modversion qslab)" = "$version" ] || fail "pkg-config --modversion"
	read -ra flags <<<"$(pkg-config --cflags --libs qslab liburcu-qsbr)"
	quiet cc -Wall -Wextra -Werror "$here/program.c" -o dynamic "${flags[@]}"
	LD_LIBRARY_PATH=$lib wants ./dynamic
	read -ra flags <<<"$(pkg-config --static --cflags --libs qslab)"
	quiet cc -static "$here/program.c" -o static "${flags[@]}"
	ldd static >/dev/null 2>&1 && fail "--static is dynamic"
	wants ./static
	QSLAB_PROFILE=64K wants ./static
	quiet cc -static alone.c -o alone "${flags[@]}"
	timeout 60 ./alone || fail "a static program without liburcu's calls: status $?"
	quiet cc -Wl,--as-needed alone.c -o alone "${flags[@]/-lqslab/-l:libqslab.a}"
	timeout 60 ./alone || fail "libqslab.a beside shared libraries: status $?"
else
	echo "no pkg-config: its part is left out"
fi
finish
