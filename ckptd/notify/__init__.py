"""Alerts: which kinds there are, when a message is due, and the channels that carry it.

Start reading at `folding`: pure, it turns what was seen and what is so now into messages.  `kinds` is the table of alerts,
`message` what is sent, `interface` what a channel is; `channels` names them, and `delivering` is the short-lived process that
sends.  Nothing here knows the index or the settings.
"""
