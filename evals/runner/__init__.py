"""The one runner of all evaluations: trials, so many at once, in one budget, to verdicts that are never lost."""
