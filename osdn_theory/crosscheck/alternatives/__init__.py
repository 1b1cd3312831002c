"""What kernels with one fault compute: how far each lies from the right recurrence, and which explains a result."""
