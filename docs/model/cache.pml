/* A member's cache: libpool/cache.zig, and what allocating.zig, holding.zig, pinning.zig (share) and reaping.zig do with it. One
 * block, which its holder lets go of and takes again without the lock, while others who run short take it away under the lock.
 *
 * A load and the store after it that does not compare are two steps; a compare-and-swap is one. The lock is as lock.pml
 * proves it to be. README.md says what is left out.
 */

#ifndef MEMBERS
#define MEMBERS 3
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef GENERATIONS
#define GENERATIONS 4 /* allocations over the whole run */
#endif

#define FREE   0
#define USED   1
#define CACHED 2
#define SHARED 4
/* The block's word: generation, whether it is shared, state. */
#define WORD(g, s)    ((g) * 8 + (s))
#define STATE(w)      ((w) % 4)
#define IS_SHARED(w)  ((w) % 8 >= SHARED)
#define GENERATION(w) ((w) / 8)

byte word;
byte holders; /* a bit for each member */
byte inside;  /* the lock: the member that owns it, and 1 more */
bit alive[MEMBERS];
bit reaped[MEMBERS];
byte deaths;
byte made;
byte sent; /* the generation that somebody was told of; a forged one is as good */

/* Private to each: what it holds (the generation, 0: nothing), whether the block is in its list, what its word was then. */
byte holding[MEMBERS];
bit listed[MEMBERS];
byte known[MEMBERS];

#define BIT (1 << me)
#define HOLDS(m, g) (alive[m] && holding[m] == (g))
#if MEMBERS > 2
#define NOBODY_HOLDS(g) (!HOLDS(0, g) && !HOLDS(1, g) && !HOLDS(2, g))
#else
#define NOBODY_HOLDS(g) (!HOLDS(0, g) && !HOLDS(1, g))
#endif

/* Memory is given to others only when nobody who lives holds it. */
inline free_block()
{
    assert(NOBODY_HOLDS(GENERATION(word)));
    word = WORD(GENERATION(word), FREE)
}

inline acquire()
{
    if
    :: atomic { inside == 0 -> inside = me + 1 }
    /* A takeover; recovery leaves what a member holds or caches, and lists what is free: no lists here. */
    :: atomic { inside != 0 && !alive[inside - 1] -> inside = me + 1 }
    fi
}
inline release_lock() { inside = 0 }

/* It is in use by this member, and by nobody else. */
inline took(g)
{
    assert(holders == BIT && NOBODY_HOLDS(g));
    holding[me] = g;
    known[me] = word
}

#ifdef SAME_GENERATION
#define NEXT(w) (GENERATION(w) == 0 -> 1 : GENERATION(w))
#else
#define NEXT(w) (GENERATION(w) + 1)
#endif
#ifdef TAKE_BY_STORE
#define TAKES (STATE(known[me]) == CACHED)
#else
#define TAKES (word == known[me])
#endif
#ifdef TAKE_AWAY_BY_STORE
#define TAKES_AWAY true
#else
#define TAKES_AWAY (word == seen)
#endif
#ifdef PRIVATE_THOUGH_SHARED
#define IS_PRIVATE true
#else
#define IS_PRIVATE (!IS_SHARED(known[me]))
#endif
#ifdef CACHE_THOUGH_HELD
#define IS_LAST true
#else
#define IS_LAST ((holders & ~BIT) == 0)
#endif
#ifdef ATTACH_UNSHARED
#define ATTACHABLE (STATE(word) == USED)
#else
#define ATTACHABLE (STATE(word) == USED && IS_SHARED(word))
#endif

inline take_back(gone)
{
    if
    :: STATE(word) != FREE && (holders & ~(gone)) == 0 -> free_block()
    :: STATE(word) != FREE && (holders & ~(gone)) != 0 -> holders = holders & ~(gone)
    :: else
    fi
}

proctype Member(byte me)
{
    byte seen;
    do
    /* allocating.publish */
    :: holding[me] == 0 && made < GENERATIONS ->
        acquire();
        if
        :: STATE(word) == FREE ->
            holders = BIT;
            atomic { listed[me] = false; made++; word = WORD(NEXT(word), USED); took(GENERATION(word)) }
        :: else
        fi;
        release_lock()

    /* Cache.take */
    :: holding[me] == 0 && listed[me] && made < GENERATIONS ->
        atomic {
            listed[me] = false;
            if
            :: TAKES -> made++; word = WORD(NEXT(word), USED); took(GENERATION(word))
            :: else
            fi
        }

    /* Cache.put: looks, then stores without comparing. Cache.keep does not look: the same, as long as the assertion holds */
    :: holding[me] != 0 && IS_PRIVATE ->
        seen = word;
        if
        :: seen == known[me] ->
            atomic { holding[me] = 0; word = WORD(GENERATION(seen), CACHED); known[me] = word };
            listed[me] = true
        :: else -> assert(false) /* what a member holds is as it wrote it */
        fi;
        seen = 0

    /* holding.dropBit: the last one to let go frees it, or keeps it in his cache */
    :: holding[me] != 0 && IS_SHARED(known[me]) ->
        acquire();
        atomic {
            holding[me] = 0;
            if
            :: (holders & ~BIT) == 0 -> free_block()
            :: IS_LAST -> word = WORD(GENERATION(word), CACHED); known[me] = word; listed[me] = true
            :: (holders & ~BIT) != 0 -> holders = holders & ~BIT
            fi
        };
        release_lock()

    /* pinning.share: without the lock */
    :: holding[me] != 0 && !IS_SHARED(known[me]) ->
        atomic {
            assert(word == known[me]);
            word = WORD(GENERATION(word), USED + SHARED);
            known[me] = word;
            sent = GENERATION(word)
        }

    /* holding.attach, by a descriptor that was sent, or forged */
    :: holding[me] == 0 ->
        acquire();
        if
        :: atomic { ATTACHABLE && (sent == GENERATION(word) || GENERATION(word) > 0) ->
                listed[me] = false; holders = holders | BIT; holding[me] = GENERATION(word); known[me] = word
            }
        :: else
        fi;
        release_lock()

    /* allocating.takeBackCached, by one who runs short; Cache.makeRoom is the owner's */
    :: holding[me] == 0 ->
        acquire();
        seen = word;
        if
        :: STATE(seen) == CACHED ->
            atomic {
                if
                :: TAKES_AWAY -> free_block()
                :: else
                fi
            }
        :: else
        fi;
        seen = 0;
        release_lock()

    /* reaping.reapUnderLock */
    :: deaths > 0 ->
        acquire();
        if
        :: atomic { !alive[0] && !reaped[0] -> reaped[0] = true; take_back(1) }
        :: atomic { !alive[1] && !reaped[1] -> reaped[1] = true; take_back(2) }
#if MEMBERS > 2
        :: atomic { !alive[2] && !reaped[2] -> reaped[2] = true; take_back(4) }
#endif
        :: else
        fi;
        release_lock()

    :: !alive[me] -> break
    :: made == GENERATIONS && holding[me] == 0 -> break
    od unless { !alive[me] }
}

proctype Killer()
{
end:
    do
    :: atomic { deaths < DEATHS && alive[0] -> alive[0] = false; deaths++ }
    :: atomic { deaths < DEATHS && alive[1] -> alive[1] = false; deaths++ }
    od
}

init
{
    atomic {
        alive[0] = true; alive[1] = true; run Member(0); run Member(1);
#if MEMBERS > 2
        alive[2] = true; run Member(2);
#endif
        run Killer()
    }
}
