"""Every Redis key of the queue, in one place: layout version 1.

All keys of an installation begin with its hash tag, `{headrace}:`, so that they lie in one slot and
one script may touch all of them. The scripts build the same names from the key they are given.

meta                hash    `version` of the layout; `epoch`; `seen`, when leases were last looked
                            after; `grace`, until when none is taken back; `damaged`, how much was
                            set aside, and `damage_logged`, how much of that is in a log;
                            `ends`, the number of the last message on the channel of that name;
                            `old_worker`, `when:answer`, whether a live worker reads only version 1
queues              set     the queues ever used
types               hash    each task type's description (JSON)
task:<id>           hash    a task's record, see below; expires once it is final
payload:<id>        string  its payload, if that has more than 64 bytes
result:<id>         string  its result, likewise
inbox:<id>          list    items that were put in since it last parked; expires with the record
children:<id>       set     its children that have not ended
attempts:<id>       list    what became of its attempts, the last 20, unless it simply succeeded at
                            its first: number, worker, its version, started, ended, outcome, bytes
                            of the message, a line each; then the message, and what the worker
                            says besides (see attempts.py). Expires with the record, or a month
                            later than that would if the last attempt were the end
state:<id>          string  what a park or checkpoint kept; gone once the task is final
journal:<id>        list    entries appended since the state was written; gone when it is
queue:<type>        list    ids of waiting tasks, the next one first
cancelled:<type>    set     ids in the list that were cancelled: their records may be gone by now
wake:<type>         list    at most one token: wakes one idle worker
delayed:<type>      zset    id → when it is due: first attempts, and parked runs of them
retries:<type>      zset    id → when it is due: the others
leases:<type>       zset    `id:fence` → when the lease ends: the only index of what runs
held:<worker>       hash    `id:fence` → `request:type` or `request!type`: the same, by worker
                            (`!`: the record has something for the end of the attempt to see to)
dead:<type>         zset    id → when it failed for good
ended:<type>:<end>  zset    id → when it ended: completed or cancelled
counts:<type>       hash    totals, and the gauges `tombstones` and `retries_queued`; `cut_<end>`:
                            when the newest task ended that left `ended:<type>:<end>` early
rates:<type>:<min>  hash    counts in steps of 5 s (`a0` … `a11`; the letters stand in
                            lib/counters.lua), kept an hour
histogram:<type>    hash    waiting (`w`) and run (`r`) times by bucket, and their sums in ms
workers             zset    worker → its last heartbeat
worker:<worker>     hash    `info`, `running`, `seen`, `drained` (the mark that it answered),
                            `version`, `reads` (the newest version of a record, unless 1)
left                hash    queue → `when:worker`: which of its workers said goodbye last
drain:<worker>      string  the drain mark; expires unless it is renewed
signal:<worker>     list    makes a worker's heartbeat come at once
definition:<sha256> string  a text that tasks are pinned to; stays
stopping            list    cancelled parents whose children are still to be cancelled
tend:<name>         hash    who does this work, one process at a time: `holder`, `until`, `fence`
bulk:<id>           hash    a bulk operation: `action`, `name`, `by`, `filter` (JSON), `running`
                            (running tasks are asked to stop), `created`, `ended`, `stopped`,
                            `place` (where the next matches are looked for), `total`, `done`,
                            `failed`, `failed:<code>`
bulk_ids:<id>       list    the ids that it is still to be done for
bulk_failures:<id>  list    the first 100 for which it was refused: code and id
bulks               zset    bulk operation → when it was made: the last 1000
bulks_active        zset    the same: those that are worked on
audit               stream  who has changed what, the last 10,000: `key`, `action`, `subject`,
                            `request`
damaged             stream  what could not be used, the last 1000: `what` and `why`
aside:<key>         any     what was moved out of the way for that, kept a week

ends                channel what ended, a message a call: its number, then statuses and ids

A task's record, its times in milliseconds since 1970. Its version is `1`, which 0.2.0 reads too;
`01` if it has options (`o`) that a reader of version 1 may pass over; `2` if it must not, has an
inbox, a journal, a parent or children:

v   version of this format              rc  failures so far
t   type                                cc  lost workers since the last park
s   status                              m   max_retries, unless it is 3
c   created                             f   fence: which holder
q   queued, unless at `c`               w   worker
d   due, while pending                  x   asked to stop
b   started                             z   cancelled, its id still in the list
e   ended                               k   `state:<id>` is there
p   payload, unless it lies apart (pl)  pk  was parked: `b` stays at the next claim
r   result, unless it lies apart (rl)   pp, pm  progress: percent, message
er  the last error                      h   what was asked for, hashed (idempotent)
hb  handed back soon after its start: `since:times`, in an hour
lf  fence whose lease ended last        lw  why it ended, if its worker came back
bo  the last back-off in ms
o   options, packed: headers, tags, parent (see Options in task.py)
i   `inbox:<id>` may be there
j   how many entries `journal:<id>` has
pa  its parent's id
ch  `children:<id>` may be there
g   how often it was retried by hand
ep  the error it failed with as JSON, if its handler gave one
wo  while pending: an item in its inbox wakes it
at  `attempts:<id>` is there
"""

from __future__ import annotations

import re

from headrace.limits import NAMESPACE


class Keys:
    """The key names of one installation."""

    def __init__(self, namespace: str = "headrace") -> None:
        if not re.fullmatch(NAMESPACE, namespace):
            raise ValueError(
                f"the namespace {namespace!r} must be 1 to 64 letters, digits, '.', '_' or '-'"
            )
        self.prefix = f"{{{namespace}}}:"
        self.meta = self.prefix + "meta"
        """The one key that each script is given."""
        self.types = self.prefix + "types"
        self.ends = self.prefix + "ends"
        """The channel on which the ends of tasks are published."""

        self.bulks = self.prefix + "bulks"
        self.bulks_active = self.prefix + "bulks_active"

    def bulk(self, bulk_id: str) -> str:
        """A bulk operation's record."""
        return f"{self.prefix}bulk:{bulk_id}"

    def bulk_failures(self, bulk_id: str) -> str:
        """The tasks for which a bulk operation was refused."""
        return f"{self.prefix}bulk_failures:{bulk_id}"

    def task(self, task_id: str) -> str:
        """A task's record."""
        return f"{self.prefix}task:{task_id}"

    def wake(self, task_type: str) -> str:
        """The wake-up tokens of a queue."""
        return f"{self.prefix}wake:{task_type}"

    def signal(self, worker_id: str) -> str:
        """The list whose entries make a worker's heartbeat come at once."""
        return f"{self.prefix}signal:{worker_id}"

    def attempts(self, task_id: str) -> str:
        """What is kept of a task's attempts."""
        return f"{self.prefix}attempts:{task_id}"

    def state(self, task_id: str) -> str:
        """What a task kept to go on from."""
        return f"{self.prefix}state:{task_id}"

    def definition(self, sha256: str) -> str:
        """A pinned text."""
        return f"{self.prefix}definition:{sha256}"
