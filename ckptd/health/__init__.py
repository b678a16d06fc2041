"""What monitoring reads: /healthz, /readyz, /metrics and a file for node_exporter; imported only where the settings want it.

Start at `view.View`, one moment of the daemon as values: the loop puts together what the index says (`figures`), the thread of
`surveying` what the disks say (`disks`).  `judging` says whether that is well, and the tables of `about_*` say which metrics it
makes; both are pure.  `page` renders them, `application` answers requests, `serving` is the thread with the port.

    loop ─► Standing, Figures ─┐
                               ├─► View ─► page ─► application ─► serving (HTTP, this machine only)
    surveying ─► Survey ───────┘            └────► textfile
"""
