"""What a run learns from: tasks, examples, shards."""
