"""One verb a file, thin: each joins rooms below it that do not know each other."""
