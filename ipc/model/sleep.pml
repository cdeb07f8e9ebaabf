/*
 * Sleeping and waking, both directions, with a server that dies at any step.
 *
 * The submitting threads of one client publish requests and ring the server if
 * it has announced sleep; the client's waiter sleeps on the bell on behalf of
 * all of them. The server answers, rings the client if it has announced sleep,
 * and sleeps itself when it finds nothing. Reaper kills it at any step; the
 * successor takes the epoch and the bell over, and rings once.
 *
 * Checked: no end state in which a request is unanswered or a reply unseen
 * (that would be a lost wake-up), and no infinite run at all: nothing spins.
 *
 * SPIN interleaves whole steps, so it sees no store buffers. What a missing
 * fence does is let the look overtake the publication before it, and that is
 * what the two *_FLAG_BEFORE_* mutations do; dropping a second look is the same
 * for the announcements.
 */
#ifndef THREADS
#define THREADS  1
#endif
#ifndef REQUESTS
#define REQUESTS 2   /* of each thread */
#endif
#ifndef DEATHS
#define DEATHS   1
#endif

#if THREADS > 1
#define second(x) x
#else
#define second(x) skip
#endif

/* client segment */
byte asked[THREADS];       /* last request published */
byte sleepWord;            /* bell value the client sleeps on, plus one; 0 awake */
/* server segment */
byte answered[THREADS];    /* last reply published */
byte epoch;                /* odd: the server sleeps on the doorbell */
byte bell;                 /* the futex the client sleeps on */
/* kernel */
bit doorbell;              /* edge of the eventfd, not yet reported */
bit parked;                /* a thread waits on the bell */
/* inside the client process */
byte rung;                 /* epoch for which the doorbell was rung */
byte seen[THREADS];        /* last reply handed to its thread */
/* fault */
bit die;

/* Ring once for each announced sleep: rung changes by compare-and-swap. */
inline ringIfAsleep() {
	d_step { e = epoch; mine = 0 };
	d_step { if :: e % 2 == 1 && rung != e -> rung = e; mine = 1 :: else fi };
	if
	:: mine -> doorbell = 1
	:: else
	fi
}

proctype Thread(byte t) {
	byte e;
	bit mine;

	do
	:: asked[t] < REQUESTS ->
#ifdef CLIENT_FLAG_BEFORE_PUBLISH
		d_step { e = epoch; if :: e % 2 == 1 && rung != e -> rung = e; mine = 1 :: else fi };
		asked[t]++;
		if
		:: mine -> doorbell = 1
		:: else
		fi;
#else
		asked[t]++;
		ringIfAsleep();
#endif
		d_step { e = 0; mine = 0 };
		seen[t] == asked[t]
	:: else -> break
	od
}

/* Look at the reply of one thread and hand it over. */
#define deliver(t) d_step { if :: answered[t] != seen[t] -> seen[t] = answered[t]; found = 1 :: else fi }

proctype Waiter() {
	byte b;
	bit found;

again:
	b = bell;
	sleepWord = b + 1;
#ifndef CLIENT_NO_SECOND_LOOK
	deliver(0);
	second(deliver(1));
#endif
	if
	:: found
	:: else ->
#ifdef WAIT_WITHOUT_COMPARING
		parked = 1;
#else
		d_step { if :: bell == b -> parked = 1 :: else fi };
#endif
end_asleep:
		!parked
	fi;
	d_step { sleepWord = 0; found = 0; b = 0 };
	deliver(0);
	second(deliver(1));
	found = 0;
	goto again
}

/* Answer thread t if it asked, and move the bell if the client sleeps on it. */
inline serve(t) {
	if
	:: asked[t] != answered[t] ->
#ifdef SERVER_FLAG_BEFORE_REPLY
		d_step { asleep = (sleepWord == b + 1); found = 1 };
		answered[t]++;
#else
		answered[t]++;
		d_step { asleep = (sleepWord == b + 1); found = 1 };
#endif
		if
#ifdef WAKE_BEFORE_BELL
		:: asleep -> parked = 0; d_step { b++; bell = b; asleep = 0 }
#else
		:: asleep -> d_step { b++; bell = b; ringing = 1; asleep = 0 }
#endif
		:: else
		fi
	:: else
	fi
}

inline wakeClient() {
	if
	:: d_step { ringing -> ringing = 0; parked = 0 }
	:: else
	fi
}

#define look(t) d_step { if :: asked[t] != answered[t] -> found = 1 :: else fi }

proctype Server() {
	byte b, e;
	bit ringing, found, asleep;

born:
	{
		/* Attach: nothing is left of the predecessor's private state, nor of an
		   edge that was reported to it. */
		d_step { ringing = 0; found = 0; asleep = 0; b = bell; doorbell = 0;
#ifdef EPOCH_RESTARTS
			e = 0
#else
			e = ((epoch + 1) / 2) * 2
#endif
		};
		epoch = e;
#ifndef NO_RING_ON_RECOVERY
		d_step { b++; bell = b; ringing = 1 };
#endif
turn:
		serve(0);
		second(serve(1));
		wakeClient();
		if
		:: found
		:: else ->
			d_step { e++; epoch = e };
#ifndef SERVER_NO_SECOND_LOOK
			look(0);
			second(look(1));
#endif
			if
			:: found
#ifdef SERVER_SPINS
			:: else
#else
			:: else ->
end_blocked:
				d_step { doorbell -> doorbell = 0 }
#endif
			fi;
			d_step { e++; epoch = e }
		fi;
		found = 0;
		goto turn
	} unless {
		die
	};
	die = 0;
	goto born
}

proctype Reaper() {
	byte deaths;

	do
	:: deaths < DEATHS -> deaths++; die = 1; !die
	:: break
	od
}

init {
	atomic {
		run Thread(0);
		second(run Thread(1));
		run Waiter();
		run Server();
		run Reaper()
	}
}
