"""Failures as files: one to replay, and a script of its own."""
