"""Places to work: working copies with sandboxes over them."""
