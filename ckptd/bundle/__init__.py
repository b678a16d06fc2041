"""A diagnostic bundle: what somebody who helps needs to know, and nothing that is nobody's business.

Start at masking.py, which says what is taken out of a text; parts.py has the form of the file; `jobs.bundling` gathers.
"""
