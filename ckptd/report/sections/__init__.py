"""What a report says, once for every form: facts in, a `layout.Report` out.  Start reading at `overview.compose`."""
