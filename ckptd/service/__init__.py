"""Everything about systemd: what the daemon tells it (`manager`), and the units that it is given.

Start reading at `installing`: it gathers facts (`surroundings`), has `plan` say what is to be done, and `applying` does it.
"""
