/* Waiting and waking: libpool/lock.zig without slots and incarnations. The waiters' bit, the futex, naps, an unlock that is a
 * plain store when it sees no waiter, and deaths. What is shown: somebody who wants the lock gets it, also when a wake is
 * lost, because the waiter's bit was overwritten or its waker died. README.md.
 */

#ifndef THREADS
#define THREADS 3
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

#define WAITERS 8
#ifdef NO_NAP
#define NAP_OVER false
#else
#define NAP_OVER true /* at any time */
#endif

#ifdef NO_TAKEOVER
#define TAKEN_FOR_DEAD(owner) false
#else
#define TAKEN_FOR_DEAD(owner) dead[owner]
#endif

byte lock; /* 0, or its owner's number, with or without WAITERS */
byte inside;
byte deaths;
bit asleep[THREADS + 1];
bit dead[THREADS + 1];

inline got_it()
{
    assert(inside == 0 || dead[inside]);
    inside = me
}

#ifdef FORGET_OTHERS
#define MINE_WAITED_FOR me
#else
#define MINE_WAITED_FOR (me | WAITERS)
#endif

inline acquire()
{
    if
    :: atomic { lock == 0 -> lock = me; got_it(); got = true }
    :: lock != 0
    fi;
    do
    :: got -> break
    :: !got ->
        seen = lock;
        if
        :: seen == 0 ->
            /* Others may sleep whom only our unlock will wake: keep the bit. */
            atomic { if :: lock == 0 -> lock = MINE_WAITED_FOR; got_it(); got = true :: else fi }
        :: seen != 0 ->
            atomic {
                if
                :: seen & WAITERS
                :: !(seen & WAITERS) && lock == seen -> lock = seen | WAITERS; seen = lock
                :: else -> seen = 0
                fi
            };
            if
            :: seen == 0 /* it has changed: look again */
            :: seen != 0 ->
                atomic { if :: lock == seen -> asleep[me] = true :: else fi };
                atomic { !asleep[me] || NAP_OVER -> asleep[me] = false };
                seen = lock;
                if
                :: seen == 0 || !TAKEN_FOR_DEAD(seen & 7)
                :: seen != 0 && TAKEN_FOR_DEAD(seen & 7) ->
                    atomic { if :: lock == seen -> lock = me | WAITERS; got_it(); got = true :: else fi }
                fi
            fi
        fi
    od;
    atomic { got = false; seen = 0 }
}

inline unlock()
{
    atomic { assert(inside == me); inside = 0; lock = 0 }
}

inline release()
{
    if
#ifdef ALWAYS_EXCHANGE
    :: atomic { lock == me -> unlock() }
#else
    :: lock == me -> unlock() /* a look, then a plain store: a bit that was set in between is lost */
#endif
    :: atomic { lock != me -> unlock() };
#ifndef NO_WAKE
        /* wakeOne: nobody knows whom */
        if
        :: atomic { asleep[1] -> asleep[1] = false }
        :: atomic { asleep[2] -> asleep[2] = false }
#if THREADS > 2
        :: atomic { asleep[3] -> asleep[3] = false }
        :: !asleep[1] && !asleep[2] && !asleep[3]
#else
        :: !asleep[1] && !asleep[2]
#endif
        fi
#endif
    fi
}

proctype Thread(byte me)
{
    byte seen;
    bool got;
    {
        do
        :: true ->
            acquire();
progress:   skip;
            release()
        :: break
        od
    } unless { dead[me] -> asleep[me] = false }
}

#define KILL(victim) atomic { deaths < DEATHS && !dead[victim] -> dead[victim] = true; deaths++ }
proctype Killer()
{
end:
    do
    :: KILL(1)
    :: KILL(2)
#if THREADS > 2
    :: KILL(3)
#endif
    od
}

init
{
    atomic {
        run Thread(1);
        run Thread(2);
#if THREADS > 2
        run Thread(3);
#endif
        run Killer()
    }
}
