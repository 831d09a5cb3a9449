/*
 * C++'s operator new and delete by their mangled names (Itanium ABI), with no C++ run time linked in.
 * When memory is out, the throwing forms behave as the standard asks: they call the program's new_handler
 * while there is one, then throw std::bad_alloc, both through the C++ run time that the program has loaded.
 * The nothrow forms leave that to the run time's own: it calls the throwing form and catches what it throws.
 *
 * A program may replace some forms alone, commonly new and delete of one object: the standard's other forms are defined by
 * these, so ours call what stands in their place, if anything does.
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

/* Its name, which the program may give to another; and our own by another name. */
#define REPLACEABLE(name, own) EXPORT extern __typeof__(own) name __attribute__((alias(#own)))
/* By way of a register: clang would hold an address and its alias's for different ones, and not look. */
#define IS_OURS(name, own) ({ __typeof__(&own) address = own; __asm__("" : "+r"(address)); likely(name == address); })

/* ---- new -------------------------------------------------------------------------------------------------------- */

static void *own_new(size_t size)
{
	void *object = fast_malloc(size);
	return likely(object) ? object : new_slow(16, size);
}
REPLACEABLE(_Znwm, own_new);

static void *own_new_aligned(size_t size, size_t alignment)
{
	void *object = aligned_malloc(alignment, size);
	return likely(object) ? object : new_slow(alignment, size);
}
REPLACEABLE(_ZnwmSt11align_val_t, own_new_aligned);

static void *own_new_array(size_t size)
{
	return IS_OURS(_Znwm, own_new) ? own_new(size) : _Znwm(size);
}
REPLACEABLE(_Znam, own_new_array);

static void *own_new_array_aligned(size_t size, size_t alignment)
{
	return IS_OURS(_ZnwmSt11align_val_t, own_new_aligned) ? own_new_aligned(size, alignment) :
	                                                        _ZnwmSt11align_val_t(size, alignment);
}
REPLACEABLE(_ZnamSt11align_val_t, own_new_array_aligned);

/* The nothrow forms' second or third argument is a reference to std::nothrow. */
typedef void *nothrow_function(size_t size, const void *nothrow);
typedef void *aligned_nothrow_function(size_t size, size_t alignment, const void *nothrow);

/* `ours`: memory is out, and only a new_handler may help. Else the throwing form is the program's, and its exceptions its own. */
static COLD void *nothrow_slow(const char *name, bool ours, size_t size, const void *nothrow)
{
	nothrow_function *own = !ours || new_handler() ? runtimes_own(name) : NULL;
	return own ? own(size, nothrow) : ours ? NULL : _Znwm(size);
}

static COLD void *aligned_nothrow_slow(const char *name, bool ours, size_t size, size_t alignment, const void *nothrow)
{
	aligned_nothrow_function *own = !ours || new_handler() ? runtimes_own(name) : NULL;
	return own ? own(size, alignment, nothrow) : ours ? NULL : _ZnwmSt11align_val_t(size, alignment);
}

#define NEW_NOTHROW(name, are_ours) \
	EXPORT void *name(size_t size, const void *nothrow); \
	EXPORT void *name(size_t size, const void *nothrow) \
	{ \
		bool ours = are_ours; \
		void *object = ours ? fast_malloc(size) : NULL; \
		return likely(object) ? object : nothrow_slow(#name, ours, size, nothrow); \
	}
#define NEW_ALIGNED_NOTHROW(name, are_ours) \
	EXPORT void *name(size_t size, size_t alignment, const void *nothrow); \
	EXPORT void *name(size_t size, size_t alignment, const void *nothrow) \
	{ \
		bool ours = are_ours; \
		void *object = ours ? aligned_malloc(alignment, size) : NULL; \
		return likely(object) ? object : aligned_nothrow_slow(#name, ours, size, alignment, nothrow); \
	}

NEW_NOTHROW(_ZnwmRKSt9nothrow_t, IS_OURS(_Znwm, own_new))
NEW_NOTHROW(_ZnamRKSt9nothrow_t, IS_OURS(_Znwm, own_new) && IS_OURS(_Znam, own_new_array))
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t, IS_OURS(_ZnwmSt11align_val_t, own_new_aligned))
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t,
	IS_OURS(_ZnwmSt11align_val_t, own_new_aligned) && IS_OURS(_ZnamSt11align_val_t, own_new_array_aligned))

/* ---- delete ------------------------------------------------------------------------------------------------------- */

static void own_delete(void *object)
{
	fast_free("operator delete", object);
}
REPLACEABLE(_ZdlPv, own_delete);

static void own_delete_aligned(void *object, size_t alignment)
{
	(void)alignment;
	fast_free("operator delete", object);
}
REPLACEABLE(_ZdlPvSt11align_val_t, own_delete_aligned);

static void own_delete_array(void *object)
{
	if (IS_OURS(_ZdlPv, own_delete))
		own_delete(object);
	else
		_ZdlPv(object);
}
REPLACEABLE(_ZdaPv, own_delete_array);

static void own_delete_array_aligned(void *object, size_t alignment)
{
	if (IS_OURS(_ZdlPvSt11align_val_t, own_delete_aligned))
		own_delete_aligned(object, alignment);
	else
		_ZdlPvSt11align_val_t(object, alignment);
}
REPLACEABLE(_ZdaPvSt11align_val_t, own_delete_array_aligned);

/* Their size, or std::nothrow, is more than the plain form is told. */
#define DELETE_SIZED(name, plain, own) \
	EXPORT void name(void *object, size_t size); \
	EXPORT void name(void *object, size_t size) \
	{ \
		if (IS_OURS(plain, own) && IS_OURS(_ZdlPv, own_delete)) \
			fast_free_sized("operator delete", object, size); \
		else \
			plain(object); \
	}
#define DELETE_SIZED_ALIGNED(name, plain, own) \
	EXPORT void name(void *object, size_t size, size_t alignment); \
	EXPORT void name(void *object, size_t size, size_t alignment) \
	{ \
		if (IS_OURS(plain, own) && IS_OURS(_ZdlPvSt11align_val_t, own_delete_aligned)) \
			fast_free_sized("operator delete", object, size); \
		else \
			plain(object, alignment); \
	}
#define DELETE_NOTHROW(name, plain) \
	EXPORT void name(void *object, const void *nothrow); \
	EXPORT void name(void *object, const void *nothrow) { (void)nothrow; plain(object); }
#define DELETE_ALIGNED_NOTHROW(name, plain) \
	EXPORT void name(void *object, size_t alignment, const void *nothrow); \
	EXPORT void name(void *object, size_t alignment, const void *nothrow) { (void)nothrow; plain(object, alignment); }

DELETE_SIZED(_ZdlPvm, _ZdlPv, own_delete)
DELETE_SIZED(_ZdaPvm, _ZdaPv, own_delete_array)
DELETE_SIZED_ALIGNED(_ZdlPvmSt11align_val_t, _ZdlPvSt11align_val_t, own_delete_aligned)
DELETE_SIZED_ALIGNED(_ZdaPvmSt11align_val_t, _ZdaPvSt11align_val_t, own_delete_array_aligned)
DELETE_NOTHROW(_ZdlPvRKSt9nothrow_t, _ZdlPv)
DELETE_NOTHROW(_ZdaPvRKSt9nothrow_t, _ZdaPv)
DELETE_ALIGNED_NOTHROW(_ZdlPvSt11align_val_tRKSt9nothrow_t, _ZdlPvSt11align_val_t)
DELETE_ALIGNED_NOTHROW(_ZdaPvSt11align_val_tRKSt9nothrow_t, _ZdaPvSt11align_val_t)
