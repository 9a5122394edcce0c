/* Channels: libpool/queue.zig, libpool/channel.zig, and of pinning.zig pinAndCommit and unpin. Two who send, two who receive (with
 * an acknowledgement or without), one array that messages carry, deaths at every store, and one who comes last and finds
 * what all others have left. How they sleep and wake is in bell.pml.
 *
 * Each lock is as lock.pml shows it to be: one owner that lives, and whoever takes it over repairs first. README.md says what is
 * left out.
 */

#ifndef SLOTS
#define SLOTS 2 /* or 1: cells, and entries */
#endif
#ifndef CAPACITY
#define CAPACITY SLOTS
#endif
#ifndef FIRST
#define FIRST 2 /* messages that sender 1 sends, each with the array if ARRAYS */
#endif
#ifndef SECOND
#define SECOND 1 /* and sender 2, without */
#endif
#ifndef ACKS
#define ACKS 0 /* how many of the receivers acknowledge */
#endif
#ifndef RECEIVERS
#define RECEIVERS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef GIVES
#define GIVES 1 /* how often a message is given back */
#endif

#define LAST 5 /* members 1 and 2 send, 3 and 4 receive */
#define RETURNED 9
#define RING 8
#define NONE 7

/* The truth. A cell's word is its stamp and whether the message has an array. */
byte stamp[2];
bit with_array[2];
byte from[2], number[2];      /* what a message says: two stores, so that it can be half there */
byte head;
byte owner[2];                /* of an entry: 0, who took it, or RETURNED */
byte position[2];
bit e_with_array[2];
byte e_from[2], e_number[2];
bool closed;

/* Derived */
byte tail, head_seen, unacknowledged, returned;

/* The array */
bit used = 1;
byte holders;                 /* a bit for each member */
byte pins;                    /* derived */

byte send_lock, receive_lock, pool_lock;
bit dead[LAST + 1];
byte deaths, ended, gives;

/* Ghosts: what is true, whatever the words say. */
byte sent[FIRST + SECOND + 1];
byte taken_by[FIRST + SECOND + 1];
bit over[FIRST + SECOND + 1]; /* taken without an acknowledgement, or acknowledged */
byte last[3];                 /* of each sender: the last one that left the ring */
bit holding[LAST + 1];

#define CELL(p) ((p) % SLOTS)
#define ID(who, n) ((who) * 8 + (n))
#define THERE(p) (stamp[CELL(p)] == (p) + 1)
#define COUNTS(i) (owner[i] != 0 && position[i] < head)
#define BIT (1 << me)
#ifdef ARRAYS
#define CARRIES(who) ((who) == 1)
#else
#define CARRIES(who) false
#endif
#define ACKNOWLEDGES (me != LAST && me - 2 <= ACKS)

/* What really pins the array. */
#define QUEUED(i, h) (with_array[i] && stamp[i] > (h) && stamp[i] <= (h) + SLOTS)
#define IN_ENTRY(i, h) (owner[i] != 0 && position[i] < (h) && e_with_array[i])
#define NO_MESSAGE_HAS_IT (!QUEUED(0, head) && !QUEUED(1, head) && !IN_ENTRY(0, head) && !IN_ENTRY(1, head))
#define HOLDS(who) (!dead[who] && holding[who])
#define NOBODY_HOLDS_IT (!HOLDS(1) && !HOLDS(3) && !HOLDS(4) && !HOLDS(5))

/* ------------------------------------------------------------ the pool's lock, and what is done under it */

inline free_if_unheld()
{
    atomic {
        if
        :: used && pins == 0 && holders == 0 -> assert(NO_MESSAGE_HAS_IT && NOBODY_HOLDS_IT); used = false
        :: else
        fi
    }
}

/* Recovery counts what all messages pin; those without arrays come and go meanwhile. Then whoever is dead is reaped. */
inline reap()
{
    atomic {
        if :: dead[1] -> holders = holders & ~2 :: else fi;
        if :: dead[3] -> holders = holders & ~8 :: else fi;
        if :: dead[4] -> holders = holders & ~16 :: else fi
    };
    free_if_unheld()
}

inline count_cell(i) { atomic { if :: QUEUED(i, seen) -> pins++ :: else fi } }
inline count_entry(i) { atomic { if :: IN_ENTRY(i, seen) -> pins++ :: else fi } }

inline recover()
{
#ifndef NO_RECOUNT
    atomic { pins = 0; seen = head };
    count_cell(0);
    count_entry(0);
#if SLOTS > 1
    count_cell(1);
    count_entry(1);
#endif
    seen = 0;
#endif
    reap()
}

inline lock_pool()
{
    if
    :: atomic { pool_lock == 0 -> pool_lock = me }
    :: atomic { pool_lock != 0 && dead[pool_lock] -> pool_lock = me }; recover()
    fi
}

inline unlock_pool() { atomic { assert(pool_lock == me); pool_lock = 0 } }

inline unpin()
{
    atomic { assert(pins > 0); pins-- };
    free_if_unheld()
}

inline let_go()
{
    if
    :: holding[me] ->
        lock_pool();
        atomic {
            holding[me] = false;
            if
            :: pins == 0 && (holders & ~BIT) == 0 -> holders = 0; assert(used && NO_MESSAGE_HAS_IT && NOBODY_HOLDS_IT); used = false
            :: else -> holders = holders & ~BIT
            fi
        };
        unlock_pool()
    :: else
    fi
}

/* ------------------------------------------------------------ sending */

inline lock_senders()
{
    if
    :: atomic { send_lock == 0 -> send_lock = me }
#ifndef NO_TAKEOVER
    :: atomic { send_lock != 0 && dead[send_lock] -> send_lock = me };
#ifndef NO_REPAIR_OF_SENDERS
        atomic { do :: THERE(tail) -> tail++ :: else -> break od }
#endif
#endif
    fi
}

inline unlock_senders() { atomic { assert(send_lock == me); send_lock = 0 } }

inline write()
{
    from[CELL(tail)] = me;
    number[CELL(tail)] = sending
}

/* The store that sends it: nobody's message is overwritten, and none comes after the end. */
inline commit()
{
    atomic {
        assert(sent[tail] == 0 && !closed);
        assert(tail < head + CAPACITY);
        sent[tail] = ID(me, sending);
        with_array[CELL(tail)] = CARRIES(me);
        stamp[CELL(tail)] = tail + 1
    }
}

inline send()
{
    lock_senders();
    if
    :: closed -> stop = true
    :: !closed ->
        atomic { if :: tail >= head_seen + CAPACITY -> head_seen = head :: else fi; no_room = (tail >= head_seen + CAPACITY) };
        if
        :: no_room
        :: !no_room ->
#ifndef PUBLISH_FIRST
            write();
#endif
            if
            :: CARRIES(me) ->
#ifdef PIN_WITHOUT_LOCK
                commit();
                lock_pool();
                pins++;
#else
                lock_pool();
                commit();
                pins++;
#endif
                unlock_pool()
            :: else -> commit()
            fi;
#ifdef PUBLISH_FIRST
            write();
#endif
            atomic { tail++; sending++ }
        fi
    fi;
    unlock_senders()
}

proctype Sender(byte me)
{
    byte sending = 1, seen;
    bool no_room, stop;
    {
        do
        :: !stop && sending <= (me == 1 -> FIRST : SECOND) ->
            send();
            if
            :: atomic { no_room -> no_room = false };
                if
                :: tail < head + CAPACITY || closed
                :: stop = true /* its time is over */
                fi
            :: else
            fi
        :: else -> break
        od;
        let_go();
#ifdef CLOSES
        if
        :: me == 2 -> lock_senders(); closed = true; unlock_senders()
        :: else
        fi
#endif
    } unless { dead[me] };
    atomic { sending = 0; no_room = false; stop = false; seen = 0; ended++ }
}

/* ------------------------------------------------------------ receiving */

inline clear_entry(i)
{
    if
    :: atomic { owner[i] != 0 && !COUNTS(i) -> owner[i] = 0 }
    :: else
    fi
}

inline repair_receivers()
{
#ifdef NO_REPAIR_OF_RECEIVERS
    skip
#else
    clear_entry(0);
#if SLOTS > 1
    clear_entry(1);
#endif
    unacknowledged = COUNTS(0) + COUNTS(1);
    returned = (COUNTS(0) && owner[0] == RETURNED) + (COUNTS(1) && owner[1] == RETURNED)
#endif
}

inline lock_receivers()
{
    if
    :: atomic { receive_lock == 0 -> receive_lock = me }
    :: atomic { receive_lock != 0 && dead[receive_lock] -> receive_lock = me }; repair_receivers()
    fi
}

inline unlock_receivers() { atomic { assert(receive_lock == me); receive_lock = 0 } }

inline return_from_dead(i)
{
    if
    :: atomic { COUNTS(i) && owner[i] != RETURNED && dead[owner[i]] -> owner[i] = RETURNED };
        returned++
    :: me != LAST /* it was not long ago that somebody looked */
    :: else
    fi
}

inline choose()
{
    atomic {
        if
        :: returned != 0 && COUNTS(0) && owner[0] == RETURNED && !(COUNTS(1) && owner[1] == RETURNED && position[1] < position[0]) -> source = 0
        :: returned != 0 && COUNTS(1) && owner[1] == RETURNED && !(COUNTS(0) && owner[0] == RETURNED && position[0] < position[1]) -> source = 1
        :: else -> if :: THERE(head) -> source = RING :: else -> source = NONE fi
        fi;
        entry = NONE;
        if
        :: source == NONE
        :: source == RING ->
            p = head; array = with_array[CELL(p)];
            if
            :: ACKNOWLEDGES && unacknowledged < SLOTS && owner[0] == 0 -> entry = 0
            :: ACKNOWLEDGES && unacknowledged < SLOTS && owner[0] != 0 && SLOTS > 1 && owner[1] == 0 -> entry = 1
            :: ACKNOWLEDGES && (unacknowledged >= SLOTS || (owner[0] != 0 && (SLOTS == 1 || owner[1] != 0))) ->
                source = NONE; p = 0; array = 0;
#ifndef TELL_OF_THE_END
                all_wait = true
#endif
            :: !ACKNOWLEDGES
            fi
        :: source < 2 -> p = position[source]; array = e_with_array[source]; if :: ACKNOWLEDGES -> entry = source :: else fi
        fi
    }
}

/* It counts as soon as head is beyond the message. */
inline write_entry()
{
    atomic { e_from[entry] = from[CELL(p)]; e_number[entry] = number[CELL(p)]; e_with_array[entry] = array };
#ifdef OWNER_FIRST
    owner[entry] = me;
    position[entry] = p
#else
    position[entry] = p;
    owner[entry] = me
#endif
}

inline copy()
{
    if
    :: source == RING -> got_from = from[CELL(p)]; got_number = number[CELL(p)]
    :: else -> atomic { got_from = e_from[source]; got_number = e_number[source] }
    fi
}

/* Whose it is from now on: at most one's, unless that one is dead or gave it back. */
inline took()
{
    assert(sent[p] != 0 && !over[p] && (taken_by[p] == 0 || dead[taken_by[p]]));
    assert(source != RING || (taken_by[p] == 0 && sent[p] % 8 == last[sent[p] / 8] + 1));
    if :: source == RING -> last[sent[p] / 8]++ :: else fi;
    taken_by[p] = me;
    over[p] = !ACKNOWLEDGES
}

/* The store by which it is received, and the counts */
inline end_source()
{
    if
    :: source == RING ->
#ifdef COUNT_AFTER_HEAD
        atomic { took(); head = p + 1 };
        if :: entry != NONE -> unacknowledged++ :: else fi
#else
        if :: entry != NONE -> unacknowledged++ :: else fi;
        atomic { took(); head = p + 1 }
#endif
    :: else ->
        atomic { took(); owner[source] = (entry != NONE -> me : 0) };
        returned--;
        if :: entry == NONE -> unacknowledged-- :: else fi
    fi
}

inline hold()
{
    atomic { assert(used); holders = holders | BIT; holding[me] = true }
}

/* Without the lock, also to one who would have to take it over from the dead. */
#define LOOKS_WORTH_IT (THERE(head) || unacknowledged != 0)

inline receive()
{
    lock_receivers();
    if
    :: unacknowledged != returned -> return_from_dead(0);
#if SLOTS > 1
        return_from_dead(1)
#endif
    :: else
    fi;
    choose();
    if
    :: source == NONE
    :: source != NONE ->
        if :: entry != NONE && source == RING -> write_entry() :: else fi;
        if
        :: array ->
            lock_pool();
#ifndef HOLD_AFTER_UNPIN
            hold();
#endif
            copy();
            if :: entry == NONE -> unpin() :: else fi;
            end_source();
#ifdef HOLD_AFTER_UNPIN
            hold();
#endif
            unlock_pool()
        :: !array ->
#ifdef TAKE_BEFORE_COPY
            end_source();
            copy()
#else
            copy();
            end_source()
#endif
        fi;
        /* It is whole, and the very one that was sent there. */
        atomic { assert(ID(got_from, got_number) == sent[p]); got_from = 0; got_number = 0 }
    fi;
    unlock_receivers()
}

#ifdef ACK_ANYONES
#define IS_MINE (owner[entry] != 0 && owner[entry] != RETURNED && position[entry] == p && COUNTS(entry))
#else
#define IS_MINE (owner[entry] == me && position[entry] == p && COUNTS(entry))
#endif

inline acknowledge()
{
    lock_receivers();
    if
    :: !IS_MINE -> gone = true
    :: IS_MINE && gives < GIVES ->
        atomic { gives++; assert(taken_by[p] == me); taken_by[p] = 0; owner[entry] = RETURNED };
        returned++
    :: IS_MINE ->
        if
        :: e_with_array[entry] ->
            lock_pool();
            atomic { assert(taken_by[p] == me && !over[p]); over[p] = true; owner[entry] = 0 };
            unacknowledged--;
            unpin();
            unlock_pool()
        :: else ->
            atomic { assert(taken_by[p] == me && !over[p]); over[p] = true; owner[entry] = 0 };
            unacknowledged--
        fi
    fi;
    unlock_receivers()
}


proctype Receiver(byte me)
{
    byte source, entry, p, got_from, got_number, seen;
    bool array, gone, was_closed, all_wait;
    {
        do
        :: LOOKS_WORTH_IT || closed ->
            was_closed = closed;
            receive();
            if
            :: source == NONE && was_closed && !all_wait ->
                /* It is told that there is nothing more: so it is. */
                assert(!THERE(head));
                break
            :: source == NONE && (!was_closed || all_wait)
            :: source != NONE ->
                let_go();
                if
                :: entry != NONE ->
                    acknowledge();
                    /* Once more, though it is done: then it is nobody's, or another one's. */
                    if :: !gone && gives != 0 -> acknowledge() :: else fi
                :: else
                fi
            fi;
            atomic { source = 0; entry = 0; p = 0; array = false; gone = false; all_wait = false }
        :: break
        od
    } unless { dead[me] };
    atomic { source = 0; entry = 0; p = 0; array = false; gone = false; was_closed = false; all_wait = false; got_from = 0; got_number = 0; seen = 0; ended++ }
}

/* When all others have ended or died: takes what is left, lets go, and reaps. */
proctype Last(byte me)
{
    byte source, entry, p, got_from, got_number, seen, rounds;
    bool array, all_wait;
    ended == 2 + RECEIVERS;
    do
    :: rounds < FIRST + SECOND + 1 -> if :: LOOKS_WORTH_IT -> receive(); let_go() :: else -> source = NONE fi; rounds++
    :: else -> break
    od;
    lock_senders();
    unlock_senders();
    lock_pool();
    reap();
    unlock_pool();
    /* All that was sent was received, nothing is left, nothing is held. */
    assert(source == NONE && head == tail && owner[0] == 0 && owner[1] == 0 && unacknowledged == 0 && returned == 0);
    assert(head == FIRST + SECOND || sent[head] == 0);
    assert(head == 0 || over[head - 1]);
    assert(head < 2 || over[head - 2]);
    assert(head < 3 || over[head - 3]);
    assert(!used && pins == 0 && holders == 0)
}

#define KILL(victim) atomic { deaths < DEATHS && !dead[victim] -> dead[victim] = true; deaths++ }
proctype Killer()
{
end:
    do
    :: KILL(1)
    :: KILL(2)
    :: KILL(3)
#if RECEIVERS > 1
    :: KILL(4)
#endif
    od
}

init
{
    atomic {
        holding[1] = true;
        holders = 2;
        run Sender(1);
        run Sender(2);
        run Receiver(3);
#if RECEIVERS > 1
        run Receiver(4);
#endif
        run Last(LAST);
        run Killer()
    }
}
