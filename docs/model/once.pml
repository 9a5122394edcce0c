/* Who makes an array that all ask for once: libpool/naming.zig (beginOnce, endOnce, setName, deleteName), libpool/names.zig.
 *
 * One name; members that come into slots, ask for it once, and leave; deaths at any moment; others who set the name, or
 * delete it. Under the lock a step is one: each of them becomes true with one store, and lock.pml shows that the lock
 * excludes. Judging and waiting are outside of it. README.md says what is left out.
 */

#ifndef LIVES
#define LIVES 3
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef CHANGES
#define CHANGES 0 /* how often the name is set or deleted by the way */
#endif

#define VACANT 0
#define MAKING 1
#define SET 2

byte state;                   /* the name's record */
byte maker_slot, maker_inc;
byte made;                    /* what waiters sleep on */
byte owner[SLOTS];            /* whose the slot's byte is, perhaps a dead one's; 0: nobody's */
byte inc[SLOTS];              /* the slot's word */
bit joined[SLOTS];
bit dead[LIVES + 1];
bit asleep[LIVES + 1];
byte deaths;
byte changes;
byte making;                  /* ghost: who makes it, as far as the others must know */

#define LIVES_IN(s) (owner[s] != 0 && !dead[owner[s]])
#define HAS_LEFT (!joined[maker_slot] || inc[maker_slot] != maker_inc)
#define IS_MINE (maker_slot == slot && maker_inc == mine)

#ifdef JUDGE_UNSURE
#define JUDGED_DEAD true
#else
#define JUDGED_DEAD (!LIVES_IN(seen_slot) || inc[seen_slot] != seen_inc)
#endif
/* Of a dead one it may not be known yet; but not for ever. */
#ifdef SURE
#define JUDGED_ALIVE (!JUDGED_DEAD)
#else
#define JUDGED_ALIVE true
#endif
#ifdef TAKE_BY_SLOT
#define IS_JUDGED (judged && maker_slot == seen_slot)
#else
#define IS_JUDGED (judged && maker_slot == seen_slot && maker_inc == seen_inc)
#endif
#ifdef NO_TAKEOVER
#define MAY_TAKE false
#else
#define MAY_TAKE (HAS_LEFT || IS_JUDGED)
#endif
#ifdef NO_NAP
#define NAP_OVER false
#else
#define NAP_OVER true /* at any time */
#endif

/* Nobody who lives is robbed of what it makes. */
inline begin_making()
{
    assert(making == 0 || dead[making]);
    state = MAKING; maker_slot = slot; maker_inc = mine; making = me
}

inline wake_all()
{
    atomic { asleep[1] = false; asleep[2] = false;
#if LIVES > 2
        asleep[3] = false
#endif
    }
}

/* What a slot's last owner was making ends before the slot has a member again. */
inline join()
{
    atomic {
        if
        :: !LIVES_IN(0) -> slot = 0
#if SLOTS > 1
        :: !LIVES_IN(1) -> slot = 1
#endif
        fi;
        owner[slot] = me; inc[slot]++; mine = inc[slot]; joined[slot] = false
    };
    atomic { if :: state == MAKING && maker_slot == slot -> state = VACANT; made++ :: else fi };
    joined[slot] = true
}

inline leave()
{
    atomic { joined[slot] = false };
    owner[slot] = 0
}

inline end_making()
{
    atomic {
#ifdef END_NOT_COMPARED
        if :: state == MAKING ->
#else
        if :: state == MAKING && IS_MINE ->
#endif
            assert(making == me);
            if :: state = SET :: state = VACANT /* make() threw */ fi;
            made++; making = 0; over = true
        :: else -> over = false; if :: making == me -> making = 0 :: else fi
        fi
    };
    if :: over -> wake_all() :: else fi
}

inline once()
{
    judged = false;
    do
    :: atomic {
        if
        :: state == SET -> made_it = false; goto got_it
        :: state == VACANT -> begin_making(); made_it = true
        :: state == MAKING && IS_MINE -> assert(false) /* nobody else has my slot and incarnation */
        :: state == MAKING && !IS_MINE && MAY_TAKE -> begin_making(); made_it = true
        :: state == MAKING && !IS_MINE && !MAY_TAKE -> seen_slot = maker_slot; seen_inc = maker_inc; expected = made; made_it = false
        fi };
        if
        :: made_it -> skip; /* make() */ end_making(); if :: over -> goto got_it :: else fi
        :: !made_it ->
            if
            :: atomic { JUDGED_DEAD -> judged = true }
            :: JUDGED_ALIVE -> judged = false;
                atomic { if :: made == expected -> asleep[me] = true :: else fi };
                atomic { !asleep[me] || NAP_OVER -> asleep[me] = false }
            fi
        fi
    od
}

/* Somebody sets the name, or deletes it. */
inline change()
{
    atomic {
        changes < CHANGES -> changes++;
        if
        :: over = (state == MAKING); state = SET; if :: over -> made++; making = 0 :: else fi
        :: state == SET -> over = false; state = VACANT
        fi
    };
    if :: over -> wake_all() :: else fi
}

proctype Life(byte me)
{
    byte slot, mine, seen_slot, seen_inc, expected;
    bool judged, made_it, over;
    {
        join();
        do
        :: change()
        :: break
        od;
        if
        :: once();
got_it:
progress:   skip
        :: skip
        fi;
        leave()
    } unless { dead[me] -> atomic { asleep[me] = false } }
}

#define KILL(victim) atomic { deaths < DEATHS && !dead[victim] -> dead[victim] = true; deaths++ }
proctype Killer()
{
end:
    do
    :: KILL(1)
    :: KILL(2)
#if LIVES > 2
    :: KILL(3)
#endif
    od
}

init
{
    atomic {
        run Life(1);
        run Life(2);
#if LIVES > 2
        run Life(3);
#endif
        run Killer()
    }
}
