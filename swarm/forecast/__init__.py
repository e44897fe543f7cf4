"""Cost previews: what past runs say about the next one. Numbers only; nothing here decides anything."""
