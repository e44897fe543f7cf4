"""Other people's agents at work on sub-tasks: in our sandbox, on our budget, in our journal."""
