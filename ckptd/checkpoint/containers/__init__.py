"""One reader for each way in which a checkpoint is wrapped.  Start at `ckptd.checkpoint.container`, which tells them apart."""
