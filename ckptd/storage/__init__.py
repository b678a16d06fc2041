"""Writing so that a kill or a full disk never leaves half a file: atomic writes, paths below a root, the lock, the journal."""
