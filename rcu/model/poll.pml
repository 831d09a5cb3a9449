/*
 * poll.pml: grace periods by polling, beside liburcu's own, as a model that spin checks in every interleaving. Run by
 * tests/rcu/model.sh; rcu/poll.h says what is modelled, reclaim/model/reclaim.pml how to read Promela.
 *
 *   Reader     registers, picks up what is published, is quiescent, is offline for a while, unregisters. The first `SEEN` readers are
 *              known to us, the others register past us.
 *   Poller     replaces the published object and frees the old one after a polled grace period, if it gets one.
 *   Worker     runs a grace period of liburcu's and enters. Shares the lock `running` with Poller.
 *   Foreign    replaces the published object and frees the old one after a grace period of liburcu's.
 *
 * liburcu's own grace period is modelled as it is: under its lock, its counter read and written in two steps; every reader in
 * its list that is offline, or has the counter's present value, is moved out; when none is left all are put back.
 *
 * Claims: no object is freed that a reader has held since before its last quiescent state, by Poller, nor (SPOILT) by Foreign
 * or Worker, whose grace periods ours must not shorten. And every run ends: nobody waits for ever.
 *
 * The model is sequentially consistent. The code may be read so, because there is a full fence: in the thread that retires,
 * after the object was unlinked (the cookie's); in begin, before the walk, and between the walk and the swap; in a reader
 * after it has linked itself and before it reads anything, and on either side of a store to its counter; in liburcu between
 * its store to the counter and its first look at a reader. The list's links are liburcu's plain stores: of a reader that we
 * know, those were made before we knew it, under the lock that the walk holds; of the others the walk never gets to see any.
 */
#ifndef READERS
#define READERS 2
#endif
#ifndef SEEN
#define SEEN 1
#endif
#ifndef PICKS
#define PICKS 1
#endif
#ifndef POLLS
#define POLLS 1
#endif
#ifndef SYNCS
#define SYNCS 1
#endif
#ifndef ENTRIES
#define ENTRIES 1
#endif

#define STRIDE 16 /* of ours; liburcu's is 2 */

byte counter = 1;
byte ctr[READERS];		/* 0: offline */
bool linked[READERS];		/* liburcu has it, in its list or moved out of it */
bool moved[READERS];
bool known[READERS];		/* in our list */
byte held[READERS];		/* objects held since the last quiescent state, a bit each */
byte published = 1;		/* one bit */
bool urcu_lock, running;
bool on;
byte last, highest;
bool awaited[READERS];
byte seen[READERS];
byte over;			/* threads but readers that have ended */

#define OTHERS (POLLS + SYNCS + ENTRIES)

/* ---- readers -------------------------------------------------------------------------------------------- */

proctype Reader(byte r)
{
	byte picks = PICKS, copy;
	bool been_away;
	linked[r] = true;
	copy = counter;
	ctr[r] = copy;
	if
	:: r < SEEN -> known[r] = true
	:: else
	fi;
	do
	:: atomic { picks > 0 && ctr[r] != 0 -> held[r] = held[r] | published; picks-- }
	:: atomic { ctr[r] != 0 && ctr[r] != counter -> held[r] = 0; copy = counter }; ctr[r] = copy
#ifdef AWAY
	:: atomic { ctr[r] != 0 && !been_away -> been_away = true; held[r] = 0; ctr[r] = 0 }
#endif
	:: atomic { ctr[r] == 0 -> copy = counter }; ctr[r] = copy
	:: atomic { picks == 0 || over == OTHERS -> break }
	od;
	atomic { /* to unregister is to hold nothing */
		held[r] = 0;
		if
		:: known[r] -> known[r] = false; awaited[r] = false
		:: else
		fi
	};
	ctr[r] = 0;
	atomic { !urcu_lock -> linked[r] = false }
}

/* ---- liburcu's own ---------------------------------------------------------------------------------------- */

#if READERS == 2
#define IN_LIST(r) (linked[r] && !moved[r])
#define ANY_IN_LIST (IN_LIST(0) || IN_LIST(1))
#define ANY_LINKED (linked[0] || linked[1])
#define ALL_KNOWN (known[0] + 2 * known[1])
#define HELD (held[0] | held[1])
#else
#define IN_LIST(r) (linked[r] && !moved[r])
#define ANY_IN_LIST (IN_LIST(0) || IN_LIST(1) || IN_LIST(2))
#define ANY_LINKED (linked[0] || linked[1] || linked[2])
#define ALL_KNOWN (known[0] + 2 * known[1] + 4 * known[2])
#define HELD (held[0] | held[1] | held[2])
#endif

inline BACK()
{
	d_step {
		r = 0;
		do
		:: r < READERS -> moved[r] = false; r++
		:: else -> break
		od
	}
}

/* A reader may unlink itself in between: its lock is free while this one waits. */
inline SYNCHRONIZE()
{
	atomic { !urcu_lock -> urcu_lock = true };
	if
	:: ANY_LINKED ->
		copy = counter;
		counter = copy + 2;
		do
		:: atomic { IN_LIST(0) && (ctr[0] == 0 || ctr[0] == counter) -> moved[0] = true }
		:: atomic { IN_LIST(1) && (ctr[1] == 0 || ctr[1] == counter) -> moved[1] = true }
#if READERS == 3
		:: atomic { IN_LIST(2) && (ctr[2] == 0 || ctr[2] == counter) -> moved[2] = true }
#endif
		:: atomic { !ANY_IN_LIST -> break }
		od;
		BACK()
	:: else
	fi;
	urcu_lock = false
}

inline REPLACE()
{
	atomic { old = published; published = published << 1 }
}

inline FREE()
{
	atomic { assert((HELD & old) == 0); old = 0; over++ }
}

proctype Foreign()
{
	byte old, copy, r;
#ifdef SPOILT
	REPLACE();
#endif
	SYNCHRONIZE();
	FREE()
}

proctype Worker()
{
	byte old, copy, r, left, before; /* a bit each: readers known then; none comes back */
#ifdef SPOILT
	REPLACE();
#endif
	atomic { !running -> running = true };
	on = false;
	atomic { before = ALL_KNOWN; left = counter };
	SYNCHRONIZE();
	if
#ifdef BROKEN_STEP		/* is it ours? */
	:: counter == left + 2 ->
#else
	:: atomic { (before & ALL_KNOWN) && counter == left + 2 } ->
#endif
#ifdef BROKEN_ENTRY		/* as it is by now */
		last = counter;
#else
		last = left + 2;
#endif
		on = true
	:: else
	fi;
	running = false;
	FREE()
}

/* ---- ours ------------------------------------------------------------------------------------------------- */

#define HIGHER (last > highest -> last : highest)

/* False: a reader that we know is not where it should be, or one that we do not know is. */
inline LOOK(r)
{
	if
	:: atomic { known[r] && IN_LIST(r) -> awaited[r] = (ctr[r] != 0); seen[r] = ctr[r] }
	:: atomic { known[r] && !IN_LIST(r) -> whole = false }
#ifdef BROKEN_WALK		/* asks those that it knows, and looks for no other */
	:: atomic { !known[r] }
#else
	:: atomic { !known[r] && IN_LIST(r) -> whole = false }
	:: atomic { !known[r] && !IN_LIST(r) }
#endif
	fi
}

#define PASSED(r) (!awaited[r] || ctr[r] != seen[r])

proctype Poller()
{
	byte old;
	bool whole = true;
#ifndef BROKEN_FENCE		/* the object may still be seen where it was */
	REPLACE();
#endif
	atomic { !running -> running = true };
	if
	:: atomic { !on && counter == 1 -> last = 1; on = true }
	:: else
	fi;
	if
	:: on ->
		d_step { awaited[0] = false; awaited[1] = false };
		LOOK(0);
		LOOK(1);
#if READERS == 3
		LOOK(2);
#endif
#ifdef BROKEN_FENCE
		REPLACE();
#endif
		if
#ifdef BROKEN_SWAP		/* a plain store */
		:: atomic { whole -> last = HIGHER + STRIDE; highest = last; counter = last }
#else
		:: atomic { whole && counter == last -> last = HIGHER + STRIDE; highest = last; counter = last }
		:: atomic { whole && counter != last -> whole = false; on = false }
#endif
		:: atomic { !whole -> on = false }
		:: !whole /* and the next one tries */
		fi;
		if
		:: whole ->
			PASSED(0);
			PASSED(1);
#if READERS == 3
			PASSED(2);
#endif
		:: else -> old = 0
		fi
	:: else -> old = 0
	fi;
	running = false;
	FREE()
}

init
{
	byte i;
	atomic {
		i = 0;
		do
		:: i < READERS -> run Reader(i); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < POLLS -> run Poller(); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < SYNCS -> run Foreign(); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < ENTRIES -> run Worker(); i++
		:: else -> break
		od
	}
}
