/*
 * qslab.hpp: qslab in C++17 and later, over the C API alone; link libqslab.
 *
 *     std::vector<int, qslab::allocator<int>> v;                 containers on qslab's memory
 *     std::pmr::vector<int> w(qslab::resource());                the same, chosen at run time
 *
 *     struct route : qslab::rcu_obj_base<route> { ... };         route *fresh = new route{...};
 *                                                                 old = slot.exchange(fresh);
 *                                                                 old->retire();
 *     qslab::rcu_retire(p);                                       any object on qslab's memory, no base needed
 *     qslab::rcu_retire(p, [](T *p) { ... });                     any object, any way to end it
 *
 * The shape is that of C++26's <rcu> (P2545). Readers are liburcu's, as rcu.h says, and so are the rules there.
 *
 * When a deleter runs. A trivially destructible object with the default deleter goes to qslab_free_rcu: no code runs
 * for it, ever. Any other deleter runs after a grace period, in a thread that calls retire, rcu_retire, rcu_poll or
 * rcu_barrier: a retiring call runs at most `deleters_per_retire` that are due. C++26 allows the same, and warns as
 * we do: a deleter must not need a lock that is held while something is retired. There is no thread that runs what
 * is left when nobody retires any more: call rcu_poll() now and then, or rcu_barrier() at the end. Until then such
 * objects count as live, not as waiting, in qslab_rcu_stats and for the limits.
 */
#ifndef QSLAB_QSLAB_HPP
#define QSLAB_QSLAB_HPP

#include <qslab/qslab.h>
#include <qslab/rcu.h>

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>

/* urcu-qsbr.h and its like make this word a macro; here it is a name, whichever header comes first. */
#pragma push_macro("rcu_barrier")
#undef rcu_barrier

namespace qslab {

/* ---- memory ------------------------------------------------------------------------------------- */

namespace detail {
/* What the calls here throw; without exceptions the program ends in abort, as in the standard library. */
template <class E> [[noreturn]] inline void fail()
{
#ifdef __cpp_exceptions
	throw E();
#else
	std::abort();
#endif
}
} /* namespace detail */

/* Uninitialised bytes; throws std::bad_alloc. qslab_free gives them back, whatever the alignment. */
[[nodiscard]] inline void *allocate(std::size_t size, std::size_t alignment = 16)
{
	void *object = alignment <= 16 ? qslab_malloc(size) : qslab_aligned_alloc(alignment, size);
	if (!object)
		detail::fail<std::bad_alloc>();
	return object;
}

/* For the standard containers. Stateless: any two are equal, containers swap and splice freely. */
template <class T> struct allocator {
	using value_type = T;
	using is_always_equal = std::true_type;
	using propagate_on_container_move_assignment = std::true_type;

	constexpr allocator() noexcept = default;
	template <class U> constexpr allocator(const allocator<U> &) noexcept {}

	[[nodiscard]] T *allocate(std::size_t count)
	{
		if (count > static_cast<std::size_t>(PTRDIFF_MAX) / sizeof(T))
			detail::fail<std::bad_array_new_length>();
		return static_cast<T *>(qslab::allocate(count * sizeof(T), alignof(T)));
	}
	void deallocate(T *objects, std::size_t) noexcept { qslab_free(objects); }
};
template <class T, class U> constexpr bool operator==(const allocator<T> &, const allocator<U> &) noexcept
{
	return true;
}
template <class T, class U> constexpr bool operator!=(const allocator<T> &, const allocator<U> &) noexcept
{
	return false;
}

/* For std::pmr. All its instances are equal. */
class memory_resource : public std::pmr::memory_resource {
	void *do_allocate(std::size_t size, std::size_t alignment) override { return qslab::allocate(size, alignment); }
	void do_deallocate(void *object, std::size_t, std::size_t) override { qslab_free(object); }
	bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
	{
#ifdef __cpp_rtti
		return dynamic_cast<const memory_resource *>(&other) != nullptr;
#else
		return this == &other;
#endif
	}
};

/* The process's instance; it is never destroyed, so static objects may use it to their end. */
inline memory_resource *resource() noexcept
{
	alignas(memory_resource) static unsigned char room[sizeof(memory_resource)];
	static memory_resource *const instance = ::new (room) memory_resource;
	return instance;
}

/*
 * Destroys an object that lies on qslab's memory, at once, and frees it. Through a base class if its destructor is
 * virtual: the start of the whole object is found by the interior pointer.
 */
template <class T> struct default_delete {
	constexpr default_delete() noexcept = default;
	template <class U, class = std::enable_if_t<std::is_convertible_v<U *, T *>>>
	constexpr default_delete(const default_delete<U> &) noexcept {}

	void operator()(T *object) const noexcept
	{
		static_assert(sizeof(T) > 0, "the type is incomplete");
		const volatile void *address = object;
		void *start = const_cast<void *>(address);
		if constexpr (std::is_polymorphic_v<T>)
			start = qslab_object_start(start);
		object->~T();
		qslab_free(start);
	}
};

/* std::make_unique on qslab's memory. release() gives what rcu_retire takes. */
template <class T> using unique_ptr = std::unique_ptr<T, default_delete<T>>;
template <class T, class... Arguments> [[nodiscard]] unique_ptr<T> make_unique(Arguments &&...arguments)
{
	std::unique_ptr<void, void (*)(void *)> room(qslab::allocate(sizeof(T), alignof(T)), qslab_free);
	unique_ptr<T> made(::new (room.get()) T(std::forward<Arguments>(arguments)...));
	room.release();
	return made;
}

/* ---- deleters that wait for a grace period -------------------------------------------------------- */

inline constexpr int deleters_per_retire = 16;

/* Every reader of now is done when it returns. Waits: a quiescent state of a QSBR caller. As std::rcu_synchronize. */
inline void rcu_synchronize() noexcept
{
	qslab_rcu_wait(qslab_rcu_start());
}

/* Not for use: the process's objects whose deleters are to run. */
namespace detail {

struct node {
	rcu_ptr link;
	void (*run)(node *) noexcept;
};

/*
 * filling -> ripening -> ripe -> a run: chains of nodes; a node is in one of them.
 *   filling   retired; no cookie yet. Anyone pushes; the lock's holder takes all at once.
 *   ripening  its cookie was taken after filling was, so after all of them were unlinked (the lock's holder)
 *   ripe      their grace period is over (the lock's holder)
 *   a run     a thread runs their deleters, without the lock. It has a slot of `runs`: the run's number, from 1 in
 *             the order they began; 0: the slot is free. The lock's holder takes slots, their users free them.
 * No reader ever waits for the lock, nor for a run: that could hold up the grace period which its holder's fork, or a
 * run's deleter, waits for. So retiring only tries the lock, and a barrier waits in whole grace periods.
 */
class __attribute__((visibility("default"))) deferred {
	static constexpr int slots = 64;
	std::atomic<node *> filling{nullptr};
	std::mutex lock;
	node *ripening = nullptr, *ripe = nullptr;
	qslab_rcu_cookie cookie = 0; /* of ripening */
	unsigned long begun = 0;     /* runs, ever */
	std::atomic<unsigned long> runs[slots] = {};
	static inline thread_local int own = -1; /* the slot of this thread's run */

	static node *next(node *one) noexcept { return reinterpret_cast<node *>(one->link.next); }
	static void push(std::atomic<node *> &chain, node *one) noexcept
	{
		node *first = chain.load(std::memory_order_relaxed);
		do
			one->link.next = first ? &first->link : nullptr;
		while (!chain.compare_exchange_weak(first, one, std::memory_order_release, std::memory_order_relaxed));
	}
	node *take_filling() noexcept { return filling.exchange(nullptr, std::memory_order_acquire); } /* pairs with push */

	/* Under the lock. The slot of a new run of this thread, or -1: all are taken, or it runs one already. */
	int begin() noexcept
	{
		for (int i = 0; own < 0 && i < slots; i++)
			if (!runs[i].load(std::memory_order_acquire)) { /* pairs with end */
				runs[i].store(++begun, std::memory_order_relaxed);
				return own = i;
			}
		return -1;
	}
	void end() noexcept
	{
		runs[own].store(0, std::memory_order_release); /* pairs with begin and with barrier */
		own = -1;
	}
	static void run(node *chain) noexcept
	{
		while (node *one = chain) {
			chain = next(one);
			one->run(one);
		}
	}
	/* Under the lock. True if a new grace period is wanted. */
	bool advance() noexcept
	{
		if (!ripe && ripening && qslab_rcu_poll(cookie))
			ripe = std::exchange(ripening, nullptr);
		if (ripening || !(ripening = take_filling()))
			return false;
		cookie = qslab_rcu_get();
		return true;
	}

	/* fork: the child has the lists; the runs of threads that are gone are gone, with their objects. */
	static void before_fork() { instance().lock.lock(); }
	static void after_fork() { instance().lock.unlock(); }
	static void in_child()
	{
		for (int i = 0; i < slots; i++)
			if (i != own)
				instance().runs[i].store(0, std::memory_order_relaxed);
		instance().lock.unlock();
	}
	deferred() noexcept { pthread_atfork(before_fork, after_fork, in_child); }

public:
	static deferred &instance() noexcept /* never destroyed: static objects may retire to their end */
	{
		alignas(deferred) static unsigned char room[sizeof(deferred)];
		static deferred *const made = ::new (room) deferred;
		return *made;
	}

	void retire(node *one) noexcept
	{
		push(filling, one);
		work(deleters_per_retire);
	}

	/* Runs at most `most` deleters that are due. False if there were no nodes. */
	bool work(int most) noexcept
	{
		if (!lock.try_lock())
			return true;
		bool demand = advance();
		node *mine = nullptr;
		if (ripe && most > 0 && begin() >= 0) {
			node *last = mine = ripe;
			while (--most > 0 && last->link.next)
				last = next(last);
			ripe = next(last);
			last->link.next = nullptr;
		}
		bool left = mine || ripe || ripening; /* a deleter may retire, too */
		lock.unlock();
		if (demand)
			qslab_rcu_start(); /* may start a thread: not under the lock */
		if (mine) {
			run(mine);
			end();
		}
		return left || filling.load(std::memory_order_relaxed);
	}

	void barrier() noexcept
	{
		if (own >= 0) {
			std::fputs("qslab: rcu_barrier: called from a deleter, which it would wait for\n", stderr);
			std::abort();
		}
		for (int slot = -1; slot < 0;) {
			if (lock.try_lock()) {
				if ((slot = begin()) >= 0)
					break;
				lock.unlock();
			}
			rcu_synchronize();
		}
		unsigned long number = begun;
		node *chains[] = {std::exchange(ripe, nullptr), std::exchange(ripening, nullptr), take_filling()};
		lock.unlock();
		rcu_synchronize();
		for (node *chain : chains)
			run(chain);
		end();
		for (auto &other : runs) /* what was taken before us */
			for (unsigned long n; (n = other.load(std::memory_order_acquire)) && n < number;) /* pairs with end */
				rcu_synchronize();
	}
};

/* A deleter that takes room only if it has state. */
template <class D, bool = std::is_empty_v<D> && !std::is_final_v<D>> struct holder : D {
	holder() = default;
	explicit holder(D &&d) : D(std::move(d)) {}
	D &get() noexcept { return *this; }
};
template <class D> struct holder<D, false> {
	D deleter;
	holder() = default;
	explicit holder(D &&d) : deleter(std::move(d)) {}
	D &get() noexcept { return deleter; }
};

template <class T, class D>
constexpr bool plain = std::is_trivially_destructible_v<T> && std::is_same_v<D, default_delete<T>>;

/* For objects without the base: a small object of its own. */
template <class T, class D> struct outside_node : node, holder<D> {
	T *object;
	outside_node(T *p, D &&d) : node{{nullptr}, invoke}, holder<D>(std::move(d)), object(p) {}
	static void invoke(node *self) noexcept
	{
		unique_ptr<outside_node> mine(static_cast<outside_node *>(self));
		mine->get()(mine->object);
	}
};

} /* namespace detail */

/*
 * The base of a class whose objects are retired; T derives from it, publicly and once. Two words, and D if it has
 * state. `new T` takes qslab's memory, so the default deleter fits. As std::rcu_obj_base.
 */
template <class T, class D = default_delete<T>> class rcu_obj_base : private detail::node, private detail::holder<D> {
	static void invoke(detail::node *self) noexcept
	{
		rcu_obj_base *base = static_cast<rcu_obj_base *>(self);
		D deleter = std::move(base->get());
		deleter(static_cast<T *>(base));
	}

public:
	/*
	 * The object can no longer be found by new readers; d(object) runs once the others are done. Never
	 * fails, never waits; may run other objects' deleters. Once per object.
	 */
	void retire(D d = D()) noexcept
	{
		T *object = static_cast<T *>(this);
		if constexpr (detail::plain<T, D>) {
			(void)d;
			qslab_free_rcu_link(object, &this->link);
		} else {
			this->get() = std::move(d);
			this->run = invoke;
			detail::deferred::instance().retire(this);
		}
	}

	static void *operator new(std::size_t size) { return allocate(size); }
	static void *operator new(std::size_t size, std::align_val_t alignment)
	{
		return allocate(size, static_cast<std::size_t>(alignment));
	}
	static void *operator new(std::size_t size, const std::nothrow_t &) noexcept { return qslab_malloc(size); }
	static void *operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t &) noexcept
	{
		return qslab_aligned_alloc(static_cast<std::size_t>(alignment), size);
	}
	static void *operator new(std::size_t, void *place) noexcept { return place; }
	static void operator delete(void *object) noexcept { qslab_free(object); }
	static void operator delete(void *object, std::align_val_t) noexcept { qslab_free(object); }
	static void operator delete(void *, void *) noexcept {}

protected:
	rcu_obj_base() = default;
	rcu_obj_base(const rcu_obj_base &) noexcept : rcu_obj_base() {} /* a copy has not been retired */
	rcu_obj_base &operator=(const rcu_obj_base &) noexcept { return *this; }
	~rcu_obj_base() = default;
};

/*
 * Retires any object; NULL is ignored. With the default deleter it lies on qslab's memory: from make_unique, or from
 * new in a process that preloads libqslab-malloc.so. As std::rcu_retire; throws std::bad_alloc, and the object is
 * still the caller's, if there is no memory for a note of it (a trivially destructible one almost never needs one).
 */
template <class T, class D = default_delete<T>> void rcu_retire(T *object, D deleter = D())
{
	if (!object)
		return;
	if constexpr (detail::plain<T, D>) {
		const volatile void *address = object;
		if (!qslab_free_rcu_try(const_cast<void *>(address)))
			return;
	}
	detail::node *note = qslab::make_unique<detail::outside_node<T, D>>(object, std::move(deleter)).release();
	detail::deferred::instance().retire(note);
}

/* ---- what is left --------------------------------------------------------------------------------- */

/* Runs up to `most` deleters that are due; never waits. False if there was none, due or not. */
inline bool rcu_poll(int most = deleters_per_retire) noexcept
{
	return detail::deferred::instance().work(most);
}

/*
 * Returns when every deleter of what was retired before has run, and all that is free. Waits: a quiescent state of a
 * QSBR caller. Not from a deleter, and before dlclose of code that deleters run. As std::rcu_barrier.
 */
inline void rcu_barrier() noexcept
{
	detail::deferred::instance().barrier();
	qslab_rcu_barrier();
}

/* What qslab::rcu_barrier is for the preprocessor after urcu-qsbr.h, urcu.h or urcu-bp.h. */
inline void urcu_qsbr_barrier() noexcept { rcu_barrier(); }
inline void urcu_memb_barrier() noexcept { rcu_barrier(); }
inline void urcu_mb_barrier() noexcept { rcu_barrier(); }
inline void urcu_signal_barrier() noexcept { rcu_barrier(); }
inline void urcu_bp_barrier() noexcept { rcu_barrier(); }

} /* namespace qslab */
#pragma pop_macro("rcu_barrier")
#endif
