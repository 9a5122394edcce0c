/* What messages pin: libpool/queue.zig (Records, messages, counts), of channel.zig publish, takeAny, writeEntry and acknowledge, of
 * pinning.zig pinAndCommit and unpin, of recovery.zig recountMessages and brokenChannels. One who sends, those who receive, with an
 * acknowledgement or without, and one who checks the counts, takes over from the dead, and comes last.
 *
 * Each message names none, one or both of two arrays, by records that stand in its cell. Every word of a cell and of an entry
 * is read and written in a step of its own, and a cell is written over as soon as its message was received: by one who does not
 * have the pool's lock. Locks are as lock.pml shows them to be; order, repair and closing are in channel.pml.
 */

#ifndef SLOTS
#define SLOTS 1 /* or 2: cells, and entries */
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifndef RECEIVERS
#define RECEIVERS 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef CHECKS
#define CHECKS 1 /* how often somebody checks meanwhile */
#endif

#define SENDER 1
#define CHECKER 2
#define RECEIVER 3 /* and 4 */
#define RETURNED 9
#define RING 8
#define NONE 7

/* The truth. A message's word is its stamp and which arrays it says it has (bits); then records of them, block by block. */
byte stamp[2], arrays[2];
byte record0[2], record1[2]; /* 0 and 1: which array; in that order */
byte head;
byte owner[2], position[2], e_arrays[2], e_record0[2], e_record1[2];

/* Derived */
byte tail;
byte pins[2];

byte holders[2]; /* bits, by member */
bit used[2] = 1;

byte send_lock, receive_lock, pool_lock;
bit dead[5];
byte deaths, ended;

/* Ghosts: by how many messages each array is named that were sent, and neither received nor acknowledged. */
byte naming[2];
bit holding0[5], holding1[5];

#define CELL(p) ((p) % SLOTS)
#define THERE(p) (stamp[CELL(p)] == (p) + 1)
#define BIT (1 << me)
/* How many records, and what they say: one of the first array, one of the second, or both. */
#define FIRST_OF(which) ((which) == 2 -> 1 : 0)
#define NAMES0 (told & 1)
#define NAMES1 ((told >> 1) & 1)
#define HELD0 ((holding0[1] && !dead[1]) || holding0[2] || (holding0[3] && !dead[3]) || (holding0[4] && !dead[4]))
#define HELD1 ((holding1[1] && !dead[1]) || holding1[2] || (holding1[3] && !dead[3]) || (holding1[4] && !dead[4]))

/* ------------------------------------------------------------ the pool's lock, and what is done under it */

inline free_if_unheld(b)
{
    if
    :: used[b] && pins[b] == 0 && holders[b] == 0 ->
        assert(naming[b] == 0 && ((b) == 0 -> !HELD0 : !HELD1));
        used[b] = false
    :: else
    fi
}

inline count(b)
{
    if
    :: counts_own -> atomic { if :: (b) == 0 -> own0++ :: else -> own1++ fi }
    :: else -> pins[b]++
    fi
}

/* The records of a message, one read each. */
inline count_records(which, first, second)
{
    if
    :: which == 0
    :: which == 3 -> count(first); count(second)
    :: else -> count(first)
    fi;
    which = 0
}

/* Those without arrays come and go meanwhile: so the word is read three times, and may be another each time. */
inline count_cell(i)
{
    if
    :: arrays[i] != 0 ->
        if
        :: stamp[i] > seen && stamp[i] <= seen + SLOTS -> which = arrays[i]; count_records(which, record0[i], record1[i])
        :: else
        fi
    :: else
    fi
}

inline count_entry(i)
{
    if
    :: e_arrays[i] != 0 ->
#ifdef POSITION_FIRST
        at = position[i];
        if
        :: owner[i] != 0 && at < seen -> which = e_arrays[i]; count_records(which, e_record0[i], e_record1[i])
        :: else
        fi;
#else
        if
        :: owner[i] != 0 ->
            at = position[i];
            if
            :: at < seen -> which = e_arrays[i]; count_records(which, e_record0[i], e_record1[i])
            :: else
            fi
        :: else
        fi;
#endif
        at = 0
    :: else
    fi
}

inline walk()
{
    seen = head;
    count_cell(0);
#if SLOTS > 1
    count_cell(1);
#endif
    count_entry(0);
#if SLOTS > 1
    count_entry(1);
#endif
    seen = 0
}

inline recover()
{
    atomic { pins[0] = 0; pins[1] = 0 };
    walk();
    atomic {
        if :: dead[SENDER] -> holders[0] = holders[0] & ~2; holders[1] = holders[1] & ~2 :: else fi;
        if :: dead[3] -> holders[0] = holders[0] & ~8; holders[1] = holders[1] & ~8 :: else fi;
        if :: dead[4] -> holders[0] = holders[0] & ~16; holders[1] = holders[1] & ~16 :: else fi;
        free_if_unheld(0);
        free_if_unheld(1)
    }
}

inline lock_pool()
{
    if
    :: atomic { pool_lock == 0 -> pool_lock = me }
    :: atomic { pool_lock != 0 && dead[pool_lock] -> pool_lock = me }; recover()
    fi
}

/* What is counted is what messages name. */
inline unlock_pool()
{
    atomic { assert(pool_lock == me && pins[0] == naming[0] && pins[1] == naming[1]); pool_lock = 0 }
}

inline unpin(b)
{
    atomic { assert(pins[b] > 0); pins[b]--; free_if_unheld(b) }
}

inline unpin_records(which, first, second)
{
    if
    :: which == 0
    :: which == 3 -> unpin(first); unpin(second)
    :: else -> unpin(first)
    fi
}

inline let_go()
{
    if
    :: holding0[me] || holding1[me] ->
        lock_pool();
        atomic { holding0[me] = false; holders[0] = holders[0] & ~BIT; free_if_unheld(0) };
        atomic { holding1[me] = false; holders[1] = holders[1] & ~BIT; free_if_unheld(1) };
        unlock_pool()
    :: else
    fi
}

/* ------------------------------------------------------------ sending */

inline lock_senders()
{
    if
    :: atomic { send_lock == 0 -> send_lock = me }
    :: atomic { send_lock != 0 && dead[send_lock] -> send_lock = me; if :: THERE(tail) -> tail++ :: else fi }
    fi
}

inline unlock_senders() { atomic { assert(send_lock == me); send_lock = 0 } }

/* Nobody needs a lock of the pool to write over what was received. */
inline write()
{
    record0[CELL(tail)] = FIRST_OF(told);
    if :: told == 3 -> record1[CELL(tail)] = 1 :: else fi
}

inline commit()
{
    atomic {
        naming[0] = naming[0] + NAMES0;
        naming[1] = naming[1] + NAMES1;
        arrays[CELL(tail)] = told;
        stamp[CELL(tail)] = tail + 1
    }
}

proctype Sender(byte me)
{
    byte told, seen, which, at;
    bit counts_own;
    byte own0, own1;
    {
        do
        :: tail < MESSAGES ->
            atomic { if :: told = 0 :: told = 1 :: told = 2 :: told = 3 fi };
            lock_senders();
            if
            :: tail < head + SLOTS ->
                write();
                if
                :: told != 0 ->
#ifdef SEND_WITHOUT_LOCK
                    commit();
                    lock_pool();
#else
                    lock_pool();
                    commit();
#endif
                    if :: NAMES0 -> pins[0]++ :: else fi;
                    if :: NAMES1 -> pins[1]++ :: else fi;
                    unlock_pool()
                :: else -> commit()
                fi;
                tail++
            :: else
            fi;
            unlock_senders();
            if
            :: tail < head + SLOTS || tail >= MESSAGES
            :: break /* its time is over */
            fi
        :: else -> break
        od;
        let_go()
    } unless { dead[me] };
    atomic { told = 0; seen = 0; which = 0; at = 0; ended++ }
}

/* ------------------------------------------------------------ receiving */

inline clear_entry(i)
{
    if
    :: atomic { owner[i] != 0 && position[i] >= head -> owner[i] = 0 }
    :: else
    fi
}

inline lock_receivers()
{
    if
    :: atomic { receive_lock == 0 -> receive_lock = me }
    :: atomic { receive_lock != 0 && dead[receive_lock] -> receive_lock = me };
        clear_entry(0);
#if SLOTS > 1
        clear_entry(1)
#endif
    fi
}

inline unlock_receivers() { atomic { assert(receive_lock == me); receive_lock = 0 } }

inline return_from_dead(i)
{
    if
    :: atomic { owner[i] != 0 && owner[i] != RETURNED && dead[owner[i]] && position[i] < head -> owner[i] = RETURNED }
    :: else
    fi
}

/* Where the next message is, and where it waits for its acknowledgement. */
inline choose()
{
    atomic {
        entry = NONE;
        if
        :: owner[0] == RETURNED -> source = 0; told = e_arrays[0]
        :: SLOTS > 1 && owner[0] != RETURNED && owner[1] == RETURNED -> source = 1; told = e_arrays[1]
        :: else ->
            if
            :: THERE(head) -> source = RING; told = arrays[CELL(head)]
            :: else -> source = NONE
            fi
        fi;
        if
        :: source == NONE || !acks
        :: source == RING && acks ->
            if
            :: owner[0] == 0 -> entry = 0
            :: SLOTS > 1 && owner[0] != 0 && owner[1] == 0 -> entry = 1
            :: else -> source = NONE
            fi
        :: else -> entry = source
        fi
    }
}

/* It counts as soon as head is beyond the message. */
inline write_entry()
{
    e_record0[entry] = record0[CELL(head)];
    if :: told == 3 -> e_record1[entry] = record1[CELL(head)] :: else fi;
    e_arrays[entry] = told;
    position[entry] = head;
    owner[entry] = me
}

inline hold(b)
{
    atomic {
        assert(used[b]);
        holders[b] = holders[b] | BIT;
        if :: (b) == 0 -> holding0[me] = true :: else -> holding1[me] = true fi
    }
}

/* What the records say: of each, which array. */
inline read_records()
{
    if
    :: told == 0
    :: told != 0 && source == RING -> got0 = record0[CELL(head)]; if :: told == 3 -> got1 = record1[CELL(head)] :: else fi
    :: told != 0 && source != RING -> got0 = e_record0[source]; if :: told == 3 -> got1 = e_record1[source] :: else fi
    fi
}

inline hold_all()
{
    if
    :: told == 0
    :: told == 3 -> hold(got0); hold(got1)
    :: else -> hold(got0)
    fi
}

inline no_longer_named()
{
    naming[0] = naming[0] - NAMES0;
    naming[1] = naming[1] - NAMES1
}

/* The store by which it is received. */
inline end_source()
{
    atomic {
        if :: entry == NONE -> no_longer_named() :: else fi;
        if
        :: source == RING -> head++
        :: else -> owner[source] = (entry == NONE -> 0 : me)
        fi
    }
}

/* Read once more, out of where they stand. */
inline unpin_source()
{
    if
    :: entry == NONE && source == RING -> unpin_records(told, record0[CELL(p)], record1[CELL(p)])
    :: entry == NONE && source != RING -> unpin_records(told, e_record0[source], e_record1[source])
    :: else
    fi
}

inline receive()
{
    lock_receivers();
    return_from_dead(0);
#if SLOTS > 1
    return_from_dead(1);
#endif
    choose();
    if
    :: source == NONE
    :: source != NONE ->
        if :: entry != NONE && source == RING -> write_entry() :: else fi;
        if
        :: told != 0 ->
            lock_pool();
            read_records();
            /* They are those that were sent. */
            assert(got0 == FIRST_OF(told) && (told != 3 || got1 == 1));
            hold_all();
            p = head;
#ifdef UNPIN_AFTER_THE_END
            end_source();
            unpin_source();
#else
            unpin_source();
            end_source();
#endif
            unlock_pool()
        :: else -> end_source()
        fi
    fi;
    unlock_receivers();
    atomic { got0 = 0; got1 = 0; p = 0 }
}

/* Or it gives the message back. Its entry is not written over before it lets go of the receivers' lock. */
inline acknowledge()
{
    lock_receivers();
    if
    :: owner[entry] == me && told == 0 -> owner[entry] = 0
    :: owner[entry] == me && told != 0 ->
#ifdef ACK_WITHOUT_LOCK
        atomic { no_longer_named(); owner[entry] = 0 };
        lock_pool();
#else
        lock_pool();
        atomic { no_longer_named(); owner[entry] = 0 };
#endif
        unpin_records(told, e_record0[entry], e_record1[entry]);
        unlock_pool()
    :: owner[entry] == me && me != CHECKER -> owner[entry] = RETURNED
    fi;
    unlock_receivers()
}

proctype Receiver(byte me)
{
    byte source, entry, told, p, got0, got1, seen, which, at;
    bit acks, counts_own;
    byte own0, own1;
    {
        do
        :: THERE(head) || owner[0] != 0 || owner[1] != 0 || (receive_lock != 0 && dead[receive_lock]) ->
            if :: acks = 0 :: acks = 1 fi;
            receive();
            if
            :: source == NONE
            :: source != NONE ->
                let_go();
                if :: entry != NONE -> acknowledge() :: else fi
            fi;
            atomic { source = 0; entry = 0; told = 0; acks = 0 }
        :: break
        od
    } unless { dead[me] };
    atomic { source = 0; entry = 0; told = 0; acks = 0; p = 0; got0 = 0; got1 = 0; seen = 0; which = 0; at = 0; ended++ }
}

/* Counts as ap_check does while the others go on; when they have ended or died, receives what is left, and lets go of it. */
proctype Checker(byte me)
{
    byte source, entry, told, p, got0, got1, seen, which, at;
    bit acks, counts_own;
    byte own0, own1, times;
    do
    :: times < CHECKS ->
        lock_pool();
        counts_own = true;
        walk();
        atomic { assert(own0 == pins[0] && own1 == pins[1]); counts_own = false; own0 = 0; own1 = 0; times++ };
        unlock_pool()
    :: ended == 1 + RECEIVERS -> break
    od;
    times = 0;
    do
    :: times < MESSAGES -> receive(); let_go(); times++
    :: else -> break
    od;
    lock_senders();
    unlock_senders();
    lock_pool();
    recover();
    unlock_pool();
    assert(head == tail && owner[0] == 0 && owner[1] == 0);
    assert(pins[0] == 0 && pins[1] == 0 && !used[0] && !used[1])
}

#define KILL(victim) atomic { deaths < DEATHS && !dead[victim] -> dead[victim] = true; deaths++ }
proctype Killer()
{
end:
    do
    :: KILL(SENDER)
    :: KILL(3)
#if RECEIVERS > 1
    :: KILL(4)
#endif
    od
}

init
{
    atomic {
        holding0[SENDER] = true;
        holding1[SENDER] = true;
        holders[0] = 2;
        holders[1] = 2;
        run Sender(SENDER);
        run Receiver(RECEIVER);
#if RECEIVERS > 1
        run Receiver(4);
#endif
        run Checker(CHECKER);
        run Killer()
    }
}
