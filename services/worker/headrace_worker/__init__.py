"""The worker: claims tasks, runs their handlers, renews their leases, reports how they ended.

    the event loop's thread                                 threads and processes beside it

    main ── starts ──► Worker (worker.py): the loop
                        │   claims, reports
                        ▼
                       Session ─── every call ───► Consumer ──► Redis (two connections:
                        │   owns the epoch                            calls; waiting for work)
                        │   restores what is held
                        ▼
                       Hand (running.py): ─────► handler threads     plain `def`
                        │   held: have a lease ─► child processes     run_in="process"
                        │   slots: code runs      (each with a thread that waits for its end)
                        │   waiting: claimed ahead, no slot yet
                        │
                        │ on_outcome, on_gone: call_soon_threadsafe from threads
                        ▼
                       Worker._on_end, _on_change: wake the loop

    WorkerHost ◄── progress (any thread), checkpoint, submit ── contexts of handlers
     │  progress, checkpoint: by Session      submit: by TaskQueue, on a connection of its own

    Leases ◄── renewed, not_renewed, forgotten ──────────── renewal thread ──► Renewer ──► Redis
     │  (call_soon_threadsafe)                                │  its own two connections:
     │  cancels, loses, restores                              │  renewals; signals
     ▼                                                        ▼
    Hand, Session, DrainMark, Worker                         stalls thread: how late does it wake?

    Worker.signs, ready ◄── asked ──────────────────────────── probes' threads: HTTP
    Worker.leftovers    ◄── asked ──────────────────────────── loop-watch thread: blocked?

Hand, Session, Leases and Worker are changed by the event loop's thread alone. Other threads read
copies (`Hand.held_now`, `running_now`) and single values; what they have to tell comes in by
`call_soon_threadsafe`. Contact is written by two threads, and says how.

The epoch is the id of Redis's data. `Session.epoch` is the one in which all that is held is known
to Redis, and Session alone sets it: as it registers, and when a restoration is done.
`Consumer.epoch`, which each call carries, is the one that was registered last; while a restoration
runs it is ahead of the session's. Whoever meets another epoch says in which it worked
(`Session.restore(gone)`), so that one loss makes one restoration, however many calls notice it: the
loop's by EpochChanged, the renewal thread's by `Leases.forgotten`.

The worker starts in this order: lifespans, registration, renewal thread, claims. It ends in this
one: the last attempt, the renewal thread, the goodbye, child processes, lifespans.
"""
