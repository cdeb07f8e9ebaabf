/*
 * What callers see of one block when servers die in the middle of writes: the
 * overlap guard, the order of a successor, and the fence (storage/server's and
 * storage/device's documentation).
 *
 * Writers write a value each, and each only once; a reader reads again and
 * again. A server takes their requests in any order. It starts one on the device
 * if nothing unanswered conflicts with it, and marks it started first. The device
 * carries out what it was given in any order, also for a dead server. A
 * successor takes what had been started before anything else, and executes it
 * again.
 *
 * Checked: the block is an atomic register. before[a] holds the values that must
 * come before a: those whose write was answered, or which somebody had read, when
 * the write or a read of a was asked for. If two values must each come before the
 * other, an acknowledged write was undone, or an old value came back.
 *
 * Without deaths the guard is not needed for that (one block is atomic of
 * itself); it is what makes executing again harmless.
 */
#ifndef DEATHS
#define DEATHS 2
#endif
#define CALLS  4         /* 0 and 1 write 1 and 2; 2 and 3 read, one after the other */
#define writes(k) ((k) < 2)
#define value(k) ((k) + 1)

/* shared memory */
bit asked[CALLS], answered[CALLS], started[CALLS];
byte reply[CALLS];
/* disk, and what is in the kernel: operations by call and by server */
byte block;
byte running[CALLS];     /* operations in flight; two only without the fence */
/* inside the server */
bit taken[CALLS], atDevice[CALLS], completed[CALLS];
bit recovering;
/* fault */
bit die;
byte deaths;
/* what an observer knows */
byte before[3];          /* before[a]: set of the values that come before a */
byte seen;               /* set of the values known to be or have been there */

#define bitOf(v) (1 << (v))

/* v is in the block at some time between the question and now: what was known
   before the question, v itself apart, comes before v. */
inline judge(v, known) {
	d_step {
		before[v] = before[v] | (known & ~bitOf(v));
		seen = seen | bitOf(v);
		assert(!(before[0] & bitOf(1) && before[1] & bitOf(0)));
		assert(!(before[0] & bitOf(2) && before[2] & bitOf(0)));
		assert(!(before[1] & bitOf(2) && before[2] & bitOf(1)))
	}
}

proctype Writer(byte k) {
	byte known;

	d_step { known = seen; asked[k] = 1 };
	answered[k];
	judge(value(k), known)
}

proctype Reader() {
	byte known, k;

	k = 2;
	do
	:: k < CALLS ->
		d_step { known = seen; asked[k] = 1 };
		answered[k];
		judge(reply[k], known);
		k++
	:: else -> break
	od
}

/* One of two conflicting requests changes the block: two reads do not conflict. */
#define conflicts(k, o) (taken[o] && !answered[o] && (o) != (k) && (writes(k) || writes(o)))
#ifdef NO_GUARD
#define blocked(k) false
#else
#define blocked(k) (conflicts(k, 0) || conflicts(k, 1) || conflicts(k, 2) || conflicts(k, 3))
#endif

#define mayTake(k) (asked[k] && !answered[k] && !taken[k] && !blocked(k) && (started[k] || !recovering))

inline serve(k) {
	d_step { taken[k] = 1; completed[k] = 0 };
	started[k] = 1;
	d_step { atDevice[k] = 1; running[k]++ }
}

/* The device carries out one operation; its server, if alive, learns of it. A
   read of the dead server writes the caller's memory as well. */
inline carryOut(k) {
	d_step {
		running[k]--;
		if
		:: writes(k) -> block = value(k)
		:: else -> if :: !answered[k] -> reply[k] = block :: else fi
		fi;
		if
		:: atDevice[k] -> completed[k] = 1; atDevice[k] = 0
		:: else
		fi
	}
}

proctype Device() {
end:
	do
	:: running[0] > 0 -> carryOut(0)
	:: running[1] > 0 -> carryOut(1)
	:: running[2] > 0 -> carryOut(2)
	:: running[3] > 0 -> carryOut(3)
	od
}

#ifdef NO_FENCE
#define fenced true
#else
#define fenced (running[0] + running[1] + running[2] + running[3] == 0)
#endif

#define left(k) (started[k] && !answered[k] && !taken[k])

proctype Server() {
born:
	fenced;
	d_step {
		taken[0] = 0; taken[1] = 0; taken[2] = 0; taken[3] = 0;
		atDevice[0] = 0; atDevice[1] = 0; atDevice[2] = 0; atDevice[3] = 0;
		completed[0] = 0; completed[1] = 0; completed[2] = 0; completed[3] = 0;
#ifdef NO_STARTED_FIRST
		recovering = 0
#else
		recovering = 1
#endif
	};
end:
	do
	:: recovering && !left(0) && !left(1) && !left(2) && !left(3) -> recovering = 0
	:: mayTake(0) -> serve(0)
	:: mayTake(1) -> serve(1)
	:: mayTake(2) -> serve(2)
	:: mayTake(3) -> serve(3)
	:: completed[0] && !answered[0] -> answered[0] = 1
	:: completed[1] && !answered[1] -> answered[1] = 1
	:: completed[2] && !answered[2] -> answered[2] = 1
	:: completed[3] && !answered[3] -> answered[3] = 1
	:: deaths < DEATHS -> deaths++; goto born
	od
}

init {
	seen = bitOf(0);
	atomic {
		run Writer(0);
		run Writer(1);
		run Reader();
		run Device();
		run Server()
	}
}
