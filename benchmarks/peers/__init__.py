"""The competitors in rows about model calls: each module opens one, in its own environment, as its documents recommend.

Every agent has the same words and the same tool `lookup`; a module's `open_agents` gives what runs so many at once.
"""
