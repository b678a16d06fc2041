"""How people talk to the daemon that runs: one line of JSON over a socket of the file system, and who may ask what.

Start reading at `protocol`; `rights` decides by what the kernel says of the other end (SO_PEERCRED), `listening` is the
daemon's end, `asking` the one of the command line.  What takes time is done by a process that writes straight to the
descriptors that came with the request: the loop carries no output.
"""
