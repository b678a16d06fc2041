"""Files to test with, made on the spot: `good` has every shape of a real file, `hostile` one file for each rule broken.

Start at `case.Case`.  `objects` makes what people save, `savers` writes it in every way people do; `asm`, `zips`, `legacy` and
`tars` build files byte by byte, `gadgets` lists code that no checkpoint needs.  torch is imported inside functions only.
"""
