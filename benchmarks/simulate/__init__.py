"""A discrete-event simulation of many agents at many replicas, driven by the real scheduler, governor and router."""
