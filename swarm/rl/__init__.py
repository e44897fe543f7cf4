"""What a trainer takes from the log: rows, rewards, filters, exports, and rollouts."""
