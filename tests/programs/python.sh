# Parts of python's own test suite with every object through malloc. A test that also fails without the library
# is named and does not count.
. "$(dirname "$0")/common.bash"
python=/usr/bin/python3
[ -x $python ] || skip "no $python"
$python -c 'import test.test_gc' 2>/dev/null || skip "no libpython3-testsuite"
export PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1
unset PYTHONUNBUFFERED PYTHONPATH
cd "$work" || exit 1
count=0
for test in test_thread test_threading test_threading_local test_threadedtempfile test_queue test_gc test_list \
	test_dict test_bytes test_buffer test_memoryview test_weakref test_set test_deque test_array test_mmap \
	test_unicode test_struct test_pickle test_json test_zlib test_fork1; do
	preloaded $python -m test -q $test >"$work/out" && count=$((count + 1)) && continue
	status=$?
	if plain $python -m test -q $test >/dev/null; then
		tail -n 30 "$work/out"
		fail "$test: status $status, and it passes without the library"
	fi
	echo "not counted: $test fails without the library too"
done
[ $count -ge 18 ] || fail "only $count of python's tests counted"
echo "$count of python's tests pass"
finish
