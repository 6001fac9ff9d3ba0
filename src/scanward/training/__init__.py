"""Training: data sets, the bank of forged crops, the loop and checkpoints."""
