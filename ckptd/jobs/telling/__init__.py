"""What alerts are made of; `jobs.alerting` puts it together.

`events` reads rows of the audit, `asking` and `states` say what is so now, `freshness` knows which groups wait, and `sending`
is the outbox with the processes that empty it.
"""
