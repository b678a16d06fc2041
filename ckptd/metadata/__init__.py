"""The JSON beside a checkpoint: what we write, and what a person wrote, which survives."""
