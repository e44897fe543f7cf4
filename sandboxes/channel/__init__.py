"""The way into a sandbox that stays open, and the agent at its other end."""
