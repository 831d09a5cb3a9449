#!/usr/bin/env bash
# compile_fail.sh INCLUDE: the macros of rcu.h take the right fields and no others, in C and C++.
include=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0

read -r -d '' prologue <<'CODE'
#include <qslab/rcu.h>
#include <urcu/urcu-qsbr.h>
struct wrapped { struct rcu_ptr rcu; };
struct object {
	long first;
	struct rcu_ptr rcu;
	struct rcu_head head;
	struct rcu_ptr *pointer;
	struct rcu_ptr several[2];
	struct wrapped wrapped;
	void *untyped;
	char bytes[8];
	unsigned long number;
	int small;
};
struct object *next_object(void);
CODE

# A function around each line of CODE: compiles CODE COMPILER FLAGS...
compiles() {
	local line number=0
	{
		printf '%s\n' "$prologue"
		while IFS= read -r line; do
			number=$((number + 1))
			printf 'void test%d(struct object *object, struct qslab_free_q *queue);\nvoid test%d(struct object *object, struct qslab_free_q *queue)\n{\n\t(void)queue;\n\t(void)object;\n\t%s\n}\n' \
				$number $number "$line"
		done <<<"$1"
	} >"$folder/test.$suffix"
	shift
	"$@" -c -o "$folder/test.o" -I"$include" "$folder/test.$suffix" 2>"$folder/errors"
}
accepted=
accept() { # in one file, by and by
	accepted+=${accepted:+$'\n'}$1
}
accept_all() {
	compiles "$accepted" "${compiler[@]}" || { echo "must compile: ${compiler[*]}:"; cat "$folder/errors"; failed=1; }
	accepted=
}
refuse() {
	compiles "$1" "${compiler[@]}" && { echo "must not compile: ${compiler[*]}: $1"; failed=1; }
}

check() {
	local call
	for call in qslab_free_rcu qslab_free_rcu_nolock; do
		for field in rcu head wrapped.rcu 'several[1]'; do
			accept "$call(object, $field);"
		done
		accept "$call(next_object(), rcu);"
		accept "if (object) $call(object, rcu); else $call(object, head);"
		accept "$call(object + 1, rcu); $call(object, rcu);"
		for field in pointer several wrapped untyped bytes number small first missing; do
			refuse "$call(object, $field);"
		done
		refuse "void *untyped = object; $call(untyped, rcu);"
		refuse "$call(*object, rcu);"
		refuse "int i = $call(object, rcu);"
	done
	for field in rcu head wrapped.rcu; do
		accept "qslab_free_q_add(queue, object, $field);"
	done
	for field in pointer several wrapped untyped number; do
		refuse "qslab_free_q_add(queue, object, $field);"
	done
	accept "qslab_free_rcu_head(&object->rcu);"
	accept "if (qslab_free_rcu_try(object) || qslab_free_rcu_poll(qslab_rcu_get(), object)) return;"
	accept "qslab_rcu_set_flavor(&urcu_qsbr_flavor);"
	accept_all
	# what it returns decides who owns the object
	refuse "qslab_free_rcu_try(object);"
	refuse "qslab_free_rcu_poll(qslab_rcu_get(), object);"
}

strict=(-Wall -Wextra -Werror -pedantic)
tried=0
for cc in gcc clang; do
	command -v $cc >/dev/null || continue
	for standard in c11 gnu17; do
		compiler=($cc -x c -std=$standard "${strict[@]}" -Wshadow -Wstrict-prototypes -Wmissing-prototypes) suffix=c
		check
		tried=$((tried + 1))
	done
done
for cxx in g++ clang++; do
	command -v $cxx >/dev/null || continue
	echo 'int main() {}' | $cxx -x c++ -fsyntax-only -include atomic - 2>/dev/null || continue # no library for it here
	for standard in c++11 c++20; do
		compiler=($cxx -x c++ -std=$standard "${strict[@]}") suffix=cc
		check
		tried=$((tried + 1))
	done
done
[ $tried -ge 2 ] || { echo "no compiler"; failed=1; }
exit $failed
