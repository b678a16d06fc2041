"""The formats `tar.gz` and `tar.zst`: plain tar in frames that are compressed each on its own.  Start reading at `format`.

Writing: `layout` says what stands where, `headers` and `sums` in which bytes, `writing` cuts them into the `frames` that
`gzipped` and `zstd` compress.  Reading: `pieces` finds and decompresses frames, `stream` reads the tar in them and steps over
damage, `verifying` and `restoring` compare what comes out with the manifest.
"""
