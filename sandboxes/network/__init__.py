"""The way out of a sandbox that has none of its own: a proxy outside it that knows an allow-list of hosts."""
