"""The log of runs in the forms of trainers and viewers, one file a form. Each reads one trajectory at a time."""
