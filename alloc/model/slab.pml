/*
 * slab.pml: a slab's remote frees and its adoption (layout.h) as a model, which spin checks in every interleaving.
 * Run by tests/alloc/model.sh. reclaim/model/reclaim.pml opens with what a newcomer to Promela needs.
 *
 * One slab of OBJECTS objects, each in a bitmap word of its own, so that R2 and D2 take several steps; by whom:
 *   Owner      the thread of heap 0, where the slab is at first: flushes its objects, one at a time, then rests or
 *              ends (EXIT): the heap is an orphan.
 *   Adopter    the thread of heap h > 0: takes the slab from an orphan and some of its objects; flushes them and rests,
 *              or ends as well (the last one rests).
 *   Freer      a thread without a heap (heap_late_free) or of one that has nothing to do with the slab: frees some of
 *              its objects.
 *
 * What is claimed:
 *   1 once       an object is freed when it is neither in free[] nor in remote[]; taken from free[] once
 *   2 listed     a slab that is pushed is on no notify list; one that is taken off a list belongs to that list's heap
 *   3 alive      a slab is destroyed all free, announced == 0, on no list; nobody touches it then (R4's hint reads anything)
 *   4 given back when nothing can move any more everybody is done and the slab is destroyed: all objects were freed, so
 *                none was lost, announced went back to 0, and no slab that is all free is left lying
 *
 * Memory is sequentially consistent but for the two Dekker pairs' stores, which may be late:
 *   nfree        stored under the heap's lock; others see it, as `shown`, from the owner's fence on, D3's release, or
 *                the lock's drop
 *   the push     R4's look may go ahead of it unless the fence is between (BROKEN_PUSH_FENCE)
 * The rest is published by read-modify-writes with release and acquire, which a sequence of steps shows as it is.
 *
 * Switches: OBJECTS, and whose they are, as masks (MINE: the owner's; FIRST, SECOND, THIRD: the Freers'); FREERS,
 * ADOPTERS, EXIT.
 * BROKEN_x takes one line of the protocol away; spin must then find an error.
 */
#ifndef OBJECTS
#define OBJECTS 3
#endif
#ifndef MINE
#define MINE 1
#endif
#ifndef FREERS
#define FREERS 2
#endif
#ifndef FIRST
#define FIRST 2
#endif
#ifndef SECOND
#define SECOND 4
#endif
#ifndef THIRD
#define THIRD 8
#endif
#ifndef ADOPTERS
#define ADOPTERS 0
#endif
#define HEAPS (1 + ADOPTERS)
#define ALL   ((1 << OBJECTS) - 1)

byte free_bits, remote;	      /* the bitmaps */
byte nfree;		      /* the heap's lock */
byte shown;		      /* what of nfree is seen without it */
byte announced;
bool moving;
byte heap_of;		      /* the slab's heap */
bool listed[HEAPS];	      /* it is on that heap's notify list */
bool lock[HEAPS];
bool orphan[HEAPS];
bool dead;
byte done;

#if HEAPS == 1
#define LISTED listed[0]
#elif HEAPS == 2
#define LISTED (listed[0] || listed[1])
#else
#define LISTED (listed[0] || listed[1] || listed[2])
#endif

inline TAKE(h) { atomic { !lock[h] -> lock[h] = true } }
inline DROP(h) { d_step { shown = nfree; lock[h] = false } }

inline PUSH(h)
{
	d_step { assert(!dead && !LISTED); listed[h] = true }	/* claims 2, 3 */
}

/* The lock of the slab's heap held. */
inline DESTROY()
{
	d_step {
		assert(free_bits == ALL && announced == 0 && !LISTED && !dead);	/* claim 3 */
		dead = true
	}
}

/* A thread reads or writes the slab. */
#define TOUCH assert(!dead)

/* D1 to D3. The heap's lock held; w and m are the caller's, and 0 again at the end. */
inline DRAIN(h)
{
	if
	:: d_step { listed[h] -> listed[h] = false };		/* D1 */
#ifndef BROKEN_MOVING
		assert(heap_of == h);				/* claim 2 */
#endif
		if
		:: heap_of != h -> PUSH(heap_of)		/* BROKEN_MOVING only: it is passed on */
		:: else ->
			w = 1;
			do
			:: w > ALL -> break
			:: d_step { w <= ALL && (remote & w) != 0 ->	/* D2 */
				assert(!dead && (free_bits & w) == 0);	/* claim 1 */
				remote = remote & ~w; free_bits = free_bits | w; m++; w = w << 1 }
			:: d_step { w <= ALL && (remote & w) == 0 -> w = w << 1 }
			od;
			nfree = nfree + m;
			d_step {					/* D3 */
				assert(announced >= m);
				announced = announced - m; shown = nfree; w = announced; m = 0
			};
#ifndef BROKEN_REPUSH
			if
			:: w > 0 -> PUSH(h)
			:: else
			fi;
#endif
			w = 0;
			if
			:: nfree == OBJECTS -> DESTROY()
			:: else
			fi
		fi
	:: else
	fi
}

/* An object of the heap's own. */
inline FLUSH(h, object)
{
	TAKE(h);
	d_step {
		assert(!dead && ((free_bits | remote) & object) == 0);	/* claim 1 */
		free_bits = free_bits | object;
		nfree++
	};
	if
	:: nfree == OBJECTS -> DESTROY()
	:: else
	fi;
#ifndef BROKEN_FLUSH_FENCE
	shown = nfree;
#endif
	DRAIN(h);
	DROP(h)
}

#define COUNT(mask) ((mask & 1) + (mask >> 1 & 1) + (mask >> 2 & 1) + (mask >> 3 & 1))

proctype Freer(byte objects)
{
	byte w, m, before, h, k = COUNT(objects), hint;

#ifdef BROKEN_HEAP		/* the heap is looked up before R1 */
	h = heap_of;
#endif
#ifndef BROKEN_ANNOUNCE
	d_step { TOUCH; before = announced; announced = announced + k };	/* R1 */
#endif
#if !defined(BROKEN_MOVING) && !defined(BROKEN_WAIT)
	!moving;
#endif
#ifndef BROKEN_HEAP
	d_step { TOUCH; h = heap_of };
#endif
	w = 1;
	do
	:: w > ALL -> break
	:: d_step { w <= ALL && (objects & w) != 0 ->		/* R2 */
		assert(!dead && ((free_bits | remote) & w) == 0);	/* claim 1 */
		remote = remote | w; w = w << 1 }
	:: d_step { w <= ALL && (objects & w) == 0 -> w = w << 1 }
	od;
	w = 0;
#ifdef BROKEN_ANNOUNCE		/* bits may be taken in that are not announced yet */
	d_step { TOUCH; before = announced; announced = announced + k };
#endif
#ifdef BROKEN_PUSH_FENCE	/* R4's look goes ahead of the push */
	hint = announced;
	hint = hint + shown;
#endif
	if
	:: before == 0 -> PUSH(h)				/* R3 */
	:: else
	fi;
#ifndef BROKEN_PUSH_FENCE
#ifdef BROKEN_LOOK		/* nfree first: what a drain moves between the two looks is not counted */
	hint = shown;						/* R4 */
	hint = hint + announced;
#else
	hint = announced;
	hint = hint + shown;
#endif
#endif
	if
	:: hint >= OBJECTS || dead ->
#ifndef BROKEN_HINT
		TAKE(h);
		DRAIN(h);
		DROP(h)
#endif
	:: hint < OBJECTS || dead
	fi;
	d_step { before = 0; hint = 0; h = 0; k = 0; objects = 0 };
	done++
}

proctype Owner()
{
	byte w, m, o = 1;

	do
	:: o > ALL -> break
	:: o <= ALL && (MINE & o) != 0 -> FLUSH(0, o); o = o << 1
	:: d_step { o <= ALL && (MINE & o) == 0 -> o = o << 1 }
	od;
#ifdef EXIT
	TAKE(0); DRAIN(0); DROP(0);
	orphan[0] = true;
#endif
	done++
}

/* Heaps' locks: its own, and an orphan's by trying. */
proctype Adopter(byte me)
{
	byte w, m, g, took;

	do
	:: atomic { g < me && orphan[g] && !lock[me] && !lock[g] -> lock[me] = true; lock[g] = true };
		DRAIN(g);
#ifdef BROKEN_MOVING		/* moved whether or not objects are on their way, and passed on from list to list */
		if
		:: !dead && heap_of == g && nfree > 0 -> heap_of = me
		:: else
		fi;
#else
		if
		:: !dead && heap_of == g && nfree > 0 ->
			moving = true;
			if
			:: d_step { announced == 0 -> announced = 1 };
				heap_of = me;
				moving = false;
				d_step { announced--; w = announced };
#ifndef BROKEN_INHERIT
				if
				:: w > 0 -> PUSH(me)
				:: else
				fi;
#endif
				w = 0
			:: else -> moving = false
			fi
		:: else
		fi;
#endif
		DROP(g);
		d_step {
			if
			:: !dead && heap_of == me && nfree > 0 -> /* the lowest free object */
				took = free_bits & -free_bits;
				free_bits = free_bits & ~took;
				nfree--
			:: else
			fi
		};
		DROP(me);
		if
		:: took != 0 -> FLUSH(me, took); took = 0
		:: else
		fi;
		g++
	:: g < me -> g++	/* not this one */
	:: g == me -> break
	od;
	if
	:: me < ADOPTERS -> TAKE(me); DRAIN(me); DROP(me); orphan[me] = true
	:: else
	fi;
	g = 0;
	done++
}

/* Claim 4. */
proctype Monitor()
{
	timeout ->
		assert(done == 1 + FREERS + ADOPTERS);
		assert(dead)
}

init
{
	atomic {
		run Owner();
		run Freer(FIRST);
#if FREERS >= 2
		run Freer(SECOND);
#endif
#if FREERS >= 3
		run Freer(THIRD);
#endif
#if ADOPTERS >= 1
		run Adopter(1);
#endif
#if ADOPTERS >= 2
		run Adopter(2);
#endif
		run Monitor()
	}
}
