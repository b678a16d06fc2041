"""Where to look and what is there: the observer gives hints, the scanner the full picture, the guard knows the root."""
