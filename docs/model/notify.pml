/* Wait and notify: libpool/waiting.zig, waiters.zig. Three who wait for a word (by a futex or a socket that their event loop watches, and
 * blocking), notifiers that change it, stores that others see late, and deaths at every step. What is shown: whoever
 * waits ends, if only one notifier lives, whatever the other one left behind; and with a notify of one, the dead do
 * not take the place of the living. With UNFENCED those who notify look at the count without a fence, and who begins to wait
 * has the kernel put a barrier into them. README.md.
 */

#ifndef DEATHS
#define DEATHS 1
#endif

#define BY_FUTEX 1
#define BY_SOCKET 2
#define BLOCKING 3
#define WAITERS 3
#define LAST (WAITERS + 2) /* the notifier that lives */

#define VACANT 0
#define WAITING 1
#define NOTIFIED 2

#define AWAKE 0
#define PARKED 1
#define CALLED 2

#ifdef ONE_EACH
#define COUNT 1
#else
#define COUNT WAITERS
#endif

#ifdef NO_SLICE
#define SLICE_OVER false
#else
#define SLICE_OVER (state[me] == NOTIFIED) /* at any time; what matters is that it ends when there is something to see */
#endif

byte word;                     /* 0: what is waited for to change */
byte lock;                     /* its owner */
byte state[WAITERS + 1];       /* of each waiter: the truth */
bool ready[WAITERS + 1];       /* derived */
byte counted;                  /* derived */
byte bell[WAITERS + 1];
bool asleep[WAITERS + 1];      /* in the kernel */
bool stale;                    /* there, too, on the doorbell of BY_FUTEX: a call of one who had it before, and came late */
bool letter[WAITERS + 1];      /* in the socket's queue */
bool dead[LAST + 1];
byte deaths;
bool stored[LAST + 1];         /* a store that nobody else sees yet: the word's, or the count's */

#ifdef NO_FENCE
#define fence() skip
#else
#define fence() !stored[me]
#endif
#ifdef UNFENCED
#define fence_of_notify() skip
#else
#define fence_of_notify() fence()
#endif

inline recount()
{
    d_step {
        counted = 0;
        w = 1;
        do
        :: w <= WAITERS ->
            ready[w] = (state[w] == NOTIFIED && w != BLOCKING);
            counted = counted + (state[w] == WAITING || ready[w]);
            w++
        :: else -> break
        od;
        w = 0
    }
}

/* Who is on its way to the futex does not sleep there any more. */
inline stop(who)
{
    atomic { if :: bell[who] == PARKED -> bell[who] = CALLED :: else fi }
}

/* All who sleep there. */
inline wake(who)
{
#ifdef WAKE_ONE
    atomic {
        if
        :: asleep[who] -> asleep[who] = false; answered = true
        :: stale -> stale = false; answered = true
        :: else
        fi
    }
#else
    atomic { answered = (asleep[who] || stale); asleep[who] = false; stale = false }
#endif
}

/* Asks the kernel to wake whoever is ready and not awake. */
inline call(who)
{
    answered = false;
    if
    :: ready[who] && bell[who] != AWAKE ->
        if
        :: who == BY_SOCKET -> atomic { if :: !dead[who] -> letter[who] = true; answered = true :: else fi }
        :: who == BY_FUTEX ->
#ifdef WAKE_FIRST
            wake(who);
            if
            :: answered
            :: !answered -> stop(who); wake(who)
            fi
#else
#ifndef NOT_CALLED
            stop(who);
#endif
            wake(who)
#endif
        fi
    :: else
    fi
}

inline call_ready()
{
#ifndef ONLY_MARKED
    call(BY_FUTEX);
    call(BY_SOCKET)
#else
    if :: marked[BY_FUTEX] -> call(BY_FUTEX) :: else fi;
    if :: marked[BY_SOCKET] -> call(BY_SOCKET) :: else fi
#endif
}

inline acquire()
{
    if
    :: atomic { lock == 0 -> lock = me }
    :: atomic { lock != 0 && dead[lock] -> lock = me; recount() };
        call_ready()
    fi
}

inline release()
{
    !stored[me]; /* what was stored before is seen before */
    lock = 0
}

/* In the list by now: what others stored before they looked at the count arrives, and the word is looked at once more. */
inline settle()
{
    if
    :: waits ->
#ifndef NO_BARRIER
        !stored[WAITERS + 1] && !stored[LAST];
#endif
        if
        :: word != 0 ->
            acquire();
            if
            :: state[me] == WAITING -> state[me] = VACANT; counted--; waits = false
            :: else /* notified */
            fi;
            release()
        :: word == 0
        fi
    :: !waits
    fi
}

/* Waits unless the word has changed; `waits` says so. */
inline begin()
{
    acquire();
#ifdef LOOK_FIRST
    waits = (word == 0);
    stored[me] = true;
    fence();
#else
    stored[me] = true;
    fence();
    waits = (word == 0);
#endif
    if
    :: waits -> state[me] = WAITING
    :: !waits -> !stored[me]; counted--
    fi;
    release();
#if defined(UNFENCED) && !defined(NO_SETTLE)
    settle()
#endif
}

proctype InEventLoop(byte me)
{
    bool waits;
    bool answered;
    byte w;
    bool marked[WAITERS + 1];
    {
        begin();
        do
        :: !waits -> break
        :: waits ->
            /* take() */
            if
            :: ready[me] -> acquire();
                if
                :: ready[me] -> ready[me] = false; counted--; state[me] = VACANT; waits = false
                :: else
                fi;
                release()
            :: else
            fi;
            if
            :: !waits
            :: waits ->
#ifdef PARK_WITHOUT_LOCK
                if :: !ready[me] -> bell[me] = PARKED :: else fi;
#else
                acquire();
                if :: !ready[me] -> bell[me] = PARKED :: else fi;
                release();
#endif
                if
                :: bell[me] != AWAKE && me == BY_FUTEX ->
                    atomic { if :: bell[me] == PARKED -> asleep[me] = true :: else fi };
                    !asleep[me]
                :: bell[me] != AWAKE && me == BY_SOCKET -> atomic { letter[me] -> letter[me] = false }
                :: else
                fi;
                bell[me] = AWAKE
            fi
        od
    } unless { dead[me] -> asleep[me] = false }
}

#ifdef STALE
proctype Stale()
{
end:
    atomic { if :: bell[BY_FUTEX] == PARKED -> stale = true :: bell[BY_FUTEX] != PARKED fi };
end_asleep:
    !stale
}
#endif

proctype Blocks(byte me)
{
    bool waits;
    bool answered;
    byte w;
    bool marked[WAITERS + 1];
    {
        begin();
        do
        :: !waits || state[me] == NOTIFIED -> break
        :: waits && state[me] == WAITING ->
            atomic { if :: state[me] == WAITING -> asleep[me] = true :: else fi };
            atomic { !asleep[me] || SLICE_OVER -> asleep[me] = false }
        od
    } unless { dead[me] -> asleep[me] = false }
}

inline mark(who)
{
    if
    :: left > 0 && state[who] == WAITING ->
        state[who] = NOTIFIED;
        marked[who] = true;
        left--;
        if
        :: who == BLOCKING -> counted--
        :: else -> ready[who] = true
        fi
    :: else
    fi
}

inline notify()
{
    stored[me] = true; /* the word */
    fence_of_notify();
    if
    :: counted == 0
    :: counted != 0 ->
        acquire();
        mark(BY_FUTEX);
        mark(BY_SOCKET);
        mark(BLOCKING);
        release();
        if
        :: marked[BLOCKING] -> asleep[BLOCKING] = false
        :: else
        fi;
        call_ready();
#ifndef BELIEVE_THE_DEAD
        /* Whoever was marked and is dead takes nobody's place: once more. */
        if
        :: COUNT == 1 && left == 0 && ((marked[BY_FUTEX] && dead[BY_FUTEX]) || (marked[BY_SOCKET] && dead[BY_SOCKET])) ->
            left = 1;
            acquire();
            mark(BY_FUTEX);
            mark(BY_SOCKET);
            mark(BLOCKING);
            release();
            if
            :: marked[BLOCKING] -> asleep[BLOCKING] = false
            :: else
            fi;
            call_ready()
        :: else
        fi
#endif
    fi
}

proctype Notifies(byte me)
{
    byte left = COUNT;
    byte w;
    bool answered;
    bool marked[WAITERS + 1];
    {
#ifdef ONE_EACH
        /* Two wait, and one of them is dead: so it is the other one who has to end. */
        dead[BY_FUTEX] && state[BY_SOCKET] == WAITING && lock == 0;
#endif
        notify()
    } unless { dead[me] }
}

/* Stores arrive. */
proctype Memory()
{
end:
    do
    :: atomic { stored[BY_FUTEX] -> stored[BY_FUTEX] = false; counted++ }
    :: atomic { stored[BY_SOCKET] -> stored[BY_SOCKET] = false; counted++ }
    :: atomic { stored[BLOCKING] -> stored[BLOCKING] = false; counted++ }
    :: atomic { stored[WAITERS + 1] -> stored[WAITERS + 1] = false; word = 1 }
    :: atomic { stored[LAST] -> stored[LAST] = false; word = 1 }
    od
}

#define KILL(victim) atomic { deaths < DEATHS && !dead[victim] -> dead[victim] = true; stored[victim] = false; deaths++ }
proctype Killer()
{
end:
    do
#ifdef ONE_EACH
    :: atomic { !dead[BY_FUTEX] && state[BY_FUTEX] == WAITING && lock == 0 -> dead[BY_FUTEX] = true; asleep[BY_FUTEX] = false }
#else
#ifdef WITH_FUTEX
    :: KILL(BY_FUTEX)
#endif
#ifdef WITH_SOCKET
    :: KILL(BY_SOCKET)
#endif
#ifdef WITH_BLOCKING
    :: KILL(BLOCKING)
#endif
    :: KILL(WAITERS + 1)
#endif
    od
}

init
{
    atomic {
#ifdef WITH_FUTEX
        run InEventLoop(BY_FUTEX);
#endif
#ifdef STALE
        run Stale();
#endif
#ifdef WITH_SOCKET
        run InEventLoop(BY_SOCKET);
#endif
#ifdef WITH_BLOCKING
        run Blocks(BLOCKING);
#endif
#ifndef ONE_EACH
        run Notifies(WAITERS + 1);
#endif
        run Notifies(LAST);
        run Memory();
        run Killer()
    }
}
