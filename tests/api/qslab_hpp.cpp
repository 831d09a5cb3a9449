/* qslab.hpp: containers, deleters and when they run. Built by qslab_hpp.sh, with every compiler and standard. */
#include <qslab/qslab.hpp>

#include <urcu/urcu-qsbr.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#define CHECK(condition)                                                                              \
	((condition) ? (void)0                                                                        \
	             : (std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition), std::abort()))

static std::atomic<long> alive{0};
struct counted {
	counted() { alive++; }
	counted(const counted &) { alive++; }
	~counted() { alive--; }
	char body[40] = "";
};

static std::size_t live_bytes()
{
	struct qslab_memory memory;
	qslab_memory(&memory);
	return memory.live;
}
static struct qslab_rcu_stats counters()
{
	struct qslab_rcu_stats now;
	qslab_rcu_stats(&now);
	return now;
}

/* A reader that is online, and passes no quiescent state until it is told to. */
class reader {
	std::atomic<int> stage{0};
	std::thread thread{[this] {
		urcu_qsbr_register_thread();
		stage = 1;
		while (stage != 2)
			std::this_thread::yield();
		urcu_qsbr_unregister_thread();
	}};

public:
	reader()
	{
		while (stage != 1)
			std::this_thread::yield();
	}
	void leave()
	{
		stage = 2;
		thread.join();
	}
};

/* ---- memory ---- */

struct alignas(256) wide {
	char c;
};

static void containers()
{
	std::vector<int, qslab::allocator<int>> v;
	for (int i = 0; i < 100000; i++)
		v.push_back(i);
	CHECK(qslab_owns(v.data()) && v[99999] == 99999);
	std::map<int, std::string, std::less<int>, qslab::allocator<std::pair<const int, std::string>>> m;
	std::unordered_map<int, int, std::hash<int>, std::equal_to<int>, qslab::allocator<std::pair<const int, int>>> u;
	std::list<wide, qslab::allocator<wide>> w(10);
	for (int i = 0; i < 1000; i++)
		m[i] = std::to_string(i), u[i] = i;
	CHECK(qslab_owns(&*m.begin()) && qslab_owns(&*u.begin()) && m[999] == "999");
	for (const wide &one : w)
		CHECK(reinterpret_cast<std::uintptr_t>(&one) % 256 == 0);
	decltype(w) taken;
	taken.splice(taken.begin(), w);
	CHECK(taken.size() == 10 && taken.get_allocator() == v.get_allocator());
	auto shared = std::allocate_shared<counted>(qslab::allocator<counted>());
	CHECK(qslab_owns(shared.get()));
	volatile std::size_t huge = SIZE_MAX / 2;
	try {
		(void)qslab::allocator<int>().allocate(huge);
		CHECK(false);
	} catch (const std::bad_array_new_length &) {
	}
	try {
		(void)qslab::allocator<char>().allocate(huge - 5000);
		CHECK(false);
	} catch (const std::bad_alloc &) {
	}

	std::pmr::vector<std::pmr::string> p(qslab::resource());
	p.emplace_back("a string that is too long to lie within its object");
	CHECK(qslab_owns(p.data()) && qslab_owns(p[0].data()));
	qslab::memory_resource other;
	CHECK(other == *qslab::resource() && other != *std::pmr::new_delete_resource());
	void *aligned = qslab::resource()->allocate(100, 4096);
	CHECK(reinterpret_cast<std::uintptr_t>(aligned) % 4096 == 0 && qslab_owns(aligned));
	qslab::resource()->deallocate(aligned, 100, 4096);
}

struct front {
	virtual ~front() = default;
	long a = 1;
};
struct back {
	virtual ~back() = default;
	long b = 2;
};
struct both : front, back, counted {};
struct throws {
	throws() { throw 1; }
};

static void unique()
{
	qslab::unique_ptr<back> p = qslab::make_unique<both>(); /* its address is not the object's start */
	CHECK(qslab_object_start(p.get()) != p.get() && alive == 1);
	p.reset();
	CHECK(alive == 0);
	auto q = qslab::make_unique<wide>();
	CHECK(reinterpret_cast<std::uintptr_t>(q.get()) % 256 == 0);
	std::size_t before = live_bytes();
	try {
		auto none = qslab::make_unique<throws>();
		CHECK(false);
	} catch (int) {
	}
	CHECK(live_bytes() == before);
}

/* ---- deferred ---- */

struct trivial : qslab::rcu_obj_base<trivial> {
	int value = 7;
};
struct full : qslab::rcu_obj_base<full>, counted {};
struct with_state : qslab::rcu_obj_base<with_state, std::function<void(with_state *)>> {};
struct alignas(128) wide_full : qslab::rcu_obj_base<wide_full>, counted {};
static_assert(sizeof(trivial) == 3 * sizeof(void *), "two words and the value");

/* No deleter runs, and nothing is freed, while a reader of before stays. */
static void grace_periods()
{
	qslab::rcu_barrier();
	std::size_t live = live_bytes();
	auto *kept = new trivial;
	auto *object = new full;
	auto *aligned = new wide_full;
	CHECK(qslab_owns(kept) && qslab_owns(object) && reinterpret_cast<std::uintptr_t>(aligned) % 128 == 0);
	reader old;
	auto before = counters();
	kept->retire();
	CHECK(counters().retired == before.retired + 1); /* the plain way, with no deleter */
	object->retire();
	aligned->retire();
	int ran = 0;
	auto state = new with_state;
	state->retire([&ran](with_state *p) { ran++, delete p; });
	qslab::rcu_retire(new counted, std::default_delete<counted>()); /* libc's memory */
	qslab::rcu_retire(new int(5), [&ran](int *p) { ran += *p, delete p; });
	qslab::rcu_retire(qslab::make_unique<int>(3).release()); /* plain again */
	qslab::rcu_retire(qslab::make_unique<counted>().release());
	qslab::rcu_retire(static_cast<back *>(qslab::make_unique<both>().release()));
	qslab::rcu_retire(static_cast<int *>(nullptr));
	CHECK(counters().retired == before.retired + 2);
	for (int i = 0; i < 200; i++) {
		CHECK(qslab::rcu_poll());
		usleep(100);
	}
	std::thread barrier(qslab::rcu_barrier);
	usleep(20000);
	CHECK(alive == 5 && ran == 0 && kept->value == 7);
	old.leave();
	barrier.join();
	qslab::rcu_barrier();
	CHECK(alive == 0 && ran == 6 && !qslab::rcu_poll());
	CHECK(live_bytes() == live);
}

/* A destructor that retires its child, a grace period for each. */
struct chain : qslab::rcu_obj_base<chain>, counted {
	chain *child = nullptr;
	~chain()
	{
		if (child)
			child->retire();
	}
};
static void nested()
{
	chain *top = nullptr;
	for (int i = 0; i < 3000; i++) {
		chain *one = new chain;
		one->child = top;
		top = one;
	}
	for (int i = 0; i < 100000; i++) { /* and wide */
		auto *one = new full;
		one->retire();
	}
	top->retire();
	while (qslab::rcu_poll(1000))
		;
	CHECK(alive == 0);
}

/* Threads that retire, as readers or not, and barriers of several at once: each finds its own deleters run. */
static void threads()
{
	static constexpr int count = 6, rounds = 20, each = 500;
	static std::atomic<int> mine[count];
	struct own : qslab::rcu_obj_base<own>, counted {
		std::atomic<int> *counter;
		explicit own(std::atomic<int> *c) : counter(c) { ++*c; }
		~own() { --*counter; }
	};
	std::vector<std::thread> all;
	for (int t = 0; t < count; t++)
		all.emplace_back([t] {
			if (t % 2)
				urcu_qsbr_register_thread();
			for (int r = 0; r < rounds; r++) {
				for (int i = 0; i < each; i++) {
					auto *one = new own(&mine[t]);
					one->retire();
					if (t % 2)
						urcu_qsbr_quiescent_state();
				}
				if (t < 4) {
					qslab::rcu_barrier();
					CHECK(mine[t] == 0);
				}
			}
			if (t % 2)
				urcu_qsbr_unregister_thread();
		});
	for (auto &thread : all)
		thread.join();
	qslab::rcu_barrier();
	CHECK(alive == 0);
}

/* How a child ends that runs `body`. */
template <class F> static int ends(F body)
{
	pid_t child = fork();
	if (!child) {
		alarm(60);
		body();
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	return status;
}

static void forks()
{
	std::atomic<bool> stop{false};
	std::thread busy([&stop] {
		while (!stop)
			(new full)->retire();
	});
	for (int i = 0; i < 20; i++) {
		auto *one = new with_state;
		static bool ran;
		ran = false;
		one->retire([](with_state *p) { ran = true, delete p; });
		CHECK(ends([] {
			(new full)->retire();
			qslab::rcu_barrier();
			CHECK(!qslab::rcu_poll());
		}) == 0);
		qslab::rcu_barrier();
		CHECK(ran);
	}
	stop = true;
	busy.join();
	qslab::rcu_barrier();
	CHECK(alive == 0);
	std::fflush(nullptr);
	int status = ends([] {
		CHECK(std::freopen("/dev/null", "w", stderr));
		qslab::rcu_retire(qslab::make_unique<counted>().release(), [](counted *) { qslab::rcu_barrier(); });
		qslab::rcu_barrier();
	});
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main()
{
	containers();
	unique();
	grace_periods();
	nested();
	threads();
	forks();
	CHECK(alive == 0);
	return 0;
}
