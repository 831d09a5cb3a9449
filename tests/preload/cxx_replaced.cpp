/*
 * A program that replaces new and delete of one object alone, and the aligned ones: the standard defines every other form by
 * these, so what one of them gave, or takes, went through the program's own. Each has a head of its own before the object.
 */
#include <cstdio>
#include <cstdlib>
#include <new>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wsized-deallocation" // that it has only the plain one is what this is about
#endif

static long live, wrong;
static constexpr std::size_t HEAD = 256, KEY = 0x5eed;

static void *make(std::size_t size, std::size_t room)
{
	char *all = static_cast<char *>(std::aligned_alloc(room, (room + size + room - 1) / room * room));
	if (!all)
		throw std::bad_alloc();
	live++;
	*reinterpret_cast<std::size_t *>(all + room - sizeof(std::size_t)) = KEY + room;
	return all + room;
}

static void drop(void *object, std::size_t room)
{
	if (!object)
		return;
	live--;
	char *at = static_cast<char *>(object);
	if (*reinterpret_cast<std::size_t *>(at - sizeof(std::size_t)) != KEY + room) {
		wrong++;
		return;
	}
	std::free(at - room);
}

void *operator new(std::size_t size) { return make(size, 16); }
void operator delete(void *object) noexcept { drop(object, 16); }
void *operator new(std::size_t size, std::align_val_t) { return make(size, HEAD); }
void operator delete(void *object, std::align_val_t) noexcept { drop(object, HEAD); }

struct small { int number[3]; };
struct alignas(128) aligned { int number[3]; };

static void drop_quietly(small *many) { operator delete[](many, std::nothrow); }
static void drop_quietly(aligned *many) { operator delete[](many, std::align_val_t(alignof(aligned)), std::nothrow); }

template <class T> static void visit(const char *name)
{
	T *volatile one = new T;
	T *volatile many = new T[5];
	T *volatile quiet = new (std::nothrow) T;
	T *volatile quiet_many = new (std::nothrow) T[5];
	if (live != 4) {
		std::printf("%s: %ld of 4 went through the program's new\n", name, live);
		wrong++;
	}
	delete one; /* sized, where the compiler does that */
	delete[] many;
	delete quiet;
	drop_quietly(quiet_many);
	if (live != 0) {
		std::printf("%s: %ld of 4 did not go through the program's delete\n", name, live);
		wrong++;
	}
	live = 0;
}

int main()
{
	visit<small>("small");
	visit<aligned>("aligned");
	return wrong != 0;
}
