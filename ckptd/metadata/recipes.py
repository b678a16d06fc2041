"""The recipe that a person wrote beside a checkpoint.

Whoever may drop a checkpoint may write a sidecar: what stands there is a wish, and only as trusted as what it names.
"""

from __future__ import annotations

from ckptd.metadata.examine import Whose
from ckptd.metadata.merge import plain
from ckptd.metadata.sidecar import readable
from ckptd.model import Inspection, Json

#: The key of it, at the top level.
RECIPE_KEY = "recipe"
#: Characters of its text; a recipe names a callable and a few inputs.
MOST_TEXT = 65_536


def read_recipe(dir_fd: int, checkpoint: str, inspection: Inspection) -> Json | None:
    """Give the value of `recipe` as a person wrote it: in our sidecar, in one of their own, or in that of the model.

    What is nearest to the checkpoint wins.  A file that is no document says nothing, and neither does a value beyond the
    bounds of the wire.

    Args:
        dir_fd: a readable descriptor of the checkpoint's directory.
        checkpoint: its file name.
        inspection: says which content lies there, and what the model is called.
    """
    recipe: Json | None = None
    for examined in readable(dir_fd, checkpoint, inspection):
        document = examined.document
        if examined.whose is Whose.BROKEN or document is None or RECIPE_KEY not in document.members:
            continue
        member = document.members[RECIPE_KEY]
        if member.end - member.start <= MOST_TEXT:
            recipe = plain(member.value)
    return recipe
