/*
 * The slot protocol, with a server that dies at any step.
 *
 * Each slot has an owner in the client that submits one request after another:
 * record, sequence number, submit bit, in three steps. The server takes requests
 * by polling the slot it used last or by comparing the submit bits with its own
 * parities, executes them in any order, at once or through a device, and answers:
 * record, sequence number, done bit. The client takes a reply by looking at the
 * slot or by way of the done bits. A successor starts from the two segments alone.
 * With CLIENT_DEATHS the client dies too, as a Requester may: its successor takes over
 * what has been asked.
 *
 * Checked, by assertions and by the absence of invalid end states and of infinite
 * runs: every request is answered exactly once; no reply is taken for another
 * request's; a bit is only ever toggled from the other parity (else the addition
 * would carry into a neighbour); exactly the requests that were on the processor
 * in POISON deaths are failed.
 *
 * Sleeping is not modelled here: a side blocks until what it looks at changes.
 */
#ifndef SLOTS
#define SLOTS    2
#endif
#ifndef REQUESTS
#define REQUESTS 2   /* of each slot */
#endif
#ifndef DEATHS
#define DEATHS   1
#endif
#ifndef CLIENT_DEATHS
#define CLIENT_DEATHS 0
#endif
#define POISON   2
#define NOBODY   SLOTS
#define FAILED   255

/* client segment */
byte request[SLOTS];
byte asked[SLOTS];          /* request.seq */
bit submit[SLOTS];
/* server segment */
byte reply[SLOTS];
byte answered[SLOTS];       /* reply.seq */
bit done[SLOTS];
byte attemptSeq[SLOTS];     /* the attempt word, written at once */
byte attemptCount[SLOTS];
bit attemptOnCPU[SLOTS];
/* inside the client process */
bit waiting[SLOTS];         /* the owner sleeps */
/* fault, and what an observer outside would have counted */
bit die;
bit dies;                   /* the owner of slot 0 */
byte onCPU = NOBODY;
byte blamed[SLOTS];         /* deaths while the current request was on the processor */
byte effects[SLOTS];        /* last request that took effect */

#define payload(s, seq) ((seq) * SLOTS + (s) + 1)
#ifdef KILLER
#define kills(s, seq) ((s) == 1 && (seq) == 1)
#else
#define kills(s, seq) false
#endif

inline await(s) {
	if
	:: answered[s] == seq
	:: waiting[s] = 1; !waiting[s]
	fi;
	got = reply[s];
	assert(got == FAILED || got == payload(s, seq));
	assert(got != FAILED || blamed[s] >= POISON);
	assert(got == FAILED || effects[s] == seq);
	assert(!kills(s, seq) || got == FAILED)
}

/* Attach of a Requester: what has been published is asked, and what has not been is not. */
inline attach(s) {
#ifdef SEQ_FROM_REPLIES
	seq = answered[s];
#else
	seq = asked[s];
#endif
#ifdef TOGGLE_AT_TAKEOVER
	if
	:: seq != answered[s] -> assert(submit[s] != seq % 2); submit[s] = seq % 2
	:: else
	fi;
#else
#ifndef SUBMIT_BITS_NOT_STORED
	submit[s] = seq % 2;
#endif
#endif
	if
	:: answered[s] != seq -> await(s)
	:: else
	fi
}

proctype Owner(byte s) {
	byte seq, got;

born:
	{
	attach(s);
	do
	:: seq < REQUESTS ->
		seq++;
		blamed[s] = 0;
#ifdef SEQ_BEFORE_RECORD
		asked[s] = seq;
		request[s] = payload(s, seq);
#else
		request[s] = payload(s, seq);
		asked[s] = seq;
#endif
		assert(submit[s] != seq % 2);
		submit[s] = seq % 2;
		await(s)
	:: else -> break
	od
	} unless {
		s == 0 && dies
	};
	if
	:: s == 0 && dies -> d_step { seq = 0; got = 0; waiting[0] = 0; dies = 0 }; goto born
	:: else
	fi
}

/* The client's waiter: finds replies by the done bits. */
#ifdef DONE_BIT_IS_TRUTH
#define finished(s) (waiting[s] && done[s] == asked[s] % 2)
#else
#define finished(s) (waiting[s] && done[s] == asked[s] % 2 && answered[s] == asked[s])
#endif

proctype Waiter() {
end:
	do
	:: atomic { finished(0) -> waiting[0] = 0 } /* it dies with the owner, not between */
	:: finished(1) -> waiting[1] = 0
	od
}

#define hinted(s) (submit[s] != parity[s] || replay[s])

inline take(s) {
	seq = asked[s];
	assert(seq == taken[s] + 1 && !inflight[s]);
	d_step {
		copy[s] = request[s];
		taken[s] = seq;
		inflight[s] = 1;
		hot = s;
		if
		:: replay[s] -> replay[s] = 0
		:: else -> attempts[s] = 0
		fi
	};
}

/* Taking flips the parity, by whatever path, and only taking does. */
#ifdef FLIP_ON_HINTS
#define flipOnHotTake(s)
#define flipOnHint(s) parity[s] = 1 - parity[s]
#else
#define flipOnHotTake(s) parity[s] = 1 - parity[s]
#define flipOnHint(s)
#endif

inline takeHinted(s) {
#ifdef FLIP_ON_HINTS
	flipOnHint(s);
	if
	:: asked[s] != taken[s] -> take(s)
	:: else
	fi
#else
	take(s);
	parity[s] = 1 - parity[s]
#endif
}

#ifdef FLIP_ON_HINTS
#define looksNew(s) hinted(s)
#else
#define looksNew(s) (hinted(s) && asked[s] != taken[s])
#endif

inline execute(s) {
	if
	:: attempts[s] >= POISON ->
		assert(blamed[s] >= POISON);
		copy[s] = FAILED;
		answer(s)
	:: else ->
		assert(blamed[s] < POISON);
		/* Begin */
		d_step {
			attemptSeq[s] = taken[s]; attemptCount[s] = attempts[s]; attemptOnCPU[s] = 1;
			onCPU = s
		};
		if
		:: kills(s, taken[s]) -> die = 1; false
		:: else
		fi;
		if
		:: effects[s] = taken[s]; answer(s)
		:: /* Park */
			d_step { attemptOnCPU[s] = 0; onCPU = NOBODY };
			effects[s] = taken[s];
			device[s] = 1
		fi
	fi
}

inline answer(s) {
#ifdef REPLY_SEQ_BEFORE_RECORD
	d_step { answered[s] = taken[s]; onCPU = NOBODY };
	reply[s] = copy[s];
#else
	reply[s] = copy[s];
	d_step { answered[s] = taken[s]; onCPU = (onCPU == s -> NOBODY : onCPU) };
#endif
	seq = taken[s];
	inflight[s] = 0;
	device[s] = 0;
	assert(done[s] != seq % 2);
	done[s] = seq % 2
}

inline recover(s) {
	taken[s] = answered[s];
#ifdef PARITY_FROM_BITS
	parity[s] = submit[s];
#else
#ifdef PARITY_FROM_REQUESTS
	parity[s] = asked[s] % 2;
#else
	parity[s] = taken[s] % 2;
#endif
#endif
	seq = asked[s];
#ifdef RESUME_AFTER_TAKEN
	taken[s] = seq;
	parity[s] = seq % 2;
#endif
	if
	:: seq != taken[s] ->
		d_step {
#ifndef NO_LOOK_AT_EVERY_SLOT
			replay[s] = 1;
#endif
			if
#ifdef ATTEMPTS_WITHOUT_SEQ
			:: true ->
#else
			:: attemptSeq[s] == seq ->
#endif
				attempts[s] = attemptCount[s];
#ifndef DEATH_NOT_COUNTED
				attempts[s] = attempts[s] + attemptOnCPU[s]
#endif
			:: else
			fi
		}
	:: else
	fi
}

proctype Server() {
	byte taken[SLOTS], copy[SLOTS], attempts[SLOTS];
	bit parity[SLOTS], inflight[SLOTS], replay[SLOTS], device[SLOTS];
	byte hot, seq;

born:
	{
		d_step {
			hot = 0; seq = 0;
			taken[0] = 0; copy[0] = 0; attempts[0] = 0; parity[0] = 0; inflight[0] = 0; replay[0] = 0; device[0] = 0;
			taken[1] = 0; copy[1] = 0; attempts[1] = 0; parity[1] = 0; inflight[1] = 0; replay[1] = 0; device[1] = 0
		};
		recover(0);
		recover(1);
#ifndef DONE_BITS_NOT_RESTORED
		done[0] = taken[0] % 2;
		done[1] = taken[1] % 2;
#endif
end:
		do
		:: asked[hot] != taken[hot] && !inflight[hot] ->
			if
			:: hot == 0 -> take(0); flipOnHotTake(0)
			:: hot == 1 -> take(1); flipOnHotTake(1)
			fi
		:: looksNew(0) -> takeHinted(0)
		:: looksNew(1) -> takeHinted(1)
		:: inflight[0] && !device[0] -> execute(0)
		:: inflight[1] && !device[1] -> execute(1)
		:: inflight[0] && device[0] -> answer(0)
		:: inflight[1] && device[1] -> answer(1)
		od
	} unless {
		die
	};
	d_step {
		if
		:: onCPU != NOBODY -> blamed[onCPU] = blamed[onCPU] + 1
		:: else
		fi;
		onCPU = NOBODY;
		die = 0
	};
	goto born
}

proctype Reaper() {
	byte deaths;

	do
	:: deaths < DEATHS -> deaths++; die = 1; !die
	:: break
	od
}

proctype ClientReaper() {
	byte deaths;

	do
	:: deaths < CLIENT_DEATHS ->
		deaths++;
		dies = 1;
end:
		!dies /* it may have finished */
	:: break
	od
}

init {
	atomic {
		run Owner(0);
		run Owner(1);
		run Waiter();
		run Server();
		run Reaper();
		run ClientReaper()
	}
}
