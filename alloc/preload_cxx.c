/*
 * C++'s operator new and delete by their mangled names (Itanium ABI), with no C++ run time linked in.
 * When memory is out, the throwing forms behave as the standard asks: they call the program's new_handler
 * while there is one, then throw std::bad_alloc, both through the C++ run time that the program has loaded.
 * The nothrow forms leave that to the run time's own: it calls the throwing form and catches what it throws.
 */
#define _GNU_SOURCE
#include "fast.h"
#include "report.h"

#include <dlfcn.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

typedef void handler_function(void);

/* A function of the C++ run time's own, whatever the program or this library put in its place; NULL if none. */
static void *runtimes_own(const char *name)
{
	static const char *const runtimes[] = {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"};

	for (unsigned i = 0; i < sizeof runtimes / sizeof *runtimes; i++) {
		void *runtime = dlopen(runtimes[i], RTLD_LAZY | RTLD_NOLOAD);
		void *found = runtime ? dlsym(runtime, name) : NULL;
		if (runtime)
			dlclose(runtime);
		if (found)
			return found;
	}
	return NULL;
}

static void *runtime_function(const char *name)
{
	void *found = dlsym(RTLD_DEFAULT, name);
	return found ? found : runtimes_own(name);
}

/* The program's new_handler; NULL if there is none. */
static handler_function *new_handler(void)
{
	handler_function *(*get)(void) = runtime_function("_ZSt15get_new_handlerv");
	return get ? get() : NULL;
}

static COLD void *new_slow(size_t alignment, size_t size)
{
	void *object;

	while (!(object = aligned_malloc(alignment, size))) {
		handler_function *handler = new_handler();
		if (handler) {
			handler();
			continue;
		}
		handler_function *throw = runtime_function("_ZSt17__throw_bad_allocv");
		if (throw)
			throw();
		report_line("qslab: operator new: out of memory, and no C++ run time to throw bad_alloc");
		abort();
	}
	return object;
}

static inline void *new_object(size_t size)
{
	void *object = fast_malloc(size);
	return likely(object) ? object : new_slow(16, size);
}

static inline void *new_aligned(size_t size, size_t alignment)
{
	void *object = aligned_malloc(alignment, size);
	return likely(object) ? object : new_slow(alignment, size);
}

typedef void *nothrow_function(size_t size, const void *nothrow);
typedef void *aligned_nothrow_function(size_t size, size_t alignment, const void *nothrow);

static COLD void *nothrow_slow(const char *name, size_t size, const void *nothrow)
{
	nothrow_function *own = new_handler() ? runtimes_own(name) : NULL;
	return own ? own(size, nothrow) : NULL;
}

static COLD void *aligned_nothrow_slow(const char *name, size_t size, size_t alignment, const void *nothrow)
{
	aligned_nothrow_function *own = new_handler() ? runtimes_own(name) : NULL;
	return own ? own(size, alignment, nothrow) : NULL;
}

/* The nothrow forms' second or third argument is a reference to std::nothrow. */
#define NEW(name) \
	EXPORT void *name(size_t size); \
	EXPORT void *name(size_t size) { return new_object(size); }
#define NEW_NOTHROW(name) \
	EXPORT void *name(size_t size, const void *nothrow); \
	EXPORT void *name(size_t size, const void *nothrow) \
	{ \
		void *object = fast_malloc(size); \
		return likely(object) ? object : nothrow_slow(#name, size, nothrow); \
	}
#define NEW_ALIGNED(name) \
	EXPORT void *name(size_t size, size_t alignment); \
	EXPORT void *name(size_t size, size_t alignment) { return new_aligned(size, alignment); }
#define NEW_ALIGNED_NOTHROW(name) \
	EXPORT void *name(size_t size, size_t alignment, const void *nothrow); \
	EXPORT void *name(size_t size, size_t alignment, const void *nothrow) \
	{ \
		void *object = aligned_malloc(alignment, size); \
		return likely(object) ? object : aligned_nothrow_slow(#name, size, alignment, nothrow); \
	}
#define DELETE(name) \
	EXPORT void name(void *object); \
	EXPORT void name(void *object) { fast_free("operator delete", object); }
#define DELETE_2(name) \
	EXPORT void name(void *object, size_t a); \
	EXPORT void name(void *object, size_t a) { (void)a; fast_free("operator delete", object); }
#define DELETE_SIZED(name) \
	EXPORT void name(void *object, size_t size); \
	EXPORT void name(void *object, size_t size) { fast_free_sized("operator delete", object, size); }
#define DELETE_SIZED_ALIGNED(name) \
	EXPORT void name(void *object, size_t size, size_t a); \
	EXPORT void name(void *object, size_t size, size_t a) { (void)a; fast_free_sized("operator delete", object, size); }
#define DELETE_3(name) \
	EXPORT void name(void *object, size_t a, size_t b); \
	EXPORT void name(void *object, size_t a, size_t b) { (void)a, (void)b; fast_free("operator delete", object); }

NEW(_Znwm)
NEW(_Znam)
NEW_NOTHROW(_ZnwmRKSt9nothrow_t)
NEW_NOTHROW(_ZnamRKSt9nothrow_t)
NEW_ALIGNED(_ZnwmSt11align_val_t)
NEW_ALIGNED(_ZnamSt11align_val_t)
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t)
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t)

DELETE(_ZdlPv)
DELETE(_ZdaPv)
DELETE_SIZED(_ZdlPvm)
DELETE_SIZED(_ZdaPvm)
DELETE_2(_ZdlPvRKSt9nothrow_t)
DELETE_2(_ZdaPvRKSt9nothrow_t)
DELETE_2(_ZdlPvSt11align_val_t)
DELETE_2(_ZdaPvSt11align_val_t)
DELETE_SIZED_ALIGNED(_ZdlPvmSt11align_val_t)
DELETE_SIZED_ALIGNED(_ZdaPvmSt11align_val_t)
DELETE_3(_ZdlPvSt11align_val_tRKSt9nothrow_t)
DELETE_3(_ZdaPvSt11align_val_tRKSt9nothrow_t)
