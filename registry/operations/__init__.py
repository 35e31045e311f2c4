"""Long-running operations: work in chunks that outlives the call that asked for it, and the registry that began it."""
