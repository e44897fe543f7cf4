"""What a run makes on this machine, and its removal whatever happened."""
