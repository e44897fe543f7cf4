"""Arms of evaluations beside each other: read, paired by instance, told as markdown, JSON and a page."""
