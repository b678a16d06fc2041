"""What a file says, without ever running it.  Start at `inspection`, then `opcodes` and the containers."""
