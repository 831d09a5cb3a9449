# clang (19, or the one there is) builds the libraries and the tool with no warning, and what it built works, linked as some
# distributions link all packages: so that a library calls its own functions, whatever stands before them.
. "$(dirname "$0")/../programs/common.bash"
source=$(readlink -f "$(dirname "$0")/../..")
targets=(qslab qslab-malloc qslab-static qslab-tool basic_test torture preload_family preload_cxx preload_cxx_replaced preload_own_malloc misuse)
clang=$(command -v clang-19 || command -v clang) || skip "no clang"
clang=$(basename "$clang")
build=$work/$clang
cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=$clang \
	-DCMAKE_CXX_COMPILER=${clang/clang/clang++} -DCMAKE_SHARED_LINKER_FLAGS=-Wl,-Bsymbolic-functions -DCMAKE_COMPILE_WARNING_AS_ERROR=ON >>"$work/stderr" 2>&1 ||
	fail "$clang: cmake"
timeout -k 5 300 cmake --build "$build" --target "${targets[@]}" -j2 >"$work/log" 2>&1 ||
	{ cat "$work/log"; fail "$clang: does not build"; }
library=$build/lib/libqslab-malloc.so
plain "$build/tests/basic_test" -j2 || fail "$clang: basic_test, status $?"
plain "$build/tests/torture" --flavor memb --seconds 2 || fail "$clang: torture, status $?"
preloaded "$build/tests/preload_family" || fail "$clang: preload_family, status $?"
preloaded "$build/tests/preload_cxx" || fail "$clang: preload_cxx, status $?"
preloaded "$build/tests/preload_cxx_replaced" || fail "$clang: preload_cxx_replaced, status $?"
preloaded "$build/tests/preload_own_malloc" || fail "$clang: preload_own_malloc, status $?"
bash "$source/tests/harden/misuse.sh" "$build" harden || fail "$clang: harden/misuse"
echo "$clang: well"
finish
