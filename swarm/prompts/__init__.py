"""What models are told: the system prompts, one file each, and the form of what planners answer."""
