"""What a model can do, and how it is asked for what it cannot."""
