"""The live screen: a view of a run drawn on a terminal, and the keys that steer it. Imported only when it is shown."""
