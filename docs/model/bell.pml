/* How senders and receivers of a channel sleep and wake: libpool/channel.zig, waitFor, arm, ring, leave, passOn. One who sends, two
 * who receive, room for one message or two, deaths at every step. Publishing and taking are one step each, as channel.pml shows
 * them to be; what is shown is that nobody sleeps for ever while there is something for him to do. With ENTRIES, who receives
 * acknowledges, or gives back, and waits for one of so many entries, too. README.md.
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

#define RECEIVERS 0 /* sides, and their bells: who receives waits for messages, */
#define SENDERS 1   /* who sends for room; */
#define ENTRY 2     /* and a bell for who receives, and finds all entries taken */
#define SIDE(who) ((who) <= 2)
#ifndef MOD
#define MOD 8 /* what a bell counts */
#endif
#ifndef GIFTS
#define GIFTS 0 /* how often a message is given back */
#endif

byte sent, head;
byte bell[3] = 1;
bit waiting[5];
bit asleep[5];
byte on[5]; /* which bell */
bit dead[5];
byte deaths;

#ifdef ENTRIES
byte taken;    /* entries of messages that are not acknowledged; */
byte returned; /* of those, given back */
byte gifts;
bit holds[5];
bit gone; /* one of them has had enough */
#define HAS_ENTRY (taken < ENTRIES || returned > 0)
#define FINDS (returned > 0 || (sent != head && taken < ENTRIES))
#define LEFT_BY_DEAD ((dead[3] && holds[3]) || (dead[4] && holds[4]))
#define THERE (returned > 0 || sent != head)
#else
#define HAS_ENTRY true
#define FINDS (sent != head)
#define LEFT_BY_DEAD false
#define THERE (sent != head)
#endif

#define READY(side) ((side) == RECEIVERS && FINDS || (side) == SENDERS && sent - head < CAPACITY)
#ifdef ONE_BELL
#define BELL_OF(side) (side)
#else
#define BELL_OF(side) ((side) == RECEIVERS && !HAS_ENTRY -> ENTRY : (side))
#endif
#define ODD(b) ((b) % 2 == 1)
#define FIRST_OF(side) ((side) == SENDERS -> 1 : 3)
#define OTHERS_WAIT(side) (waiting[FIRST_OF(side)] || waiting[FIRST_OF(side) + 1])

/* A slice can end at any time; what matters is that it ends, when there is something to do. */
#ifdef NO_SLICE
#define SLICE_OVER false
#else
#define SLICE_OVER (READY(SIDE(me)) || SIDE(me) == RECEIVERS && LEFT_BY_DEAD)
#endif

inline arm(which)
{
    atomic { if :: ODD(bell[which]) -> bell[which] = (bell[which] + 1) % MOD :: else fi; armed = bell[which] }
}

/* Whoever is woken, if somebody is: the kernel's choice is not ours. */
inline wake_one(which)
{
    atomic {
        if
        :: asleep[FIRST_OF(which)] && on[FIRST_OF(which)] == which -> asleep[FIRST_OF(which)] = false
        :: asleep[FIRST_OF(which) + 1] && on[FIRST_OF(which) + 1] == which -> asleep[FIRST_OF(which) + 1] = false
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

inline leave(side, which)
{
    waiting[me] = false;
    if :: OTHERS_WAIT(side) -> arm(which) :: else fi;
    armed = 0
}

inline wait(side)
{
    if
    :: READY(side)
    :: else ->
        waiting[me] = true;
        which = BELL_OF(side);
#ifdef LOOK_FIRST
        if
        :: READY(side) || which != BELL_OF(side)
        :: else ->
            arm(which);
#else
        arm(which);
        if
        :: READY(side)
#ifndef NO_SECOND_CHOICE
        :: !READY(side) && which != BELL_OF(side)
#endif
        :: else ->
#endif
            atomic { if :: bell[which] == armed -> asleep[me] = true; on[me] = which :: else fi };
end_asleep: atomic { !asleep[me] || SLICE_OVER -> asleep[me] = false }
        fi;
        leave(side, which);
        which = 0
    fi
}

/* Who has waited, and does not use all that is there, wakes the next. */
inline pass_on(side)
{
    if
    :: waited && (side == SENDERS -> READY(SENDERS) : THERE) -> ring(side)
    :: else
    fi;
#ifdef ENTRIES
    if
    :: side == RECEIVERS && waited && HAS_ENTRY -> ring(ENTRY)
    :: else
    fi;
#endif
    waited = false
}

proctype Sender(byte me)
{
    byte armed, was, which, left = EACH;
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

inline take()
{
    atomic {
        done = FINDS || LEFT_BY_DEAD;
        if
#ifdef ENTRIES
        :: LEFT_BY_DEAD ->
            if :: dead[3] && holds[3] -> holds[3] = false :: else -> holds[4] = false fi;
            holds[me] = true
        :: !LEFT_BY_DEAD && returned > 0 -> returned--; holds[me] = true
        :: !LEFT_BY_DEAD && returned == 0 && done -> head++; taken++; holds[me] = true
#else
        :: done -> head++
#endif
        :: else
        fi
    }
}

#ifdef ENTRIES
inline acknowledge()
{
    if
    :: atomic { taken--; holds[me] = false }
    :: atomic { gifts < GIFTS -> gifts++; returned++; holds[me] = false }; ring(RECEIVERS)
    fi;
    ring(ENTRY)
}
#endif

/* Takes what comes, for ever; where it acknowledges, one may stop. */
proctype Receiver(byte me)
{
    byte armed, was, which;
    bool rings, done, waited;
    {
end:    do
        :: true ->
            take();
            if
            :: done ->
                ring(SENDERS);
                pass_on(RECEIVERS);
#ifdef ENTRIES
                acknowledge();
                if
                :: atomic { !gone -> gone = true }; break
                :: true
                fi
#endif
            :: !done ->
#ifdef ENTRIES
                pass_on(RECEIVERS);
#endif
                wait(RECEIVERS);
                waited = true
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
    assert(!(asleep[3] || asleep[4]) || !(READY(RECEIVERS) || LEFT_BY_DEAD))
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
