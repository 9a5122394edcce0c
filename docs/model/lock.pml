/* The lock, its takeover, and slots that get new owners: libpool/lock.zig, members.zig, and what changes a slot's word
 * (pool.finishJoin, pool.giveUpHolds, reaping.reapUnderLock).
 *
 * A life is one member, from taking a slot's byte to its end. Threads live one life after another, in whatever slot is free.
 * Between any two steps (a load, a store, a compare-and-swap, a system call) any life can be killed. A judgement (isDead) is
 * one step, or with FINE each of its loads and calls is. README.md says what is left out, and why that is sound.
 */

#ifndef THREADS
#define THREADS 3
#endif
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef LIVES
#define LIVES 4 /* over all threads */
#endif
#ifndef DEATHS
#define DEATHS 2
#endif

#define VACANT  0
#define JOINING 1
#define JOINED  2

/* A member's word {incarnation, state}, and the lock's word {slot, incarnation}; 0: unlocked. The waiters' bit is the
 * business of wake.pml. */
#define WORD(inc, state) ((inc) * 4 + (state))
#define INC(word)        ((word) / 4)
#define STATE(word)      ((word) % 4)
#define LOCK(slot, inc)  (1 + (slot) + (inc) * SLOTS)
#define SLOT_OF(l)       (((l) - 1) % SLOTS)
#define INC_OF(l)        (((l) - 1) / SLOTS)

byte lock;         /* header.lock */
byte words[SLOTS]; /* member.word */
byte fields[SLOTS]; /* member.pid, tid and so on: whose they are */
byte bytes[SLOTS]; /* the kernel's lock on the slot's byte: which life has it */
byte lives;
byte deaths;
bit alive[LIVES + 1];
bit idle[THREADS];

/* Ghosts: what is true, whatever the words say. */
byte inside; /* the life in the critical section */
bit dirty;   /* the metadata is halfway through a change */
byte whose[SLOTS]; /* the life that the slot's word stands for */

/* ------------------------------------------------------------ who is dead */

/* members.isDead, of the one whose word was `word`: by the byte; else, if it counted as joined, by its thread, as far as
 * this judge can see it. When unsure, it lives. */
#ifdef JUDGE_JOINING
#define BY_THREAD(w) true
#else
#define BY_THREAD(w) (STATE(w) == JOINED)
#endif
#ifdef JUDGE_UNSURE
#define UNSURE true
#else
#define UNSURE false
#endif

#ifdef FINE
#define ONE_STEP
#else
#define ONE_STEP atomic
#endif

inline judge(s)
{
    atomic {
        if
        :: bytes[s] == 0 -> verdict = true
        :: bytes[s] != 0 && BY_THREAD(word) -> who = fields[s]
        :: bytes[s] != 0 -> verdict = UNSURE
        fi
    };
    if
    :: atomic { who != 0 -> verdict = (words[s] == word && !alive[who]); who = 0 }
    :: who == 0
    fi
}

/* ------------------------------------------------------------ the lock */

inline entered()
{
    assert(inside == 0 || !alive[inside]); /* nobody who lives is robbed, and nobody enters beside it */
    inside = life
}

/* acquireSlowly, once it has seen a word that is not unlocked: sleeps, and judges the owner. The futex is no step, since a nap
 * is limited, and can end at any time. */
inline wait_and_judge()
{
    atomic { seen == 0 && lock != 0 -> seen = lock };
    atomic {
        word = words[SLOT_OF(seen)];
        verdict = (INC(word) != INC_OF(seen)) /* its slot has a new owner already */
    };
    if
    :: !verdict && SLOT_OF(seen) != slot -> judge(SLOT_OF(seen))
    :: else
    fi;
    atomic {
        if
        :: verdict -> verdict = false
        :: else -> seen = 0
        fi;
        word = 0
    }
}

#ifdef ROB_BY_SLOT
#define TAKES_OVER (lock != 0 && SLOT_OF(lock) == SLOT_OF(seen))
#else
#define TAKES_OVER (lock == seen)
#endif

inline acquire()
{
    do
    :: atomic { seen == 0 && lock == 0 -> lock = mine; entered(); assert(!dirty); break }
    :: ONE_STEP { wait_and_judge() }
    :: atomic { seen != 0 && TAKES_OVER ->
            lock = mine; seen = 0; entered();
#ifdef NO_RECOVERY
            assert(!dirty)
#endif
        };
        dirty = true; /* recover(): one who dies halfway leaves it to the next */
        dirty = false;
        break
    :: atomic { seen != 0 && !TAKES_OVER -> seen = 0 }
    od
}

inline release()
{
    atomic { assert(inside == life && !dirty); inside = 0; lock = 0 }
}

/* ------------------------------------------------------------ lives */

/* segment.enter and members.beginJoin. Only the owner of a slot's byte raises its incarnation, so load and store are one. */
inline begin_join()
{
    atomic {
        if
        :: bytes[0] == 0 -> slot = 0
        :: bytes[0] != 0 && bytes[1] == 0 -> slot = 1
#if SLOTS > 2
        :: bytes[0] != 0 && bytes[1] != 0 && bytes[2] == 0 -> slot = 2
#endif
        fi;
        bytes[slot] = life
    };
    atomic {
#ifdef SAME_INCARNATION
        words[slot] = WORD((INC(words[slot]) == 0 -> 1 : INC(words[slot])), JOINING);
#else
        words[slot] = WORD(INC(words[slot]) + 1, JOINING);
#endif
        whose[slot] = life;
        mine = LOCK(slot, INC(words[slot]))
    };
    fields[slot] = life
}

/* members.findDead, of one slot */
inline find_dead()
{
    ONE_STEP {
        if
        :: atomic { slot != 0 && STATE(words[0]) != VACANT -> prey = 0; word = words[0] }
        :: atomic { slot != 1 && STATE(words[1]) != VACANT -> prey = 1; word = words[1] }
#if SLOTS > 2
        :: atomic { slot != 2 && STATE(words[2]) != VACANT -> prey = 2; word = words[2] }
#endif
        fi;
        judge(prey);
        atomic {
            if
            :: verdict -> found = word; verdict = false
            :: else -> prey = 0
            fi;
            word = 0
        }
    }
}

/* What is done under the lock, each its own way to the end of the section. */
inline critical_section()
{
    if
    :: atomic { STATE(words[slot]) == JOINING -> /* finishJoin: what a predecessor held is reaped; then */
            words[slot] = WORD(INC_OF(mine), JOINED) }
    :: STATE(words[slot]) != JOINING && found == 0 -> /* some change of the metadata */
            dirty = true;
            dirty = false
    /* reapUnderLock: takes back what it held, if its word is still the same; then, if it still is: */
#ifdef VACATE_BY_STORE
    :: found != 0 && words[prey] == found -> words[prey] = WORD(INC(found), VACANT)
#else
    :: atomic { found != 0 && words[prey] == found ->
            assert(!alive[whose[prey]]); /* nobody who lives is reaped */
            words[prey] = WORD(INC(found), VACANT) }
#endif
    :: found != 0 && words[prey] != found
    :: atomic { STATE(words[slot]) != JOINING && found == 0 -> /* giveUpHolds */
            words[slot] = WORD(INC_OF(mine), VACANT); leaving = true }
    fi;
    atomic { found = 0; prey = 0 }
}

proctype Thread(byte me)
{
    byte life, slot, mine, seen, word, who, found, prey;
    bool verdict, leaving;
    do
    /* Threads are alike: the first idle one goes on. */
    :: atomic {
            lives < LIVES && (me == 0 || !idle[0]) && (me < 2 || !idle[1]) ->
            idle[me] = false; lives++; life = lives; alive[life] = true
        };
        {
            begin_join();
            do
            :: if
                :: find_dead()
                :: true
                fi;
                acquire();
                critical_section();
                release();
                if
                :: atomic { leaving -> alive[life] = false; bytes[slot] = 0 } /* dropSlot */
                :: else
                fi
            od
        } unless {
            !alive[life];
            /* The kernel lets go of the byte, sooner or later after a death. */
            atomic {
                if :: bytes[slot] == life -> bytes[slot] = 0 :: else fi;
                idle[me] = true; life = 0; slot = 0; mine = 0; seen = 0; word = 0; who = 0; found = 0; prey = 0;
                verdict = false; leaving = false
            }
        }
    :: lives == LIVES -> break
    od
}

/* kill -9, at any time */
#define KILL(victim) atomic { deaths < DEATHS && alive[victim] -> alive[victim] = false; deaths++ }
proctype Killer()
{
end:
    do
    :: KILL(1)
    :: KILL(2)
#if LIVES > 2
    :: KILL(3)
#endif
#if LIVES > 3
    :: KILL(4)
#endif
#if LIVES > 4
    :: KILL(5)
#endif
    od
}

init
{
    atomic {
        idle[0] = true; idle[1] = true; idle[THREADS - 1] = true;
        run Thread(0);
        run Thread(1);
#if THREADS > 2
        run Thread(2);
#endif
        run Killer()
    }
}
