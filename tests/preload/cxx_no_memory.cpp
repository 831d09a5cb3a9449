/* C++ without memory: bad_alloc, NULL from the nothrow forms, and new_handler. */
#include "cxx.h"

#include <sys/resource.h>
#include <vector>

template <typename Call> static bool throws_bad_alloc(Call call)
{
	try {
		call();
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

static void huge(volatile size_t size)
{
	std::align_val_t alignment{64};
	CHECK(throws_bad_alloc([=] { operator delete(operator new(size)); }));
	CHECK(throws_bad_alloc([=] { operator delete[](operator new[](size)); }));
	CHECK(throws_bad_alloc([=] { operator delete(operator new(size, alignment), alignment); }));
	CHECK(throws_bad_alloc([=] { operator delete[](operator new[](size, alignment), alignment); }));
	CHECK(throws_bad_alloc([=] { std::vector<char> never(size < PTRDIFF_MAX ? size : PTRDIFF_MAX); }));
	CHECK(!operator new(size, std::nothrow) && !operator new[](size, std::nothrow));
	CHECK(!operator new(size, alignment, std::nothrow) && !operator new[](size, alignment, std::nothrow));
}

static int calls;
static void *reserve;

static void gives_up() { if (++calls == 3) std::set_new_handler(nullptr); }
static void throws_at_once() { calls++; throw std::bad_alloc(); }

static void frees_reserve()
{
	calls++;
	operator delete(reserve);
	reserve = nullptr;
	std::set_new_handler(throws_at_once);
}

static void handlers()
{
	volatile size_t too_much = SIZE_MAX / 2;
	calls = 0;
	std::set_new_handler(gives_up);
	CHECK(throws_bad_alloc([=] { operator delete(operator new(too_much)); }) && calls == 3);

	calls = 0;
	std::set_new_handler(throws_at_once);
	CHECK(throws_bad_alloc([=] { operator delete[](operator new[](too_much)); }) && calls == 1);
	/* as in libstdc++: nothrow forms call it too, and swallow what it throws */
	CHECK(!operator new(too_much, std::nothrow) && calls == 2);
	CHECK(!operator new[](too_much, std::nothrow) && calls == 3);
	CHECK(!operator new(too_much, std::align_val_t{64}, std::nothrow) && calls == 4);
	std::set_new_handler(nullptr);
}

/* The retry finds what the handler gave back. */
static void handler_that_frees()
{
	calls = 0;
	size_t pages = 0, part = size_t(1) << 28;
	reserve = operator new(part);
	FILE *file = fopen("/proc/self/statm", "r");
	CHECK(file && fscanf(file, "%zu", &pages) == 1);
	fclose(file);
	rlimit before, limit;
	getrlimit(RLIMIT_AS, &before);
	limit = {pages * 4096 + part / 2, before.rlim_max};
	setrlimit(RLIMIT_AS, &limit);
	std::set_new_handler(frees_reserve);
	void *object = nullptr;
	CHECK(!throws_bad_alloc([&] { object = operator new(part); }) && object && calls == 1);
	CHECK(throws_bad_alloc([&] { operator delete(operator new(part)); }) && calls == 2);
	setrlimit(RLIMIT_AS, &before);
	operator delete(object);
	std::set_new_handler(nullptr);
}

int main()
{
	huge(SIZE_MAX);
	huge(size_t(PTRDIFF_MAX) + 1);
	huge(size_t(1) << 50);
	handlers();
	handler_that_frees();
	return failures != 0;
}
