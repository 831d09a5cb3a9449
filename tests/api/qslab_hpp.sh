# qslab.hpp with every compiler that is here, as C++17 and C++20, with warnings as errors: it compiles, and its
# program runs; without run-time types, or without exceptions, it compiles. g++'s once more under the address and undefined-behaviour checks.
. "$(dirname "$0")/../programs/common.bash"
source=$(readlink -f "$(dirname "$0")/qslab_hpp.cpp")
include=$(readlink -f "$(dirname "$0")/../../include")
libraries=$(dirname "$library")
need g++

try() {
	local compiler=$1 standard=$2
	shift 2
	command -v "$compiler" >/dev/null || { echo "no $compiler"; return; }
	timeout -k 5 "$limit" "$compiler" "-std=$standard" -O1 -g -Wall -Wextra -Werror -pedantic "$@" "-I$include" "$source" \
		-o "$work/program" "-L$libraries" "-Wl,-rpath,$libraries" -lqslab -lurcu-qsbr -pthread ||
		fail "$compiler $standard $*: does not compile"
	timeout -k 5 "$limit" "$work/program" 2>>"$work/stderr" || fail "$compiler $standard $*: status $?"
	echo "$compiler $standard $*: well"
}

for standard in c++17 c++20; do
	try g++ $standard
	try clang++ $standard
done
# the C headers, in a program that is strict about names
for compiler in g++ clang++; do
	command -v $compiler >/dev/null || continue
	printf '#include <qslab/%s>\n' qslab.h rcu.h cache.h stats.h segment.h |
		$compiler -Wall -Wextra -Wshadow -Werror -pedantic "-I$include" -c -x c++ -o "$work/plain.o" - ||
		fail "$compiler: the C headers do not compile with -Wshadow"
	{
		echo 'extern "C" {'
		printf '#include <qslab/%s>\n' qslab.h rcu.h cache.h stats.h segment.h
		echo '} struct s { struct rcu_ptr link; }; void f(s *p); void f(s *p) { qslab_free_rcu(p, link); }'
	} | $compiler -Wall -Wextra -Werror -pedantic "-I$include" -c -x c++ -o "$work/plain.o" - ||
		fail "$compiler: the C headers do not compile inside an extern \"C\""
done
# beside liburcu's headers that make rcu_barrier a macro, in either order; it stays theirs outside the namespace
for compiler in g++ clang++; do
	command -v $compiler >/dev/null || continue
	for header in urcu-qsbr.h urcu.h urcu-bp.h; do
		for order in "$header qslab/qslab.hpp" "qslab/qslab.hpp $header"; do
			{
				printf '#include <%s>\n' $order
				echo 'struct s : qslab::rcu_obj_base<s> { ~s() {} };'
				echo 'void f(s *p) { p->retire(); qslab::rcu_barrier(); void (*theirs)(void) = ::rcu_barrier; theirs(); }'
			} | $compiler -std=c++17 -Wall -Wextra -Werror -pedantic "-I$include" -c -x c++ -o "$work/plain.o" - ||
				fail "$compiler: does not compile with $order"
			nm "$work/plain.o" | grep -q 'U urcu_[a-z]*_barrier$' || fail "$compiler: $order: rcu_barrier is not liburcu's"
		done
	done
done
export ASAN_OPTIONS=detect_leaks=0
try g++ c++17 -fsanitize=address,undefined -fno-sanitize-recover=all
for without in -fno-rtti -fno-exceptions; do
	echo '#include <qslab/qslab.hpp>
struct s : qslab::rcu_obj_base<s> { ~s() {} };
void f(s *p) { p->retire(); qslab::rcu_barrier(); }
void g(qslab::allocator<s> a) { a.deallocate(a.allocate(3), 3); }' |
		g++ -std=c++17 $without -Wall -Wextra -Werror -pedantic "-I$include" -c -x c++ -o "$work/plain.o" - ||
		fail "$without: does not compile"
done
# what must not compile: a deleter of another type, a base that is not given
for wrong in 'struct s : qslab::rcu_obj_base<s> {}; void f(s *p) { p->retire([](int *) {}); }' \
	'struct s; void f(s *p) { qslab::rcu_retire(p); }'; do
	echo "#include <qslab/qslab.hpp>
$wrong" | g++ -std=c++17 "-I$include" -c -x c++ -o "$work/plain.o" - 2>/dev/null && fail "compiles: $wrong"
done
finish
