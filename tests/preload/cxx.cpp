/* C++ over the preloaded library: every form of new and delete, and containers under threads. */
#include "cxx.h"

#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

/* The functions themselves: the compiler may leave out pairs of new and delete expressions. */
static void all_forms(size_t size)
{
	const std::nothrow_t &quiet = std::nothrow;
	auto used = [size](void *object, size_t alignment) {
		CHECK(object && reinterpret_cast<uintptr_t>(object) % alignment == 0);
		return memset(object, 1, size);
	};
	operator delete(used(operator new(size), 16));
	operator delete(used(operator new(size), 16), size);
	operator delete(used(operator new(size, quiet), 16), quiet);
	operator delete[](used(operator new[](size), 16));
	operator delete[](used(operator new[](size), 16), size);
	operator delete[](used(operator new[](size, quiet), 16), quiet);
	for (size_t bytes = 16; bytes <= 65536; bytes *= 2) {
		std::align_val_t alignment{bytes};
		operator delete(used(operator new(size, alignment), bytes), alignment);
		operator delete(used(operator new(size, alignment), bytes), size, alignment);
		operator delete(used(operator new(size, alignment, quiet), bytes), alignment, quiet);
		operator delete[](used(operator new[](size, alignment), bytes), alignment);
		operator delete[](used(operator new[](size, alignment), bytes), size, alignment);
		operator delete[](used(operator new[](size, alignment, quiet), bytes), alignment, quiet);
	}
}

struct alignas(128) wide {
	char text[100];
};

/* Containers filled by one thread and emptied by the next. */
static void containers()
{
	auto shared = std::make_shared<std::unordered_map<std::string, std::vector<int>>>();
	std::unique_ptr<wide[]> array(new wide[33]);
	CHECK(reinterpret_cast<uintptr_t>(array.get()) % 128 == 0);
	for (int i = 0; i < 3000; i++)
		(*shared)[std::string(static_cast<size_t>(i % 90), 'k') + std::to_string(i)].assign(static_cast<size_t>(i % 300), i);
	std::thread next([shared]() mutable {
		size_t sum = 0;
		for (auto &[key, values] : *shared)
			for (int value : values)
				sum += size_t(value) == std::stoul(key.substr(key.find_first_not_of('k')));
		CHECK(shared->size() == 3000 && sum == 3000 / 300 * (299 * 300 / 2));
		shared->clear();
	});
	shared.reset();
	next.join();
}

static void many_containers()
{
	for (int i = 0; i < 5; i++)
		containers();
}

template <typename Function> static void ours(Function *function)
{
	Dl_info info;
	CHECK(dladdr(reinterpret_cast<void *>(function), &info) && strstr(info.dli_fname, "libqslab-malloc.so"));
}

int main()
{
	ours<void *(size_t)>(operator new);
	ours<void *(size_t)>(operator new[]);
	ours<void *(size_t, std::align_val_t)>(operator new);
	ours<void *(size_t, const std::nothrow_t &)>(operator new[]);
	ours<void(void *)>(operator delete);
	ours<void(void *)>(operator delete[]);
	ours<void(void *, size_t)>(operator delete);
	ours<void(void *, size_t, std::align_val_t)>(operator delete[]);
	for (size_t size = 0; size < 3000000; size += 1 + size / 3)
		all_forms(size);
	std::vector<std::thread> threads;
	for (int i = 0; i < 3; i++)
		threads.emplace_back(many_containers);
	for (std::thread &thread : threads)
		thread.join();
	return failures != 0;
}
