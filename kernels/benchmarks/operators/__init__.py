"""What is measured: operators of ours and of others, their inputs, and the work that they must do."""
