/* Who holds what: libpool/allocating.zig, holding.zig (attach, release), pinning.zig (createClaim, dropClaim), reaping.zig, pool.zig
 * (joining and leaving), pins.zig, recovery.zig. One block with its generations, its holder bits, its claims and their count.
 *
 * The lock is as lock.pml proves it to be: one owner that lives, and whoever takes over from a dead one recovers. Everything
 * under it is as many steps as the code makes stores, and between any two the owner can be killed. README.md says what is
 * left out.
 */

#ifndef THREADS
#define THREADS 3
#endif
#define SLOTS 3
#ifndef LIVES
#define LIVES 4
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef GENERATIONS
#define GENERATIONS 2
#endif
#ifndef PINS
#define PINS 1 /* or 2 */
#endif
#ifndef CLAIMS
#define CLAIMS 2 /* made over the whole run */
#endif

#define VACANT  0
#define JOINING 1
#define JOINED  2
/* A life's number serves as its incarnation; a vacant slot's is 0. */
#define WORD(inc, state) ((inc) * 4 + (state))
#define INC(word)        ((word) / 4)
#define STATE(word)      ((word) % 4)

byte inside; /* the lock: the life that owns it */
byte words[SLOTS + 1];
byte bytes[SLOTS + 1];
byte lives;
byte deaths;
bit alive[LIVES + 2];
bit idle[THREADS];
byte done;

/* The block */
bit used;
byte generation;
byte holders; /* a bit for each slot */
byte pins;    /* derived: how many claims are on it */

/* The pins: a claim if attaches > 0 */
byte attaches[2];
byte serial[2];
byte of_generation[2];

/* The descriptor that is about; whoever likes attaches it, as often as he likes. */
byte sent_generation;
byte sent_pin;
byte sent_serial;
byte claims_made;

/* Ghosts: what is true, whatever the words say. */
byte holding[LIVES + 2]; /* the generation that a life holds; 0: none */

#define BIT (1 << slot)
#define DEAD(s) (bytes[s] == 0 || (STATE(words[s]) == JOINED && !alive[INC(words[s])]))
#define NOBODY_HOLDS(g) ((!alive[1] || holding[1] != (g)) && (!alive[2] || holding[2] != (g)) && (!alive[3] || holding[3] != (g)) \
    && (LIVES < 4 || !alive[LIVES] || holding[LIVES] != (g)))
#define CLAIMED(p) (attaches[p] > 0 && of_generation[p] == generation)

/* ------------------------------------------------------------ under the lock: one step is one store, and what was read for it */

inline free_block()
{
    /* What somebody who lives holds is never freed, and neither is what a claim holds. */
    assert(used && NOBODY_HOLDS(generation) && !CLAIMED(0) && !CLAIMED(1));
    used = false;
    holders = 0 /* a free block keeps its links there */
}

inline free_if_unheld()
{
    atomic {
        if
        :: used && pins == 0 && holders == 0 -> free_block()
        :: else
        fi
    }
}

/* pins.end, after its first store */
inline end_pin()
{
    atomic { assert(pins > 0); pins--; ending = false }
}

/* pins.takeOff */
inline take_off(p)
{
    attaches[p]--;
    if
    :: attaches[p] == 0 -> serial[p] = 0; of_generation[p] = 0; ending = true
    :: else
    fi
}

#ifdef ANY_SERIAL
#define FOUND(p) (attaches[p] > 0 && of_generation[p] == sent_generation)
#else
#define FOUND(p) (attaches[p] > 0 && serial[p] == sent_serial && of_generation[p] == sent_generation)
#endif

/* reaping.takeBack, of the slots in `gone` */
inline take_back(gone)
{
    if
    :: used && (holders & ~(gone)) == 0 && pins == 0 -> free_block()
    :: used && !((holders & ~(gone)) == 0 && pins == 0) ->
        assert(!((gone) & 1) || !alive[bytes[0]] || holding[bytes[0]] == 0);
        assert(!((gone) & 2) || !alive[bytes[1]] || holding[bytes[1]] == 0);
        assert(!((gone) & 4) || !alive[bytes[2]] || holding[bytes[2]] == 0);
        holders = holders & ~(gone)
    :: !used
    fi
}

/* recovery.recover: counts the claims anew, and frees what neither a member nor a claim holds */
inline recount(p)
{
    if
    :: attaches[p] > 0 && used && of_generation[p] == generation -> pins++
    :: attaches[p] = 0; serial[p] = 0; of_generation[p] = 0 /* over, or of what is no longer there */
    fi
}

inline recover()
{
#ifndef NO_RECOUNT
    pins = 0;
    atomic { recount(0) };
#if PINS > 1
    atomic { recount(1) };
#endif
#endif
    free_if_unheld()
}

inline acquire()
{
    if
    :: atomic { inside == 0 -> inside = life }
    :: atomic { inside != 0 && !alive[inside] -> inside = life };
        recover()
    fi
}

inline release_lock()
{
    atomic { assert(inside == life); inside = 0 }
}

/* ------------------------------------------------------------ what a member does under the lock */

inline use_claim()
{
    atomic {
        if
        :: FOUND(sent_pin) ->
            assert(serial[sent_pin] == sent_serial);       /* exactly that claim */
            assert((holders & BIT) && holding[life] != 0); /* used up only by one who holds already */
            take_off(sent_pin)
        :: else
        fi
    };
    if
    :: ending -> end_pin()
    :: else
    fi
}

#ifdef ANY_GENERATION
#define ATTACHABLE used
#else
#define ATTACHABLE (used && generation == sent_generation)
#endif
#ifdef FORGET_PINS
#define LAST_HOLDER ((holders & ~BIT) == 0)
#else
#define LAST_HOLDER (pins == 0 && (holders & ~BIT) == 0)
#endif

#ifdef REAP_ANYONE
#define STILL_DEAD (found != 0)
#else
#define STILL_DEAD (found != 0 && words[prey] == found)
#endif

/* Which descriptor is about: the last one that was made, or always the first. */
#ifdef FIRST_SENT
#define SENT_AGAIN (sent_serial == 0)
#else
#define SENT_AGAIN true
#endif

#define MAY (found == 0 && STATE(words[slot]) == JOINED)

inline operate()
{
    if
    /* allocating.publish */
    :: atomic { MAY && holding[life] == 0 && !used && generation < GENERATIONS -> holders = BIT };
        atomic { generation++; used = true; holding[life] = generation }

    /* holding.dropBitAny: the member's own count says that it holds no more as soon as it calls */
    :: atomic { MAY && holding[life] != 0 ->
            holding[life] = 0;
            if
            :: LAST_HOLDER -> free_block()
            :: else -> holders = holders & ~BIT
            fi
        }

    /* holding.attach; by one who holds the block already it takes no claim, and changes nothing */
    :: atomic { MAY && sent_generation != 0 && ATTACHABLE && holding[life] == 0 ->
            assert(!(holders & BIT)); /* nobody has a predecessor's bit */
            assert(sent_generation == generation); /* it is the very array that was sent */
#ifdef CLAIM_FIRST
        };
        use_claim();
        atomic {
#endif
            holders = holders | BIT; holding[life] = sent_generation
        };
#ifndef CLAIM_FIRST
        use_claim()
#endif

    /* pins.createClaim */
    :: atomic { MAY && holding[life] != 0 && claims_made < CLAIMS && (attaches[0] == 0 || PINS > 1 && attaches[1] == 0) ->
            assert((holders & BIT) && holding[life] == generation); /* what somebody who lives holds has its bit */
            claims_made++;
            pin = (attaches[0] == 0 -> 0 : 1);
            of_generation[pin] = generation; serial[pin] = claims_made;
            if :: attaches[pin] = 1 :: attaches[pin] = 2 fi;
            if
            :: SENT_AGAIN -> sent_pin = pin; sent_generation = generation; sent_serial = claims_made
            :: else
            fi;
            pin = 0
        };
        pins++

    /* pinning.dropClaim */
    :: atomic { MAY && sent_serial != 0 && FOUND(sent_pin) -> take_off(sent_pin) };
        if
        :: ending -> end_pin(); free_if_unheld()
        :: else
        fi

    /* reaping.expireClaims: whether a claim's time is over is anybody's guess, whenever somebody looks */
    :: atomic { MAY && attaches[0] > 0 -> attaches[0] = 1; take_off(0) }; end_pin(); free_if_unheld()
#if PINS > 1
    :: atomic { MAY && attaches[1] > 0 -> attaches[1] = 1; take_off(1) }; end_pin(); free_if_unheld()
#endif

    /* reaping.reapUnderLock, of one slot that was found dead */
    :: STILL_DEAD ->
#ifdef VACATE_FIRST
        vacate();
        atomic { take_back(1 << prey); found = 0; prey = 0 }
#else
        atomic { take_back(1 << prey) };
        vacate();
        atomic { found = 0; prey = 0 }
#endif
    :: atomic { found != 0 && !(STILL_DEAD) -> found = 0; prey = 0 }

    /* Pool.finishJoin */
#ifdef JOIN_WITHOUT_REAP
    :: atomic { STATE(words[slot]) == JOINING && found == 0 -> before = VACANT };
#else
    :: atomic { STATE(words[slot]) == JOINING && found == 0 -> if :: before != VACANT -> take_back(BIT) :: else fi };
#endif
        atomic { before = VACANT; words[slot] = WORD(life, JOINED) }

    /* Pool.giveUpHolds */
    :: atomic { MAY -> holding[life] = 0; take_back(BIT) };
        atomic { leaving = true; words[slot] = VACANT }
    fi
}

inline vacate()
{
    atomic { if :: words[prey] == found -> words[prey] = VACANT :: else fi }
}

inline find_dead()
{
    if
    :: atomic { slot != 0 && STATE(words[0]) != VACANT && DEAD(0) -> prey = 0; found = words[0] }
    :: atomic { slot != 1 && STATE(words[1]) != VACANT && DEAD(1) -> prey = 1; found = words[1] }
    :: atomic { slot != 2 && STATE(words[2]) != VACANT && DEAD(2) -> prey = 2; found = words[2] }
    fi
}

/* segment.enter, members.beginJoin */
inline begin_join()
{
    atomic {
        if
        :: bytes[0] == 0 -> slot = 0
        :: bytes[0] != 0 && bytes[1] == 0 -> slot = 1
        :: bytes[0] != 0 && bytes[1] != 0 && bytes[2] == 0 -> slot = 2
        fi;
        bytes[slot] = life
    };
    atomic {
        before = STATE(words[slot]);
        words[slot] = WORD(life, JOINING)
    }
}

proctype Thread(byte me)
{
    byte life, slot, before, prey, found, pin;
    bool leaving, ending;
    do
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
                operate();
                release_lock();
                if
                :: atomic { leaving -> alive[life] = false; bytes[slot] = 0 }
                :: else
                fi
            od
        } unless {
            !alive[life];
            atomic {
                if :: bytes[slot] == life -> bytes[slot] = 0 :: else fi;
                holding[life] = 0; idle[me] = true; life = 0; slot = 0; before = 0; prey = 0; found = 0;
                leaving = false; ending = false
            }
        }
    :: lives == LIVES -> break
    od;
    done++
}

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
    od
}

/* When all have left or died, one more joins, after all claims are over, reaps and leaves: then nothing is held. */
proctype Last()
{
    byte life = LIVES + 1, slot, before, prey, found, pin;
    bool leaving, ending;
    atomic { done == THREADS -> alive[life] = true };
    begin_join();
    do
    :: find_dead(); acquire(); operate(); release_lock()
    :: before != VACANT || STATE(words[slot]) == JOINING || attaches[0] > 0 || attaches[1] > 0 ->
        acquire();
        atomic {
            if
            :: attaches[0] > 0 -> attaches[0] = 1; take_off(0)
            :: attaches[0] == 0 && attaches[1] > 0 -> attaches[1] = 1; take_off(1)
            :: else -> if :: before != VACANT -> take_back(BIT) :: else fi; before = VACANT; words[slot] = WORD(life, JOINED)
            fi
        };
        if
        :: ending -> end_pin(); free_if_unheld()
        :: else
        fi;
        release_lock()
    :: STATE(words[1]) == VACANT && STATE(words[2]) == VACANT && STATE(words[slot]) == JOINED && attaches[0] == 0 && attaches[1] == 0 -> break
    od;
    acquire(); /* once more, for recovery */
    release_lock();
    assert(!used && pins == 0)
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
        run Killer();
        run Last()
    }
}
