"""Days of a shared server in minutes: a real daemon, everything that happens to one, and at the end a count of what was lost.

`python -m tests.soak.run --seconds 1200 --seed 1` prints a table and ends with 1 when a line of it is not as it must be.  Start
reading at `run`; `actors` does what people, kernels and disks do, `verdict` looks afterwards.
"""
