"""How the cost of an agent, of a turn and of a run grows with how many there are."""
