/*
 * reclaim.pml: deferred free as a model, which spin checks in every interleaving. Run by tests/reclaim/model.sh.
 *
 * What is modelled, and by whom it is done:
 *   Worker     ends grace periods: started++, wait for a quiescent state of each reader, completed = started.
 *   Reader     picks up the published object, holds it, passes a quiescent state (and holds nothing then).
 *   Owner      a thread with its deferrer: publishes a new object and retires the old one into its pending array;
 *              seals the array when full; exchanges ripe batches; at its end hands the deferrer on (EXIT).
 *   Pusher     retires through the chain, as qslab_free_rcu_nolock (CHAIN).
 *   Reclaimer  frees for idle and gone threads: prefixes of pending arrays (PREFIX), batches, the chain.
 *   Barrier    qslab_rcu_barrier.
 *   Monitor    looks when nothing can move any more.
 *
 * A newcomer's guide to Promela: every line of a process is one atomic step, any process may go next; a condition
 * standing alone waits until it is true; "::" starts an alternative, any true one may be chosen; atomic{} and
 * d_step{} glue steps together. A label that begins with "end" marks a place where a process may rest forever.
 *
 * Objects are single bits, sets of objects are masks. What is claimed:
 *   1 none early   FREE asserts that no reader has held the object since before its last quiescent state
 *   2 once, all    FREE asserts that the object is retired, RETIRE that it is not; Monitor that none is left
 *   3 barrier      what was retired before the call (the mask `due`) is free when it returns
 *   4 progress     when nothing can move, everybody is done and nothing is retired. model.sh also checks that no
 *                  run is infinite; so each run gets there.
 *
 * The model is sequentially consistent. The code may be read that way because of these pairs:
 *   started      a fence (seq_cst) before each load that makes a cookie; another in Worker after started++, before
 *                synchronize. So either the cookie sees the new started, or the unpublishing store before the cookie
 *                comes before the grace period.
 *   completed    stored with release after synchronize; loaded with acquire before a free: readers' last looks come
 *                before the reuse.
 *   top          stored with release by the owner, after slot; loaded with acquire by whoever notes a prefix: it sees
 *                the slots and, through them, that the objects were unpublished before its cookie.
 *   chain        pushed with release, taken with an acquiring exchange; the cookie's fence comes after the exchange.
 *   top, limit   no fence: a push may pass beside the disarming, and the reclaimer looks again, at intervals that end.
 *                Here its timer ends when there is something to see.
 *   waking       flag stored (seq_cst) before futex wake; cleared before the work is looked for.
 *   the rest     under the deferrer's lock, or the chain's.
 *
 * Switches: PREFIX, CHAIN, EXIT, IDLE (arrays are disarmed and the reclaimer sleeps), OWNERS, PUSHERS, READERS,
 * BARRIERS, OPS (retires by each owner or pusher), PICKS (pick-ups by each reader), OBJECTS, HEIR (the second
 * thread waits for the first one's orphan), UNWATCHED (no Monitor). BROKEN_x takes one line of the protocol away;
 * spin must then find an error.
 */
#ifndef OWNERS
#define OWNERS 1
#endif
#ifndef PUSHERS
#define PUSHERS 0
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef BARRIERS
#define BARRIERS 0
#endif
#ifndef OPS
#define OPS 4
#endif
#ifndef PICKS
#define PICKS 1
#endif
#ifndef OBJECTS
#define OBJECTS 4
#endif
#if OWNERS > 0
#define DEFERRERS OWNERS
#else
#define DEFERRERS 1
#endif

#define ALL	 ((1 << OBJECTS) - 1)
#define CAPACITY 2
#define QUEUE	 4 /* batches in one FIFO; asserted */

/* ---- objects and readers ----------------------------------------------------------------------------- */

byte published = 1;	  /* what a reader can pick up now; 0: nothing */
byte unused = ALL & ~1;	  /* free objects: of slabs and magazines alike */
byte retired;		  /* given up, not yet free */
byte entering;		  /* of them, those whose retiring call has not returned */
byte due[2];		  /* what each barrier has promised: retired before its call, not free since */
byte held[READERS];	  /* by each reader since its last quiescent state */
bool asked[READERS];	  /* Worker waits for a quiescent state of this reader */
byte done;		  /* owners, pushers and barriers that have ended */

#if READERS == 1
#define HELD held[0]
#define ANY_ASKED asked[0]
#else
#define HELD (held[0] | held[1])
#define ANY_ASKED (asked[0] || asked[1])
#endif

inline FREE(objects)
{
	assert((objects & HELD) == 0);		/* claim 1 */
	assert((objects & ~retired) == 0);	/* claim 2 */
	retired = retired & ~(objects);
	due[0] = due[0] & ~(objects);
	due[1] = due[1] & ~(objects);
	unused = unused | (objects)
}

/* malloc, publish it instead of the old object, and give the old one up; old = 0 if there was none. */
inline REPLACE(old)
{
	old = published;
	published = unused & -unused;	/* the lowest, or none */
	unused = unused & ~published;
	assert((retired & old) == 0);
	retired = retired | old;
	entering = entering | old
}

proctype Reader(byte r)
{
	byte picks = PICKS;
end:	do
	:: atomic { picks > 0 && published != 0 -> held[r] = held[r] | published; picks-- }
	:: atomic { held[r] != 0 || asked[r] -> held[r] = 0; asked[r] = false }
	od
}

/* ---- grace periods ------------------------------------------------------------------------------------ */

byte started, completed;
byte wanted;			/* the highest cookie somebody waits for */

#ifdef BROKEN_COOKIE		/* the grace period that runs already is taken for enough */
#define COOKIE started
#else
#define COOKIE (started + 1)
#endif

#define MAX(a, b) (a > b -> a : b)

#ifdef BROKEN_DEMAND		/* demand is a flag, cleared when a grace period ends */
bool demand;
#define DEMANDED demand
#define DEMAND(cookie) demand = true
#else
#define DEMANDED (wanted > completed)
#define DEMAND(cookie) wanted = MAX(wanted, cookie)
#endif

proctype Worker()
{
end:	do
	:: DEMANDED ->
		started++;
		d_step {
			asked[0] = true;
#if READERS == 2
			asked[1] = true
#endif
		}
		!ANY_ASKED;
		d_step {
			completed = started;
#ifdef BROKEN_DEMAND
			demand = false
#endif
		}
	od
}

/* ---- deferrers ---------------------------------------------------------------------------------------- */

typedef deferrer {
	bool lock;
	bool owned, orphan;	/* a thread has it; or had it, and nobody has adopted it yet */
	byte slot[CAPACITY];	/* the pending array. Written by the owner alone, without the lock */
	byte top;		/* slots 0..top-1 are filled. Raised by the owner, without the lock */
	byte limit;		/* a push at top >= limit takes the slow path */
	byte first;		/* of them, slots 0..first-1 are free again. This and the rest: under the lock */
	byte generation;	/* changes whenever top goes back to 0, and is never reset */
	byte batch[QUEUE], cookie[QUEUE], batches; /* the FIFO: sets of objects, oldest first, cookies ascend */
	byte noted, noted_generation, noted_cookie; /* the note of a prefix; noted = 0: none */
};
deferrer D[DEFERRERS];

bool wake;			/* the reclaimer's flag under its futex: an array was re-armed */

inline LOCK(d)   { atomic { !D[d].lock -> D[d].lock = true } }
#define UNLOCK(d) D[d].lock = false

/* The objects in slots from..to-1. */
#define SLOTS(d, from, to) \
	(D[d].slot[0] * (from <= 0 && to > 0) | D[d].slot[1] * (from <= 1 && to > 1))

inline APPEND(d, objects, c)
{
	assert(D[d].batches < QUEUE);
	D[d].batch[D[d].batches] = objects;
	D[d].cookie[D[d].batches] = c;
	D[d].batches++;
	DEMAND(c)
}

#define RIPE(d) (D[d].batches > 0 && completed >= D[d].cookie[0])

inline POP(d)
{
	D[d].batches--;
	D[d].batch[0] = D[d].batch[1]; D[d].cookie[0] = D[d].cookie[1];
	D[d].batch[1] = D[d].batch[2]; D[d].cookie[1] = D[d].cookie[2];
	D[d].batch[2] = D[d].batch[3]; D[d].cookie[2] = D[d].cookie[3];
	D[d].batch[3] = 0; D[d].cookie[3] = 0
}
inline FREE_HEAD(d)	/* the oldest batch becomes the owner's magazine, or goes back to the slabs */
{
	FREE(D[d].batch[0]);
	POP(d)
}

/* The noted entries are free from now on. */
inline FREE_PREFIX(d)
{
	FREE(SLOTS(d, D[d].first, D[d].noted));
#ifndef BROKEN_FIRST
	D[d].first = D[d].noted;
#endif
	D[d].noted = 0
}

/* A fresh array becomes pending. Slots are cleared only to have fewer states. */
inline RENEW(d)
{
	D[d].top = 0;
	D[d].first = 0;
	D[d].slot[0] = 0;
	D[d].slot[1] = 0;
	D[d].generation++
}

/* Under the lock, by the owner: the last append lies behind it, then comes the cookie, then nothing is added. */
inline SEAL(d, c)
{
	if
	:: D[d].first < D[d].top ->
		c = COOKIE;
		d_step { APPEND(d, SLOTS(d, D[d].first, D[d].top), c); RENEW(d); c = 0 }
	:: else ->
		d_step { RENEW(d) }
	fi
}

/* ---- a thread ------------------------------------------------------------------------------------------ */

inline RETIRE(d, object)
{
#ifdef BROKEN_REOPEN		/* the youngest batch takes one more, under the cookie it has */
	if
	:: d_step { D[d].batches > 0 && !D[d].lock ->
		D[d].batch[D[d].batches - 1] = D[d].batch[D[d].batches - 1] | object };
		goto out
	:: else
	fi;
#endif
	if
	:: D[d].top >= D[d].limit -> /* slow path */
		LOCK(d);
		if
		:: D[d].top == CAPACITY -> SEAL(d, c)
		:: else
		fi;
		d_step {
			if
			:: D[d].limit == 0 -> D[d].limit = CAPACITY; wake = true
			:: else
			fi;
			UNLOCK(d)
		}
	:: else
	fi;
#ifdef BROKEN_ORDER
	D[d].top++;
	D[d].slot[D[d].top - 1] = object;
#else
	D[d].slot[D[d].top] = object;
	D[d].top++;
#endif
out:	skip;
	d_step { entering = entering & ~object; object = 0 }
}

proctype Owner(byte which)
{
	byte left = OPS, old, c, d;

	d = which;
#ifdef EXIT
	if	/* a new thread adopts the orphan if there is one, else has a deferrer of its own */
	:: atomic { which == 1 && D[0].orphan && !D[0].lock -> D[0].orphan = false; D[0].owned = true; d = 0 }
#ifdef BROKEN_ADOPT		/* a new life, a new count */
		D[0].generation = 0
#endif
#ifdef HEIR
	:: which == 0 -> D[0].owned = true
#else
	:: D[which].owned = true
#endif
	fi;
#else
	D[d].owned = true;
#endif
	do
	:: atomic { left > 0 -> left--; REPLACE(old) };
		if
		:: old != 0 -> RETIRE(d, old)
		:: else
		fi
	:: d_step { left > 0 && !D[d].lock && RIPE(d) -> FREE_HEAD(d) } /* the exchange */
	:: left == 0 -> break
	od;
#ifdef EXIT
	LOCK(d);
#ifndef BROKEN_EXIT
	SEAL(d, c);
#endif
	d_step { D[d].owned = false; D[d].orphan = true; UNLOCK(d) };
#endif
	done++
}

/* ---- the chain ------------------------------------------------------------------------------------------ */

byte chain;			/* the lock-free stack */
bool chain_wake;		/* the reclaimer's flag: the chain was empty */
bool chain_lock;		/* held by whoever takes or frees, never by a pusher */
byte ripening, ripening_cookie; /* what was taken. Under chain_lock */

proctype Pusher()
{
	byte left = OPS, old;
	bool first;

	do
	:: atomic { left > 0 -> left--; REPLACE(old) };
		if
		:: old != 0 ->
			atomic { first = (chain == 0); chain = chain | old };
			if
			:: first -> chain_wake = true
			:: else
			fi;
			d_step { entering = entering & ~old; old = 0; first = false }
		:: else
		fi
	:: left == 0 -> break
	od;
	done++
}

/* Frees what is ripe; with nothing left there takes the whole chain, then a cookie: c is the one to wait for, or 0. */
inline ADVANCE(objects, c)
{
	atomic { !chain_lock -> chain_lock = true };
	d_step {
		c = 0;
		if
		:: ripening != 0 && completed >= ripening_cookie -> FREE(ripening); ripening = 0; ripening_cookie = 0
		:: else
		fi
	};
	if
#ifdef BROKEN_MIXED		/* what comes in joins what ripens already */
	:: true ->
#else
	:: ripening == 0 ->
#endif
#ifdef BROKEN_CHAIN
		c = COOKIE;
		d_step { objects = chain; chain = 0 };
#else
		d_step { objects = chain; chain = 0 };
		c = COOKIE;
#endif
		d_step {
			if
			:: objects != 0 && ripening == 0 -> ripening_cookie = c; DEMAND(c)
			:: else
			fi;
			ripening = ripening | objects;
			objects = 0; c = 0
		}
	:: else
	fi;
	d_step {
		if
		:: ripening != 0 -> c = ripening_cookie
		:: else
		fi;
		chain_lock = false
	}
}

/* ---- the reclaimer --------------------------------------------------------------------------------------- */

/* Is its note of this array still of use? */
#ifdef BROKEN_GENERATION
#define NOTED(d) (D[d].noted != 0)
#else
#define NOTED(d) (D[d].noted != 0 && D[d].noted_generation == D[d].generation)
#endif

/* Lock held, and dropped at the end. */
inline WRITE_NOTE(d)
{
#ifdef BROKEN_NOTE		/* the cookie first, then the top: pushes between come too early */
	c = COOKIE;
	n = D[d].top;
#else
	n = D[d].top;
	c = COOKIE;
#endif
	d_step {
		D[d].noted = n;
		D[d].noted_generation = D[d].generation;
		D[d].noted_cookie = c;
		DEMAND(c);
		n = 0;
		UNLOCK(d)
	}
}

/* The reclaimer's: it leaves a note that stands. */
#define NOTEABLE(d) (!D[d].lock && D[d].owned && D[d].first < D[d].top && !NOTED(d))
inline NOTE(d)
{
	atomic { NOTEABLE(d) -> D[d].lock = true };
	WRITE_NOTE(d);
	c = 0
}

#define RIPE_NOTE(d) (!D[d].lock && NOTED(d) && completed >= D[d].noted_cookie)
inline FREE_NOTED(d) { d_step { RIPE_NOTE(d) -> FREE_PREFIX(d) } }

#ifdef BROKEN_DETACH		/* a ripe batch leaves its FIFO under the lock, but is freed after it */
inline DRAIN(d)
{
	d_step { !D[d].lock && RIPE(d) -> n = D[d].batch[0]; POP(d) };
	d_step { FREE(n); n = 0 }
}
#else
inline DRAIN(d) { d_step { !D[d].lock && RIPE(d) -> FREE_HEAD(d) } }
#endif

/* Without IDLE its timer may fire at any time, and it is never asleep. */
proctype Reclaimer()
{
	byte n, c;
end:	do
	:: DRAIN(0)
#if DEFERRERS == 2
	:: DRAIN(1)
#endif
#ifdef PREFIX
	:: NOTE(0)
	:: FREE_NOTED(0)
#if DEFERRERS == 2
	:: NOTE(1)
	:: FREE_NOTED(1)
#endif
#endif
#ifdef CHAIN
	:: chain_wake || (ripening != 0 && completed >= ripening_cookie) -> chain_wake = false; ADVANCE(n, c); c = 0
#endif
#ifdef IDLE
	:: d_step { !D[0].lock && D[0].limit != 0 -> D[0].limit = 0 }
	:: D[0].limit == 0 && D[0].top == D[0].first && D[0].batches == 0 ->
#ifdef BROKEN_TIMER		/* sleeps until somebody says so */
end_asleep:	wake;
#else
end_asleep:	wake || D[0].top != D[0].first;
#endif
		wake = false
#endif
	od
}

/* ---- the barrier ----------------------------------------------------------------------------------------- */

bool turn;			/* a barrier is at it: one at a time */

proctype Barrier(byte which)
{
	byte d, c, m, n;

	due[which] = retired & ~entering;
#ifndef BROKEN_TURNS
	atomic { !turn -> turn = true };
#endif

	/* Pass 1: a note of each pending array; one that stands is widened. */
	do
	:: d < DEFERRERS ->
		LOCK(d);
		if
		:: D[d].first < D[d].top -> WRITE_NOTE(d); d_step { m = MAX(m, c); c = 0 }
		:: else -> UNLOCK(d)
		fi;
		d++
	:: else -> break
	od;
	d = 0;
	completed >= m;

	/* Pass 2: what is still where it was noted is freed; the rest has been freed or is in a FIFO. */
	d_step { c = m; m = 0 };
	do
	:: d < DEFERRERS ->
		d_step {
			!D[d].lock ->
			if
			:: RIPE_NOTE(d) -> FREE_PREFIX(d)
			:: else
			fi;
			if
			:: D[d].batches > 0 -> m = MAX(m, D[d].cookie[D[d].batches - 1])
			:: else
			fi;
			d++
		}
	:: else -> break
	od;
	d = 0;
#ifdef BROKEN_WAIT		/* the first wait is taken for enough */
	m = c;
#endif
	c = 0;
	completed >= m;

	/* Pass 3: batches up to that cookie are freed. */
#ifndef BROKEN_PASS		/* left out */
	do
	:: d < DEFERRERS ->
		atomic {
			!D[d].lock ->
			do
			:: D[d].batches > 0 && D[d].cookie[0] <= m -> FREE_HEAD(d)
			:: else -> break
			od;
			d++
		}
	:: else -> break
	od;
#endif
#ifdef CHAIN
	/* The chain, twice: what ripens, and what came in behind it. */
	ADVANCE(n, c);
	completed >= c;
	ADVANCE(n, c);
#ifndef BROKEN_ONCE
	ADVANCE(n, c);
	completed >= c;
	ADVANCE(n, c);
#endif
	c = 0;
#endif
#ifndef BROKEN_TURNS
	turn = false;
#endif
	assert(due[which] == 0); /* claim 3 */
	done++
}

/* ---- all together ----------------------------------------------------------------------------------------- */

proctype Monitor()
{
	timeout ->
		assert(done == OWNERS + PUSHERS + BARRIERS);	/* claim 4 */
		assert(!DEMANDED || completed >= wanted);
		assert(retired == 0 && (unused | published) == ALL) /* claim 2 */
}

init
{
	atomic {
		D[0].limit = CAPACITY;
#if DEFERRERS == 2
		D[1].limit = CAPACITY;
#endif
		run Worker();
		run Reader(0);
#if READERS == 2
		run Reader(1);
#endif
#if OWNERS >= 1
		run Owner(0);
#endif
#if OWNERS == 2
		run Owner(1);
#endif
#if PUSHERS >= 1
		run Pusher();
#endif
#if PUSHERS == 2
		run Pusher();
#endif
		run Reclaimer();
#if BARRIERS >= 1
		run Barrier(0);
#endif
#if BARRIERS == 2
		run Barrier(1);
#endif
#ifndef UNWATCHED
		run Monitor();
#endif
		skip
	}
}
