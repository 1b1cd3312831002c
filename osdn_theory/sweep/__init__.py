"""Sweeps: a grid of streams, rules and precisions, one measured row a cell, in a folder that survives a kill.

`grid` says which cells there are, `measure` what is computed of one, `store` keeps the rows, `run` and `cluster`
spread the cells over processes and machines. ``osdn-theory sweep`` is the command.
"""
