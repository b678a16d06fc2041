"""Build torch objects from inert values, and save them; the only room that imports torch."""
