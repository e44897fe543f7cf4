"""Which sub-task runs when: the graph, its order, attempts, and the one owner of the task group."""
