"""Documents that a run is given: converted once, split into passages, searched, read and cited."""
