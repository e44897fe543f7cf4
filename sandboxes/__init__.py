"""Where commands run: docker, bubblewrap, process; and the trees that they work on."""
