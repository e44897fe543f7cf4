"""An agent: its conversation with a model, its window, its tools, its record."""
