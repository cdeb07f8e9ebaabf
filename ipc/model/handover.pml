/*
 * The callers of one client process: who leads, who parks, and how the lead is
 * passed on (ipc/waiter.go, ipc/queue.go).
 *
 * There are two callers of one session, or one of each of two sessions (APART),
 * or two of the one and one of the other (THREE). The sessions share one waiter.
 * Each caller waits for one thing. Whoever finds the lead free looks for
 * all, perhaps spinning, then blocked on the bells of the sessions in which
 * somebody waits, and on the kick word. The others park: they set their waiting
 * bit, look once more, and take a token from whoever clears it.
 *
 * What comes besides replies is chosen by a symbol:
 *
 *   CANCEL  caller 0 is never answered; its context ends
 *   CLOSE   session 0 is closed by the client, and never answers
 *   END     session 0 is ended by its server, and never answers
 *   QUEUE   caller 0 waits for a slot, which caller 1 offers when it comes back
 *   PATIENT caller 0 is answered when caller 1 has come back (with APART)
 *   SPIN    leaders look for a while before they sleep
 *
 * Checked: all callers come back. So nobody is parked with a reply there and
 * nobody to look, nor while the lead is free, nor blocked in the kernel for
 * ever. A token goes to somebody whose hand is empty. At the end no token is
 * left, the counts of parked callers are zero and nothing is watched. Searched for cycles as well:
 * callers do not wake one another for ever.
 */
#define SESSIONS    2
#ifdef THREE
#define CALLERS     3
#define sessionOf(i) ((i) / 2)
#define third(x)    x
#else
#define CALLERS     2
#define third(x)    skip
#ifdef APART
#define sessionOf(i) (i)
#else
#define sessionOf(i) 0
#endif
#endif

#ifdef CANCEL
#define answers(i) ((i) != 0)
#else
#if defined(CLOSE) || defined(END)
#define answers(i) (sessionOf(i) != 0)
#else
#ifdef QUEUE
#define answers(i) ((i) != 0)
#else
#define answers(i) true
#endif
#endif
#endif

/* server segments */
bit ready[CALLERS];        /* the reply is there */
bit ended[SESSIONS];
byte bell[SESSIONS];       /* futexes */
/* client segments */
byte sleepWord[SESSIONS];  /* bell value slept on, plus one; 0 awake */
/* inside the client process */
bit leader;
bit kicked;                /* the kick word has moved since the leader read it */
bit spins;
byte parkedAll;
byte parkedIn[SESSIONS];
bit watched[SESSIONS];
bit waits[CALLERS];
byte token[CALLERS];
bit closed[SESSIONS];
bit member[SESSIONS] = 1;
bit canceled[CALLERS];
bit wakesOnCancel[CALLERS];
/* kernel: the leader is blocked, on these bells and on the kick word */
bit blocked;
bit on[SESSIONS];
byte expected[SESSIONS];   /* of the leader: bell values read */
/* outside */
bit back;                  /* caller 1 has come back */

#ifdef APART
#define inFirst(x)  skip
#define inSecond(f) f(1)
#else
#define inFirst(x)  x
#ifdef THREE
#define inSecond(f) f(2)
#else
#define inSecond(f) skip
#endif
#endif

#define gone(s) (closed[s] || ended[s])

inline rouse() {
	kicked = 1;
	blocked = 0
}

/* Clear the waiting bit of j, which is set, and send the token that is owed
   then. One step: what lies between the two is seen by nobody but j, who would
   only wait for the token. */
#define wake(j) waits[j] = 0; parkedIn[sessionOf(j)]--; parkedAll--; assert(token[j] == 0); token[j]++; woken = 1

#define wakeIfReady(j) d_step { if :: waits[j] && ready[j] -> wake(j) :: else fi }
#define wakeIfWaiting(j) d_step { if :: waits[j] -> wake(j) :: else fi }

/* Wake all whose wait is over. */
inline dispatch() {
	woken = 0;
	if
	:: parkedAll == 0
	:: else ->
		if
		:: !member[0] || parkedIn[0] == 0
		:: else ->
			if
			:: gone(0) -> wakeIfWaiting(0); inFirst(wakeIfWaiting(1)); woken = 1
			:: else -> wakeIfReady(0); inFirst(wakeIfReady(1))
			fi
		fi;
		if
		:: !member[1] || parkedIn[1] == 0
		:: else -> inSecond(wakeIfReady)
		fi
	fi
}

/* Make a parked caller look after the lead if nobody holds it. */
inline promote() {
#ifndef NO_PROMOTE
	woken = 0;
	if
	:: parkedAll == 0 || leader
	:: else ->
		if
		:: member[0] && parkedIn[0] > 0 ->
			wakeIfWaiting(0);
			if
			:: !woken -> inFirst(wakeIfWaiting(1))
			:: else
			fi
		:: else
		fi;
		if
		:: !woken && member[1] && parkedIn[1] > 0 -> inSecond(wakeIfWaiting)
		:: else
		fi
	fi;
	woken = 0
#else
	skip
#endif
}

/* Announce sleep on the bell of a session, unless nobody waits there. */
inline watch(t) {
	if
	:: !member[t] || t != s && parkedIn[t] == 0
	:: else ->
		watched[t] = 1;
		expected[t] = bell[t];
		d_step { sleepWord[t] = expected[t] + 1; on[t] = 1 }
	fi
}

inline unwatch(t) {
	if
	:: on[t] ->
		d_step { sleepWord[t] = 0; expected[t] = 0 };
#ifdef WATCHED_NOT_CLEARED
		on[t] = 0
#else
		d_step { watched[t] = 0; on[t] = 0 }
#endif
	:: else
	fi
}

#define unmoved(t) (!on[t] || bell[t] == expected[t])

proctype Caller(byte i) {
	byte s;
	bit mine, woken, found, over;

	s = sessionOf(i);
again:
	atomic {
		if
		:: !leader -> leader = 1; goto lead
		:: else
		fi
	};
	/* park */
	d_step { parkedIn[s]++; parkedAll++ };
	waits[i] = 1;
	if
	:: ready[i] -> goto withdraw
	:: else
	fi;
	if
	:: gone(s) || canceled[i] -> goto withdraw
	:: else
	fi;
#ifndef LEADER_NOT_LOOKED_AT
	if
	:: !leader -> goto withdraw
	:: else
	fi;
#endif
#ifndef NO_ROUSE
	if
	:: watched[s]
	:: else ->
		if
		:: spins
		:: else -> rouse()
		fi
	fi;
#endif
	if
	:: token[i] > 0 -> token[i]--; goto looked
	:: canceled[i]
	fi;
withdraw:
	atomic { mine = waits[i]; waits[i] = 0 };
	if
	:: mine -> d_step { parkedIn[s]--; parkedAll--; mine = 0 }
	:: else ->
#ifndef UNPARK_WITHOUT_DRAINING
		token[i] > 0; token[i]--
#else
		skip
#endif
	fi;
looked:
	if
	:: ready[i] || gone(s) || canceled[i] -> promote(); goto done
	:: else -> goto again
	fi;

lead:
#ifdef SPIN
	spins = 1;
	if
	:: ready[i] -> found = 1
	:: else ->
		dispatch()
	fi;
#ifndef SPINS_LEFT_SET
	spins = 0;
#endif
#endif
	if
	:: found || ready[i] -> goto leave
	:: else
	fi;
	d_step { wakesOnCancel[i] = 1 };
sleep:
#ifndef KICK_READ_AFTER_LOOK
	kicked = 0;
#endif
#ifndef BELL_READ_AFTER_LOOK
	watch(0);
	watch(1);
#endif
	if
	:: ready[i] -> found = 1
	:: else ->
		if
		:: gone(s) || canceled[i] -> over = 1
		:: else ->
			dispatch();
			if
			:: woken
			:: else ->
#ifdef KICK_READ_AFTER_LOOK
				kicked = 0;
#endif
#ifdef BELL_READ_AFTER_LOOK
				watch(0);
				watch(1);
#endif
				d_step { if :: !kicked && unmoved(0) && unmoved(1) -> blocked = 1 :: else fi };
				!blocked
			fi
		fi
	fi;
	unwatch(0);
	unwatch(1);
	dispatch();
	woken = 0;
	if
	:: found || over || ready[i] -> skip
	:: else -> goto sleep
	fi;
leave:
	atomic { wakesOnCancel[i] = 0; found = 0; over = 0; leader = 0 };
	promote();
done:
#ifdef PATIENT
	back = back || i == 1;
#endif
#ifdef QUEUE
	/* Release the slot: somebody waits for it. */
	if
	:: i == 1 ->
		ready[0] = 1;
		woken = 0;
		wakeIfWaiting(0);
#ifndef ADMIT_WITHOUT_ROUSE
		if
		:: woken || spins
		:: else -> rouse()
		fi
#endif
	:: else
	fi
#else
	skip
#endif
}

inline ring(t) {
	bell[t]++;
	if
	:: on[t] -> blocked = 0
	:: else
	fi
}

inline answer(i) {
	ready[i] = 1;
	if
	:: sleepWord[t] == bell[t] + 1 -> ring(t)
	:: else
	fi
}

proctype Server(byte t) {
	bit said;

	do
	:: t == 0 && answers(0) && !ready[0] ->
#ifdef PATIENT
		back;
#endif
		answer(0)
	:: t == sessionOf(1) && answers(1) && !ready[1] -> answer(1)
#ifdef THREE
	:: t == 1 && answers(2) && !ready[2] -> answer(2)
#endif
#ifdef END
	:: t == 0 && !said ->
		said = 1;
		ended[0] = 1;
#ifndef END_WITHOUT_RING
		ring(0)
#endif
#endif
	:: else -> break
	od
}

#ifdef CANCEL
proctype Canceler() {
	bit rings;

	d_step { canceled[0] = 1; rings = wakesOnCancel[0] };
#ifndef CANCEL_WITHOUT_ROUSE
	if
	:: rings -> rouse()
	:: else
	fi
#endif
}
#endif

#ifdef CLOSE
proctype Closer() {
	bit woken;

	closed[0] = 1;
	member[0] = 0;
#ifndef LEAVE_WITHOUT_ROUSE
	rouse();
#endif
#ifndef LEAVE_WITHOUT_WAKING
	wakeIfWaiting(0);
	inFirst(wakeIfWaiting(1))
#endif
}
#endif

init {
	atomic {
		run Caller(0);
		run Caller(1);
		third(run Caller(2));
		run Server(0);
		run Server(1);
#ifdef CANCEL
		run Canceler();
#endif
#ifdef CLOSE
		run Closer();
#endif
	};
	_nr_pr == 1;
	assert(!leader && parkedAll == 0 && parkedIn[0] == 0 && parkedIn[1] == 0);
	assert(!waits[0] && !waits[1] && token[0] == 0 && token[1] == 0);
	third(assert(!waits[2] && token[2] == 0));
	/* A session is watched only by a leader. */
	assert(!watched[0] && !watched[1] && sleepWord[0] == 0 && sleepWord[1] == 0)
}
