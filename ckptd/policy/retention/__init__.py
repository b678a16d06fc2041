"""Retention: facts about checkpoints in, a plan with a reason for each of them out.  Start reading at `plan.make_plan`."""
