"""Which command tests a repository, told from its files alone: nothing of it is run."""
