"""The documents that other commands left in a report folder, each read, refused or missing."""
