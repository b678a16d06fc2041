"""Child processes that are locked in before they look at anything: readers of one file, and jobs that run a model's code.

A reader may read one descriptor and answer bounded JSON, and nothing else.  Start at `confine` (what it may still do), then
`serve` (its loop), `pool` (the parent's side) and `once` (one confined call by fork).

A job may also read libraries and write into one directory.  Start at `jail` (what it may do), then `zygote` (who forks it) and
`nursery` (the parent's side).

Nothing here knows what a checkpoint is: what a worker does is a function that its caller plugs in.
"""
