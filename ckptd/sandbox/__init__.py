"""Child processes that may read one descriptor and answer bounded JSON, and nothing else.

Start at `confine` (what a child may still do), then `serve` (the child's loop), `pool` (the parent's side) and `once` (one
confined call by fork).  Nothing here knows what a checkpoint is: what a worker does is a function that its caller plugs in.
"""
