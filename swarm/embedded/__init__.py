"""The embedded endpoint: an OpenAI-compatible server whose model is a program, honest about being one."""
