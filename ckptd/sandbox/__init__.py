"""Child processes that may read one descriptor and answer bounded JSON, and nothing else."""
