/* How senders and receivers of a channel sleep and wake: libpool/channel.zig, waitFor, arm, ring, leave. One who sends, two who
 * receive, room for one message or two, deaths at every step. Publishing and taking are one step each, as channel.pml shows them to
 * be; what is shown is that nobody sleeps for ever while there is something for him to do. README.md.
 */

#ifndef CAPACITY
#define CAPACITY 1
#endif
#ifndef EACH
#define EACH 2 /* messages */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

#define RECEIVERS 0 /* sides: who receives waits for messages, */
#define SENDERS 1   /* who sends for room */
#define SIDE(who) ((who) <= 2)
#define MOD 8 /* what a bell counts */

byte sent, head;
byte bell[2] = 1;
bit waiting[5];
bit asleep[5];
bit dead[5];
byte deaths;

#define READY(side) ((side) == RECEIVERS && sent != head || (side) == SENDERS && sent - head < CAPACITY)
#define ODD(b) ((b) % 2 == 1)
#define FIRST_OF(side) ((side) == SENDERS -> 1 : 3)
#define OTHERS_WAIT(side) (waiting[FIRST_OF(side)] || waiting[FIRST_OF(side) + 1])

/* A slice can end at any time; what matters is that it ends, when there is something to do. */
#ifdef NO_SLICE
#define SLICE_OVER false
#else
#define SLICE_OVER READY(SIDE(me))
#endif

inline arm(side)
{
    atomic { if :: ODD(bell[side]) -> bell[side] = (bell[side] + 1) % MOD :: else fi; armed = bell[side] }
}

/* Whoever is woken, if somebody is: the kernel's choice is not ours. */
inline wake_one(side)
{
    atomic {
        if
        :: asleep[FIRST_OF(side)] -> asleep[FIRST_OF(side)] = false
        :: asleep[FIRST_OF(side) + 1] -> asleep[FIRST_OF(side) + 1] = false
        :: else
        fi
    }
}

inline ring(side)
{
#ifdef NO_RING
    skip
#else
    was = bell[side];
    if
    :: !ODD(was) ->
        atomic { rings = (bell[side] == was); if :: rings -> bell[side] = (was + 1) % MOD :: else fi };
        if :: rings -> wake_one(side) :: else fi
    :: else
    fi;
    atomic { was = 0; rings = false }
#endif
}

inline leave(side)
{
    waiting[me] = false;
    if :: OTHERS_WAIT(side) -> arm(side) :: else fi;
    armed = 0
}

inline wait(side)
{
    if
    :: READY(side)
    :: else ->
        waiting[me] = true;
#ifdef LOOK_FIRST
        if
        :: READY(side)
        :: else ->
            arm(side);
#else
        arm(side);
        if
        :: READY(side)
        :: else ->
#endif
            atomic { if :: bell[side] == armed -> asleep[me] = true :: else fi };
end_asleep: atomic { !asleep[me] || SLICE_OVER -> asleep[me] = false }
        fi;
        leave(side)
    fi
}

/* Who has waited, and does not use all that is there, wakes the next. */
inline pass_on(side)
{
    if
    :: waited && READY(side) -> ring(side)
    :: else
    fi;
    waited = false
}

proctype Sender(byte me)
{
    byte armed, was, left = EACH;
    bool rings, done, waited;
    {
        do
        :: left == 0 -> break
        :: else ->
            atomic { done = READY(SENDERS); if :: done -> sent++; left-- :: else fi };
            if
            :: done ->
                ring(RECEIVERS);
                pass_on(SENDERS)
            :: !done -> wait(SENDERS); waited = true
            fi
        od
    } unless { dead[me] -> asleep[me] = false }
}

/* Takes what comes, for ever. */
proctype Receiver(byte me)
{
    byte armed, was;
    bool rings, done, waited;
    {
end:    do
        :: true ->
            atomic { done = READY(RECEIVERS); if :: done -> head++ :: else fi };
            if
            :: done ->
                ring(SENDERS);
                pass_on(RECEIVERS)
            :: !done -> wait(RECEIVERS); waited = true
            fi
        od
    } unless { dead[me] -> asleep[me] = false }
}

#define KILL(victim) atomic { deaths < DEATHS && !dead[victim] -> dead[victim] = true; deaths++ }
proctype Killer()
{
end:
    do
    :: KILL(1)
    :: KILL(3)
    :: KILL(4)
    od
}

/* When nothing moves any more, whoever lives and sleeps has nothing to do. */
proctype Watcher()
{
    timeout;
    assert(!(asleep[1] || asleep[2]) || !READY(SENDERS));
    assert(!(asleep[3] || asleep[4]) || !READY(RECEIVERS))
}

init
{
    atomic {
        run Sender(1);
        run Receiver(3);
        run Receiver(4);
        run Killer();
        run Watcher()
    }
}
