"""The bounds themselves, a theorem or a few of them in each file."""
