/* What a terminated Worker left open, and who closes it: members.closeLeftovers, segment.takeSlot.
 *
 * One process, one slot. A Worker is dead, and its descriptor still owns the slot's byte. Two siblings may close it, each in
 * the steps of the code; a third one opens the segment, gets the lowest number that is free (which may be the one that was
 * just closed) and takes the slot. Shown: nobody closes the descriptor of one who lives.
 */

#define DEAD_WORKER 1
#define NEWCOMER    2

byte owner_of_fd = DEAD_WORKER; /* whose the descriptor is that has the number in question; 0: it is closed */
byte byte_owner = DEAD_WORKER;  /* who owns the slot's byte, through that descriptor */
byte word = DEAD_WORKER;        /* whom the slot's word stands for */
bit handover;

#ifdef NO_HANDOVER
#define ENTER_HANDOVER skip
#define LEAVE_HANDOVER skip
#else
#define ENTER_HANDOVER atomic { !handover -> handover = true }
#define LEAVE_HANDOVER handover = false
#endif
#ifdef WORD_NOT_COMPARED
#define SAME_WORD true
#else
#define SAME_WORD (word == DEAD_WORKER)
#endif

active [2] proctype Sibling()
{
    if
    :: word == DEAD_WORKER
    :: word != DEAD_WORKER -> goto out
    fi;
    /* it has read the number and the thread, which is dead */
    if
    :: byte_owner != 0 /* taken */
    :: byte_owner == 0 -> goto out
    fi;
    ENTER_HANDOVER;
    if
    :: SAME_WORD ->
        if
        :: owner_of_fd != 0 -> /* open, and of this very file */
            if
            :: byte_owner != 0 && byte_owner == owner_of_fd -> /* taken, and by this descriptor */
                atomic {
                    assert(owner_of_fd == DEAD_WORKER);
                    owner_of_fd = 0; byte_owner = 0
                }
            :: byte_owner == 0 || byte_owner != owner_of_fd
            fi
        :: owner_of_fd == 0
        fi
    :: !SAME_WORD
    fi;
    LEAVE_HANDOVER;
out: skip
}

active proctype Newcomer()
{
    atomic { owner_of_fd == 0 -> owner_of_fd = NEWCOMER };
    ENTER_HANDOVER;
    atomic { byte_owner == 0 -> byte_owner = NEWCOMER };
    word = NEWCOMER;
    LEAVE_HANDOVER
}
