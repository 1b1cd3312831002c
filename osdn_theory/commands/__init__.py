"""The command line: one module for each group of commands, and the console that they share."""
