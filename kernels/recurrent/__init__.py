"""The operator token by token, its gradient and registration, and the decoding step."""
