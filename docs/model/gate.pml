/* A segment's name: libpool/segment.zig. Creating, opening, leaving, sweeping, and who may unlink.
 *
 * Files come and go under one name. Locks belong to an open file description, and are gone when it is closed or its process
 * is killed. Between any two system calls a process can be killed. README.md says what is left out.
 */

#ifndef PROCESSES
#define PROCESSES 3
#endif
#ifndef FILES
#define FILES 3
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef LIVES
#define LIVES 4
#endif

byte name;               /* the file that the name leads to; 0: none */
byte files;              /* made so far */
byte shared[FILES + 1];  /* the gate: how many hold it shared … */
byte closed[FILES + 1];  /* … and who holds it exclusively */
byte slots[FILES + 1];   /* which processes own a slot: bits */
bit claim[FILES + 1];    /* a claim waits: claims_until is not over */
byte lives;
byte deaths;
byte done;
bit killed[PROCESSES + 1];
bit joined[PROCESSES + 1];   /* ghost: a member, from the end of open or create until it leaves */
byte in_file[PROCESSES + 1];

#define BIT (1 << me)
#define OTHERS (slots[file] & ~BIT)

/* ------------------------------------------------------------ one system call each */

inline leave_gate()
{
    atomic {
        if :: gate == 1 -> shared[file]-- :: gate == 2 -> closed[file] = 0 :: else fi;
        gate = 0
    }
}

#ifdef NO_GATE
#define MAY_CLOSE true
#else
#define MAY_CLOSE (shared[file] == 0 && closed[file] == 0)
#endif

/* segment.removeIfUnused; one's own slot is dropped, or does not count */
inline remove_if_unused()
{
    do
    :: OTHERS != 0 -> break /* the usual case, without the gate */
    :: OTHERS == 0 ->
        if
        :: atomic { MAY_CLOSE -> closed[file] = me + 1; gate = 2 };
            if
            :: OTHERS == 0 -> 
                if
                :: name == file ->
                    if
#ifdef FORGET_CLAIMS
                    :: true ->
#else
                    :: !claim[file] ->
#endif
                        atomic {
                            assert(name == file && OTHERS == 0 && !claim[file]);
                            name = 0
                        }
#ifndef FORGET_CLAIMS
                    :: claim[file]
#endif
                    fi
                :: name != file
                fi
            :: OTHERS != 0
            fi;
            leave_gate();
            break
#ifdef GIVE_UP_AT_THE_GATE
        :: !MAY_CLOSE -> break
#else
        :: !MAY_CLOSE /* somebody joins, or looks like us: in a moment that is over */
#endif
        fi
    od
}

/* segment.enter and Pool.open */
inline open()
{
    atomic {
        file = name;
        if :: file == 0 -> skip :: else -> in_file[me] = file fi
    };
    if
    :: file == 0 -> skip /* NotFound */
    :: file != 0 ->
#ifndef OPEN_WITHOUT_GATE
        atomic { closed[file] == 0 -> shared[file]++; gate = 1 };
#endif
        if
        :: true -> slots[file] = slots[file] | BIT;
#ifdef NAME_NOT_CHECKED
            atomic { joined[me] = true };
#else
            if
            :: atomic { name == file -> joined[me] = true }
            :: name != file
            fi;
#endif
            leave_gate()
        :: leave_gate() /* wrong nonce, no slot free */
        fi;
        if
        :: joined[me]
        :: !joined[me] -> close()
        fi
    fi
}

inline close()
{
    atomic {
        if :: file != 0 -> slots[file] = slots[file] & ~BIT :: else fi;
        file = 0; in_file[me] = 0
    }
}

/* segment.create, and Pool.create's publish */
inline create()
{
    atomic { files < FILES -> files++; file = files; in_file[me] = file }; /* has no name, and nobody else has it open */
#ifndef NAMED_BEFORE_LOCKED
    slots[file] = BIT;
#endif
    atomic {
        if
        :: name == 0 -> name = file; joined[me] = true
        :: name != 0 /* Exists */
        fi
    };
#ifdef NAMED_BEFORE_LOCKED
    slots[file] = BIT;
#endif
    if
    :: joined[me]
    :: !joined[me] -> close()
    fi
}

inline sweep()
{
    atomic { file = name; in_file[me] = file };
    if
    :: file != 0 -> remove_if_unused()
    :: file == 0
    fi;
    atomic { file = 0; in_file[me] = 0 }
}

proctype Process(byte me)
{
    byte file, gate;
    do
    :: atomic { lives < LIVES -> lives++ };
        {
            if
            :: open()
            :: sweep();
                if
                :: create()
                :: files == FILES
                fi
            :: open(); /* openOrCreate */
                if
                :: joined[me]
                :: !joined[me] && files < FILES -> sweep(); if :: create() :: files == FILES fi
                :: !joined[me] && files == FILES
                fi
            fi;
            if
            :: joined[me] ->
                if
                :: claim[file] = true
                :: claim[file] = false /* the last one was attached, or is over */
                :: true
                fi;
                atomic { joined[me] = false; slots[file] = slots[file] & ~BIT }; /* dropSlot */
                remove_if_unused();
                close()
            :: !joined[me]
            fi
        } unless {
            killed[me];
            /* The kernel closes what it had open. */
            atomic {
                leave_gate();
                if :: file != 0 -> slots[file] = slots[file] & ~BIT :: else fi;
                file = 0; in_file[me] = 0; joined[me] = false; killed[me] = false
            }
        }
    :: lives == LIVES -> break
    od;
    done++
}

#define KILL(victim) atomic { deaths < DEATHS && done < PROCESSES && !killed[victim] -> joined[victim] = false; killed[victim] = true; deaths++ }
proctype Killer()
{
end:
    do
    :: KILL(0)
    :: KILL(1)
#if PROCESSES > 2
    :: KILL(2)
#endif
    od
}

/* Who is in a pool is in the one that the name leads to: so all who are in it at the same time are in the same one. */
#define IN_THE_NAMED(p) (!joined[p] || killed[p] || in_file[p] == name)
proctype Watch()
{
end:
    atomic {
#if PROCESSES > 2
        !(IN_THE_NAMED(0) && IN_THE_NAMED(1) && IN_THE_NAMED(2)) ->
#else
        !(IN_THE_NAMED(0) && IN_THE_NAMED(1)) ->
#endif
        assert(false)
    }
}

/* When all have left: without a death nothing is there, unless a claim waits; with deaths, after one sweep. */
proctype Last(byte me)
{
    byte file, gate;
    done == PROCESSES;
    if
    :: deaths > 0 -> sweep()
    :: deaths == 0
    fi;
    assert(name == 0 || claim[name]);
    if :: name != 0 -> claim[name] = false :: else fi;
    sweep();
    assert(name == 0)
}

init
{
    atomic {
        run Process(0);
        run Process(1);
#if PROCESSES > 2
        run Process(2);
#endif
        run Killer();
        run Watch();
        run Last(PROCESSES)
    }
}
