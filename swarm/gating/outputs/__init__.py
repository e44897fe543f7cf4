"""What the outputs of test runners tell, one family of languages a file. A reader gives None for another's output."""
