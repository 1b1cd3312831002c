"""Laws of a stream: what the calibrate steps and the writes do, token by token."""
