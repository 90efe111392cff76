"""Plans the memory of a run from configurations alone: runs the trainer's own code on tensors that have no memory."""
