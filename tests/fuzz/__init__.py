"""A seeded fuzzer that knows the formats: it bends zips, pickles and tensors, and reports whatever the engine does wrong.

`python -m tests.fuzz.run --count 1000000` is the long form (make fuzz); test_short.py runs a few seconds of it.
Start at `run.main`; `seeds` gathers files, `mutate` bends them, `probe` inspects one and judges the answer.
"""
