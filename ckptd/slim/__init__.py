"""Write a smaller checkpoint: the same one, without the state of optimizers and schedulers.

Start reading at `slimming.slim_checkpoint`.  The pickle is not built anew but cut (`program`, `pruning`): what stays is what
training code wrote, opcode by opcode.  Then another process reads both files and compares them (`proving`), and without its
word there is no smaller file.
"""
