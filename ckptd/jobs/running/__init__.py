"""One run of a job: `run` does it in this process under the job lock, `launching` starts a process for it from the daemon."""
