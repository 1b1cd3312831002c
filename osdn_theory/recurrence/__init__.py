"""The recurrences on the state and on the preconditioner, token by token and by chunks (T3, T11-T13, T16, T17, T29)."""
